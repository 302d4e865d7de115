"""Axes: what Hydra's override grammar says about a key that has several values.

Owns the roles (design, search, replicates) and the finite or continuous dimension of an axis. Composes no
config and asks no sampler.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Any

from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
    ValueType,
)

from sweeper.checks import ConfigError

DESIGN_KEYS = frozenset({"task.train_size", "task.head"})  # config groups are design axes as well
SEED = "seed"
MAX_SHOWN = 20  # values of an axis that a plan lists one by one


class Role(Enum):
    DESIGN = "design"  # every value appears in the table
    SEARCH = "search"  # the best value is wanted
    REPLICATES = "replicates"  # the same point again


@dataclass(frozen=True)
class Dimension:
    """Either `choices`, or numbers from `low` to `high`, both included, in steps of `step` (None: continuous)."""

    choices: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False
    integer: bool = False

    @property
    def is_finite(self) -> bool:
        return bool(self.choices) or self.integer or self.step is not None

    @property
    def count(self) -> int:
        """Of the values of a finite dimension, without making them."""
        assert self.is_finite
        if self.choices:
            return len(self.choices)
        low, high, step = self._bounds()
        return int((high - low) / step) + 1

    def values(self) -> list[Any]:
        """Each value of a finite dimension, in order."""
        assert self.is_finite
        if self.choices:
            return list(self.choices)
        low, _, step = self._bounds()
        numbers = [low + step * index for index in range(self.count)]
        return [int(number) if self.integer else float(number) for number in numbers]

    def _bounds(self) -> tuple[Decimal, Decimal, Decimal]:
        return Decimal(str(self.low)), Decimal(str(self.high)), Decimal(str(self.step or 1))

    def extremes(self) -> list[Any]:
        """The values to validate before anything starts: every choice, or both ends."""
        return list(self.choices) or [self.low, self.high]

    def describe(self) -> str:
        """Insensitive to the order in which choices were written."""
        if self.choices:
            return json.dumps(sorted(self.choices, key=repr))
        return json.dumps([self.low, self.high, self.step, self.log, self.integer])

    def __str__(self) -> str:
        if self.choices:
            return abbreviated(self.choices)
        kind = "whole numbers" if self.integer else "numbers"
        step = f", step {self.step:g}" if self.step not in (None, 1) else ""
        return f"{kind} {self.low:g} to {self.high:g}{step}{', log' if self.log else ''}"


@dataclass(frozen=True)
class Axis:
    key: str  # dotted key, or a config group
    role: Role
    dimension: Dimension
    is_group: bool = False

    def values(self) -> list[Any]:
        return self.dimension.values()


@dataclass(frozen=True)
class Cell:
    """One combination of design values, and the search space inside it."""

    choices: Mapping[str, str]  # config group -> its choice
    design: Mapping[str, Any] = field(default_factory=dict)  # dotted key -> value
    search: Mapping[str, Dimension] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)  # single values that the config declares for a sweep
    notes: tuple[str, ...] = ()  # for a person: the axes of the command that mean nothing here

    @property
    def values(self) -> dict[str, Any]:
        """All that tells this cell from the others."""
        return {**self.choices, **self.design}

    @property
    def key(self) -> str:
        return json.dumps(self.values, sort_keys=True)

    @property
    def is_finite(self) -> bool:
        return all(dimension.is_finite for dimension in self.search.values())

    @property
    def num_points(self) -> int:
        """Of a finite search space; 1 where nothing is searched."""
        return math.prod(dimension.count for dimension in self.search.values())

    def points(self) -> Iterator[dict[str, Any]]:
        """Each point of a finite search space; one empty point where nothing is searched."""
        for combination in itertools.product(*(dimension.values() for dimension in self.search.values())):
            yield dict(zip(self.search, combination, strict=True))


@dataclass(frozen=True)
class Space:
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]  # one run per seed at every point

    @property
    def design(self) -> dict[str, list[Any]]:
        """Design key -> its values over all cells, in order of appearance."""
        found: dict[str, list[Any]] = {}
        for cell in self.cells:
            for key, value in cell.values.items():
                values = found.setdefault(key, [])
                if value not in values:
                    values.append(value)
        return found

    @property
    def notes(self) -> list[str]:
        return list(dict.fromkeys(note for cell in self.cells for note in cell.notes))

    @property
    def search(self) -> dict[str, Dimension]:
        return {key: dimension for cell in self.cells for key, dimension in cell.search.items()}

    def describe(self) -> dict[str, Any]:
        """Plain JSON values that tell one space from another; insensitive to the order of axes."""
        cells = {cell.key: {key: cell.search[key].describe() for key in cell.search} for cell in self.cells}
        return {"cells": cells, "seeds": list(self.seeds)}


def abbreviated(values: Sequence[Any]) -> str:
    """`1, 2, 3`, and of a long list the first, the last and how many there are."""
    if len(values) <= MAX_SHOWN:
        return ", ".join(map(str, values))
    return f"{values[0]}, {values[1]}, ..., {values[-1]} ({len(values):,} values)"


def product(axes: Sequence[Axis]) -> Iterator[dict[str, Any]]:
    for combination in itertools.product(*(axis.values() for axis in axes)):
        yield {axis.key: value for axis, value in zip(axes, combination, strict=True)}


def read_axis(override: Override, *, is_group: bool) -> Axis:
    """The axis of an override that sweeps. Raises ConfigError for a sweep that makes no sense."""
    key, value = override.key_or_group, override.value()
    tags = {str(tag) for tag in value.tags} if isinstance(value, ChoiceSweep | RangeSweep | IntervalSweep) else set()
    role = _role(key, tags, is_group=is_group, is_interval=isinstance(value, IntervalSweep))
    dimension = _dimension(override, log="log" in tags)
    if role is not Role.SEARCH and not dimension.is_finite:
        raise ConfigError(key, override.get_value_string(), f"an interval cannot be a {role.value} axis",
                          "list its values: a,b,c")  # fmt: skip
    if dimension.choices and len({repr(choice) for choice in dimension.choices}) < len(dimension.choices):
        raise ConfigError(key, override.get_value_string(), "a value appears twice", "list each value once")
    return Axis(key, role, dimension, is_group)


def _role(key: str, tags: set[str], *, is_group: bool, is_interval: bool) -> Role:
    unknown = tags - {"log", "design", "search"}
    if unknown or {"design", "search"} <= tags:
        raise ConfigError(key, ", ".join(sorted(tags)), "a tag is log, or one of design and search")
    if key == SEED:
        if tags or is_interval:
            raise ConfigError(key, "interval" if is_interval else ", ".join(sorted(tags)),
                              "seeds are replicates, never searched", "list them: seed=1,2,3")  # fmt: skip
        return Role.REPLICATES
    if is_group and "search" in tags:
        raise ConfigError(key, "search", "a config group is a design axis: each choice has its own keys")
    if "design" in tags:
        return Role.DESIGN
    if "search" in tags or is_interval:
        return Role.SEARCH
    return Role.DESIGN if is_group or key in DESIGN_KEYS else Role.SEARCH


def _dimension(override: Override, *, log: bool) -> Dimension:
    key, text, value = override.key_or_group, override.get_value_string(), override.value()
    if isinstance(value, IntervalSweep):
        return _interval(key, text, value, log=log)
    if isinstance(value, RangeSweep):
        return _range(key, text, value, log=log)
    if log:
        raise ConfigError(key, text, "only numbers of an interval() or range() can be spaced by their logarithm")
    if override.value_type is ValueType.GLOB_CHOICE_SWEEP:
        choices = tuple(override.sweep_iterator())
        if not choices:
            raise ConfigError(key, text, "the pattern matches no choice of this group")
        return Dimension(choices=choices)
    assert isinstance(value, ChoiceSweep)
    return Dimension(choices=tuple(_plain(choice) for choice in value.list))


def _interval(key: str, text: str, value: IntervalSweep, *, log: bool) -> Dimension:
    low, high = value.start, value.end
    assert low is not None
    assert high is not None
    if not low < high:
        raise ConfigError(key, text, "an interval's start must be below its end")
    if log and low <= 0:
        raise ConfigError(key, text, "a logarithmic interval starts above 0")
    return Dimension(low=low, high=high, log=log, integer=isinstance(low, int) and isinstance(high, int))


def _range(key: str, text: str, value: RangeSweep, *, log: bool) -> Dimension:
    assert value.start is not None
    assert value.stop is not None
    if value.step == 0:
        raise ConfigError(key, text, "a range needs a step other than 0")
    first, last = _ends(value)
    if last is None:
        raise ConfigError(key, text, "the range is empty; it ends before its stop")
    low, high, integer = min(first, last), max(first, last), isinstance(value.range(), range)
    if log and (not integer or abs(value.step) != 1 or low < 1):
        raise ConfigError(key, text, "a logarithmic range has whole numbers from 1 and step 1", "or use interval()")
    return Dimension(low=low, high=high, step=abs(value.step), log=log, integer=integer)


def _ends(value: RangeSweep) -> tuple[float, float | None]:
    """The first number and the last, None where there is none; a range may be too long to be listed."""
    numbers = value.range()
    if isinstance(numbers, range):
        return numbers.start, numbers[-1] if numbers else None
    # As Hydra counts: the numbers exactly as they are in binary.
    start, stop, step = Decimal(numbers.start), Decimal(numbers.stop), Decimal(numbers.step)
    count = math.ceil((stop - start) / step)
    return float(start), float(start + (count - 1) * step) if count > 0 else None


def _plain(value: Any) -> Any:
    """The parser's element without its quotes."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return value
