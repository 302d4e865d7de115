"""The space of a sweep: axes, their finite or continuous dimensions, and cells with the points inside them.

Owns the roles (design, search, replicates) and the order of points. Composes no config and asks no sampler.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from sweeper.search import conditions

if TYPE_CHECKING:
    from sweeper.search.custom import CustomSpace

DESIGN_KEYS = frozenset({"task.train_size", "task.head"})  # config groups are design axes as well
SEED = "seed"
EPOCHS = "train.epochs"
T = TypeVar("T")
MAX_SHOWN = 20  # values of an axis that a plan lists one by one


class Role(Enum):
    DESIGN = "design"  # every value appears in the table
    SEARCH = "search"  # the best value is wanted
    REPLICATES = "replicates"  # the same point again


@dataclass(frozen=True)
class Dimension:
    """Either `choices`, or numbers from `low` to `high`, both included, in steps of `step` (None: continuous).

    Under a condition (`when`) the key is an axis only where each of the other keys has one of those values.
    """

    choices: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False
    integer: bool = False
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

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

    def __contains__(self, value: Any) -> bool:
        """Of a finite dimension, without making its values."""
        if self.choices:
            return conditions.is_among(value, self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        low, _, step = self._bounds()
        return (Decimal(str(value)) - low) % step == 0

    def nearest(self, value: float) -> float:
        """The number of the dimension's steps, exactly as its `values` have it."""
        low, _, step = self._bounds()
        return float(low + step * round((Decimal(str(value)) - low) / step))

    def extremes(self) -> list[Any]:
        """The values to validate before anything starts: every choice, or both ends, and of an interval a number
        between them that is not whole."""
        between = [] if self.is_finite else [self.low + (self.high - self.low) / math.pi]
        return list(self.choices) or [self.low, self.high, *between]

    def describe(self) -> str:
        """Insensitive to the order in which choices and conditions were written."""
        when = {key: sorted(values, key=repr) for key, values in sorted(self.when.items())}
        values = [self.low, self.high, self.step, self.log, self.integer]
        text = json.dumps(sorted(self.choices, key=repr) if self.choices else values)
        return f"{text} when {json.dumps(when)}" if when else text

    def __str__(self) -> str:
        return f"{self._values_text()}  ({conditions.text(self.when)})" if self.when else self._values_text()

    def _values_text(self) -> str:
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
    search: Mapping[str, Dimension] = field(default_factory=dict)  # a key after those of its conditions
    fixed: Mapping[str, Any] = field(default_factory=dict)  # single values that the config declares for a sweep
    notes: tuple[str, ...] = ()  # for a person: say, the axes of the command that mean nothing here
    custom: CustomSpace | None = None  # a person's own code, which adds to every point

    @property
    def values(self) -> dict[str, Any]:
        """All that tells this cell from the others."""
        return {**self.choices, **self.design}

    @property
    def key(self) -> str:
        return json.dumps(self.values, sort_keys=True)

    @property
    def is_finite(self) -> bool:
        return self.custom is None and all(dimension.is_finite for dimension in self.search.values())

    @cached_property
    def num_points(self) -> int:
        """Of a finite search space, without making them; 1 where nothing is searched."""
        return conditions.count(self.search)

    def is_active(self, key: str, point: Mapping[str, Any]) -> bool:
        """Whether a key is searched at a point that has the keys before it."""
        return conditions.holds(self.search[key].when, point, self.search)

    def points(self) -> Iterator[dict[str, Any]]:
        """Each point of a finite search space, without the keys whose conditions do not hold at it.

        Points that differ only in their epochs follow one another; one empty point where nothing is searched.
        """
        points = conditions.points(self.search)
        return iter(epochs_together(points, lambda point: point)) if EPOCHS in self.search else points


@dataclass(frozen=True)
class Space:
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]  # one run per seed at every point

    @cached_property
    def design(self) -> dict[str, list[Any]]:
        """Design key -> its values over all cells, in order of appearance."""
        found: dict[str, dict[str, Any]] = {}
        for cell in self.cells:
            for key, value in cell.values.items():
                found.setdefault(key, {}).setdefault(repr(value), value)
        return {key: list(values.values()) for key, values in found.items()}

    @property
    def notes(self) -> list[str]:
        return list(dict.fromkeys(note for cell in self.cells for note in cell.notes))

    @property
    def search(self) -> dict[str, Dimension]:
        return {key: dimension for cell in self.cells for key, dimension in cell.search.items()}

    @cached_property
    def asking_order(self) -> list[Cell]:
        """The cells, those that differ only in their epochs one after another: their runs can be one run."""
        return epochs_together(self.cells, lambda cell: cell.values)

    def describe(self) -> dict[str, Any]:
        """Plain JSON values that tell one space from another; insensitive to the order of axes."""
        cells = {cell.key: {key: cell.search[key].describe() for key in cell.search} for cell in self.cells}
        custom = next((cell.custom.describe() for cell in self.cells if cell.custom), None)
        return {"cells": cells, "seeds": list(self.seeds), **({"custom": custom} if custom else {})}


def epochs_together(items: Iterable[T], values: Callable[[T], Mapping[str, Any]]) -> list[T]:
    """Those that differ only in their epochs one after another, the most epochs first; else the order stays."""
    families: dict[str, list[T]] = {}
    for item in items:
        others = sorted((key, repr(value)) for key, value in values(item).items() if key != EPOCHS)
        families.setdefault(repr(others), []).append(item)
    return [item for family in families.values()
            for item in sorted(family, key=lambda item: values(item).get(EPOCHS, 0), reverse=True)]  # fmt: skip


def abbreviated(values: Sequence[Any]) -> str:
    """`1, 2, 3`, and of a long list the first, the last and how many there are."""
    if len(values) <= MAX_SHOWN:
        return ", ".join(map(str, values))
    return f"{values[0]}, {values[1]}, ..., {values[-1]} ({len(values):,} values)"


def product(axes: Sequence[Axis]) -> Iterator[dict[str, Any]]:
    for combination in itertools.product(*(axis.values() for axis in axes)):
        yield {axis.key: value for axis, value in zip(axes, combination, strict=True)}
