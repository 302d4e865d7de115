"""From axes to cells: which axes a choice of config groups has, and which of them mean anything to its method.

Counts before it enumerates, so that a slip of the keyboard does not become a million configs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override

from sweeper import peft_method
from sweeper.checks import ConfigError
from sweeper.config import Architecture, RunConfig
from sweeper.search import conditions
from sweeper.search import overrides as command_line
from sweeper.search.compose import Composer, Composition
from sweeper.search.conditions import PARAMS, When
from sweeper.search.custom import KEY as CUSTOM_KEY
from sweeper.search.custom import CustomSpace
from sweeper.search.grammar import read_axis
from sweeper.search.options import SearchOptions
from sweeper.search.parents import Parents, check_choice, without
from sweeper.search.space import Axis, Cell, Dimension, Role, product
from sweeper.search.typed import check_key

START_KEYS = tuple(f"peft.{key}" for key in peft_method.OF_AN_ADAPTER)


@dataclass(frozen=True)
class Table:
    """The cells of one choice of config groups."""

    choices: Mapping[str, str]  # config group -> its choice
    peft: Mapping[str, Any]  # the group's content
    axes: Sequence[Axis]  # each after those of its condition
    fixed: Mapping[str, Any]  # single values that the config declares for a sweep
    notes: tuple[str, ...] = ()  # for a person: say, the axes of the command that mean nothing here
    model: Mapping[str, Any] = field(default_factory=dict)  # the group's content

    @property
    def trains(self) -> bool:
        return self.peft.get("method") != "none"

    def cells(self, custom: CustomSpace | None = None) -> Iterator[Cell]:
        """A person's own code has nothing to add where nothing is trained."""
        custom = custom if self.trains else None
        notes = self.notes if custom is None else (*self.notes, f"{custom.where} adds to the point of every trial")
        for design in conditions.points(self._dimensions(Role.DESIGN)):
            yield Cell(self.choices, design, self._searched(design), self.fixed, notes, custom)

    def num_points(self, n_trials: int | None, *, is_open: bool = False) -> int:
        """Over all cells; a continuous axis without `n_trials` counts once, being refused elsewhere.

        `is_open`: a person's own code adds points to those of the axes.
        """
        design, total, is_open = self._dimensions(Role.DESIGN), 0, is_open and self.trains
        for values, number in conditions.patterns(design, [axis.dimension.when for axis in self.axes]):
            searched = self._searched(values)
            is_finite = all(dimension.is_finite for dimension in searched.values()) and not is_open
            points = conditions.count(searched) if is_finite else n_trials or 1
            total += number * (points if n_trials is None else min(points, n_trials))
        return total

    def _dimensions(self, role: Role) -> dict[str, Dimension]:
        return {axis.key: axis.dimension for axis in self.axes if axis.role is role}

    def _searched(self, design: Mapping[str, Any]) -> dict[str, Dimension]:
        """What is searched in the cell of these design values."""
        keys = self._dimensions(Role.DESIGN)
        absent = {axis.key for axis in self.axes if axis.role is Role.SEARCH
                  and not conditions.holds(axis.dimension.when, design, keys)}  # fmt: skip
        return {axis.key: axis.dimension for axis in without(self.axes, absent) if axis.role is Role.SEARCH}

    def why_not(self, key: str) -> str:
        """Why an axis means nothing to the method or the model; empty where it does."""
        if key.startswith("peft."):
            return "" if key.split(".")[1] in peft_method.keys(self.peft) else "has no such key"
        is_classical = str(self.model.get("architecture")).lower() == Architecture.CLASSICAL.value
        if key.startswith("model.options.") and not is_classical:
            return "has no such key"
        if key.startswith("train.") and is_classical:
            return "is fitted in one go"
        is_of_training = key == "task.train_size" or key.startswith("train.")
        return "trains nothing" if is_of_training and not self.trains else ""

    def _whose(self, key: str) -> str:
        of_model = key.startswith("model.") or (key.startswith("train.") and self.trains)
        return f"model={self.model.get('name')}" if of_model else f"peft={self.peft.get('name')}"

    def fitted(self) -> Table:
        """Without the axes that mean nothing to the method; a note says so of each."""
        reasons = {axis.key: why for axis in self.axes if (why := self.why_not(axis.key))}
        notes = [f"{self._whose(key)} {why}: {key} does not multiply its runs" for key, why in reasons.items()]
        return replace(self, axes=without(self.axes, set(reasons)), notes=(*self.notes, *notes))

    def without_start(self) -> Table:
        """Without an earlier adapter to go on from where the method has none; a note says so."""
        values = {key: self.fixed.get(key, self.peft.get(key.removeprefix("peft."))) for key in START_KEYS}
        dropped = {key: value for key, value in values.items() if value is not None and self.why_not(key)}
        notes = [f"{self._whose(key)} {self.why_not(key)}: its runs are without {key}={value}"
                 for key, value in dropped.items()]  # fmt: skip
        return replace(self, fixed={**self.fixed, **dict.fromkeys(dropped)}, notes=(*self.notes, *notes))


def fitted(tables: Sequence[Table]) -> list[Table]:
    """Each with the axes that mean something to its method. Raises ConfigError for a key that no method has."""
    for axis in {axis.key: axis for table in tables for axis in table.axes}.values():
        if axis.key.startswith("peft.") and all(table.why_not(axis.key) for table in tables):
            # An adapter has the most keys, and so the nearest name.
            group = next((table.peft for table in tables if table.peft.get("method") == "adapter"), tables[0].peft)
            raise peft_method.unknown_key(group, axis.key.removeprefix("peft."), axis.dimension.extremes()[0])
    return [table.fitted() for table in tables]


def check_size(tables: Sequence[Table], search: SearchOptions, seeds: dict[str, int]) -> None:
    """Raises ConfigError where the sweep has more runs than `hydra.sweeper.max_runs`.

    `seeds`: the number of replicates, under the key that says so.
    """
    num_runs = math.prod(seeds.values()) * sum(
        table.num_points(search.n_trials, is_open=search.custom_search_space is not None) for table in tables
    )
    if num_runs <= search.max_runs:
        return
    axes = {axis.key: axis for table in tables for axis in table.axes}
    searched = {key for key, axis in axes.items() if axis.role is Role.SEARCH}
    counts = {key: axis.dimension.count for key, axis in axes.items() if axis.dimension.is_finite} | seeds
    if search.n_trials is not None:
        counts = {key: count for key, count in counts.items() if key not in searched}
        counts["hydra.sweeper.n_trials"] = search.n_trials
    key = max(counts, key=counts.__getitem__)
    sample = "sample them with hydra.sweeper.n_trials=<n>, " if key in searched else ""
    rule = f"this sweep has {num_runs:,} runs, more than hydra.sweeper.max_runs={search.max_runs}"
    raise ConfigError(key, f"{counts[key]:,} values", rule, f"give fewer, {sample}or raise that limit")


@dataclass(frozen=True)
class TableReader:
    """Reads the axes of a command and those that its configs declare."""

    loader: ConfigLoader
    composer: Composer
    given: set[str]  # keys on the command line; they win over what the config declares
    axes: Sequence[Axis]  # of the command line, without replicates
    is_sweep: bool

    def tables(self) -> list[Table]:
        groups = [axis for axis in self.axes if axis.is_group]
        tables = [table for choices in product(groups) for table in self._tables(choices)]
        has_adapter = any(table.peft.get("method") == "adapter" for table in tables)
        if not has_adapter and not self.given.isdisjoint(START_KEYS):
            return tables  # a person asks for what none of these methods can do: `PeftMethod.validate` says so
        return [table.without_start() for table in tables]

    def _tables(self, choices: Mapping[str, str]) -> Iterator[Table]:
        """A declared axis over a config group opens new compositions, which may declare axes of their own."""
        declared = self._declared(choices)
        groups = {override.key_or_group: (override, when) for override, when in declared
                  if command_line.is_group(override.key_or_group, self.loader)}  # fmt: skip
        if groups:
            key = next((key for key, (_, when) in groups.items() if not when.keys() & groups.keys()), None)
            if key is None:
                raise ConfigError(f"{PARAMS}.{next(iter(groups))}.when", ", ".join(groups),
                                  "these conditions go round in a circle", "drop one")  # fmt: skip
            for value in self._choices(*groups[key], choices):
                yield from self._tables({**choices, key: str(value)})
            return
        axes = [_with_condition(read_axis(override, is_group=False), when)
                for override, when in declared if override.is_sweep_override() or when]  # fmt: skip
        axes += [axis for axis in self.axes if not axis.is_group]
        fixed = {override.key_or_group: override.value()
                 for override, when in declared if not override.is_sweep_override() and not when}  # fmt: skip
        composition = self.composer.composition(choices)
        by_key = {axis.key: axis for axis in axes}
        settled = Parents(self.loader, composition, fixed, by_key, self.given).settled()
        peft, model = (content if isinstance(content := composition.tree.get(group), Mapping) else {}
                       for group in ("peft", "model"))  # fmt: skip
        yield Table(choices, peft, settled, fixed, self._unswept(composition), model)

    def _unswept(self, composition: Composition) -> tuple[str, ...]:
        """A note for a single run of an experiment that is a sweep."""
        if self.is_sweep or "experiment" not in composition.choices:
            return ()
        declared = command_line.parse([entry.line for entry in composition.declared], self.loader)
        axes = [override.key_or_group for override in declared if override.is_sweep_override()]
        left = ", ".join(key for key in axes if key not in self.given)
        name = composition.choices["experiment"]
        return (f"experiment={name} declares the axes {left}; this is one run, add -m for the sweep",) if left else ()

    def _choices(self, override: Override, when: When, choices: Mapping[str, str]) -> list[Any]:
        """Of one group: those declared; where its condition does not hold, the one that it has anyway."""
        key = override.key_or_group
        settled = self.composer.composition(choices).choices
        for parent, wanted in when.items():
            if not command_line.is_group(parent, self.loader):
                raise ConfigError(f"{PARAMS}.{key}.when", parent, "a config group hangs on other config groups only",
                                  "put the condition on the axes that belong to its choices")  # fmt: skip
            for choice in wanted:
                check_choice(f"{PARAMS}.{key}.when.{parent}", parent, choice, self.loader)
        if not all(settled.get(parent, "null") in map(str, wanted) for parent, wanted in when.items()):
            return [settled.get(key, "null")]
        return read_axis(override, is_group=True).values() if override.is_sweep_override() else [override.value()]

    def _declared(self, choices: Mapping[str, str]) -> list[tuple[Override, When]]:
        """What the configs declare and the command line leaves, each with its condition."""
        composition = self.composer.composition(choices)
        named = composition.sweeper.get("custom_search_space")
        if named is not None and CUSTOM_KEY not in self.given:
            raise ConfigError(CUSTOM_KEY, named, "a config never names code to call", "give it on the command line")
        if not self.is_sweep:
            return []
        declared = [(command_line.parse([entry.line], self.loader)[0], entry.when) for entry in composition.declared]
        left = [pair for pair in declared if pair[0].key_or_group not in self.given | set(choices)]
        for override, _ in left:
            if override.key_or_group == "seed":
                raise ConfigError(PARAMS, "seed", "replicates are not declared with the axes",
                                  "set replicates=<n>, or seed=1,2,3 on the command line")  # fmt: skip
            if not command_line.is_group(override.key_or_group, self.loader):
                check_key(override.key_or_group, override.get_value_string(), RunConfig)
        return left


def _with_condition(axis: Axis, when: When) -> Axis:
    return replace(axis, dimension=replace(axis.dimension, when=when))
