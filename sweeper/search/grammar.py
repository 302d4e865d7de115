"""Hydra's override grammar -> axes: which role a key with several values has, and which values.

Owns the tags (log, design, search) and the bounds of `range()` and `interval()`.
"""

from __future__ import annotations

import math
from decimal import Decimal
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
from sweeper.search.space import DESIGN_KEYS, SEED, Axis, Dimension, Role


def read_axis(override: Override, *, is_group: bool) -> Axis:
    """The axis of an override; a single value makes one that has no other. Raises ConfigError for a senseless sweep."""
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
    if not override.is_sweep_override():
        return Dimension(choices=(value,))
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
