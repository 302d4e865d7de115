"""Conditions (`when`) between axes: their long form in YAML, their order, and the points that they leave.

A condition maps keys to the values of which each must have one. A key that is absent from a point has none, so
that whatever is conditional on it is absent as well. What a key stands for is `parents`'.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeper.checks import ConfigError, suggestion

if TYPE_CHECKING:
    from sweeper.search.space import Dimension

PARAMS = "hydra.sweeper.params"
LONG_FORM = ("space", "when")
OTHER = object()  # stands for every value that no condition names

When = Mapping[str, tuple[Any, ...]]
Options = Mapping[str, Sequence[tuple[Any, int]]]  # key -> values, and how many points each stands for


@dataclass(frozen=True)
class Declared:
    """One entry of `hydra.sweeper.params`."""

    line: str  # as an override
    when: When


def read_params(params: Mapping[Any, Any]) -> list[Declared]:
    """Raises ConfigError for an entry that is neither `key: values` nor `key: {space: values, when: {...}}`."""
    return [_read_entry(str(key), value) for key, value in params.items()]


def _read_entry(key: str, value: Any) -> Declared:
    if not isinstance(value, Mapping):
        return Declared(_line(key, value), {})
    for name in value:
        if name not in LONG_FORM:
            fix = suggestion(str(name), LONG_FORM) or f"keys are dotted: {key}.{name}"
            raise ConfigError(f"{PARAMS}.{key}", name, "an axis is a text of values, or {space: values, when: {...}}",
                              fix)  # fmt: skip
    if value.get("space") is None or isinstance(value["space"], list | Mapping):
        raise ConfigError(f"{PARAMS}.{key}.space", value.get("space"), "an axis is a text of values",
                          'space: "choice(8,16)", say')  # fmt: skip
    when = value.get("when") or {}
    if not isinstance(when, Mapping) or any(isinstance(wanted, Mapping) or wanted == [] for wanted in when.values()):
        raise ConfigError(f"{PARAMS}.{key}.when", when, "a condition maps keys to a value or a list of values",
                          "when: {peft: lora}, say")  # fmt: skip
    lists = {str(name): tuple(wanted) if isinstance(wanted, list) else (wanted,) for name, wanted in when.items()}
    return Declared(_line(key, value["space"]), lists)


def _line(key: str, value: Any) -> str:
    return f"{key}={'null' if value is None else value}"


def text(when: When) -> str:
    """`when peft.r is 4 or 8 and peft is lora`."""
    return "when " + " and ".join(f"{key} is {' or '.join(map(str, values))}" for key, values in when.items())


def is_among(value: Any, allowed: Iterable[Any]) -> bool:
    """By equality, but true is not 1."""
    return any(item == value and isinstance(item, bool) == isinstance(value, bool) for item in allowed)


def holds(when: When, point: Mapping[str, Any], keys: Collection[str]) -> bool:
    """Whether the point has, under each of the condition's keys that is one of `keys`, a value asked for."""
    return all(key in point and is_among(point[key], allowed) for key, allowed in when.items() if key in keys)


def ordered(dimensions: Mapping[str, Dimension]) -> dict[str, Dimension]:
    """Each key after those of its condition. Raises ConfigError for conditions in a circle."""
    placed: dict[str, Dimension] = {}

    def place(key: str, path: tuple[str, ...]) -> None:
        if key in path:
            circle = " -> ".join((*path[path.index(key) :], key))
            raise ConfigError(f"{PARAMS}.{key}.when", circle, "these conditions go round in a circle", "drop one")
        for parent in dimensions[key].when:
            if parent in dimensions and parent not in placed:
                place(parent, (*path, key))
        placed[key] = dimensions[key]

    for key in dimensions:
        if key not in placed:
            place(key, ())
    return placed


def required(key: str, dimensions: Mapping[str, Dimension]) -> dict[str, list[Any]]:
    """Other keys of `dimensions` -> the values of which each must have one, so that `key` is there at all."""
    needed: dict[str, list[Any]] = {}
    for parent, allowed in dimensions[key].when.items():
        if parent in dimensions:
            for name, values in ((parent, allowed), *required(parent, dimensions).items()):
                needed[name] = [value for value in needed.get(name, values) if is_among(value, values)]
    return needed


def points(dimensions: Mapping[str, Dimension]) -> Iterator[dict[str, Any]]:
    """Each point of a finite space once, the last key fastest; a key comes after those of its condition."""
    every = {key: [(value, 1) for value in dimension.values()] for key, dimension in dimensions.items()}
    return (point for point, _ in _walk(dimensions, every))


def patterns(dimensions: Mapping[str, Dimension], when: Iterable[When]) -> Iterator[tuple[dict[str, Any], int]]:
    """Points told apart only by what the conditions `when` name, and how many there are of each."""
    conditions = list(when)
    options = {}
    for key, dimension in dimensions.items():
        named: list[Any] = []
        for value in (value for condition in conditions for value in condition.get(key, ())):
            if value in dimension and not is_among(value, named):
                named.append(value)
        rest = dimension.count - len(named)
        options[key] = [*((value, 1) for value in named), *([(OTHER, rest)] if rest else [])]
    return _walk(dimensions, options)


def count(dimensions: Mapping[str, Dimension]) -> int:
    """Number of points of a finite space, without making them."""
    total = 1
    for family in _families(dimensions):
        total *= sum(number for _, number in patterns(family, [dimension.when for dimension in family.values()]))
    return total


def _walk(dimensions: Mapping[str, Dimension], options: Options) -> Iterator[tuple[dict[str, Any], int]]:
    keys = list(dimensions)

    def walk(depth: int, point: dict[str, Any], number: int) -> Iterator[tuple[dict[str, Any], int]]:
        if depth == len(keys):
            yield point, number
        elif not holds(dimensions[keys[depth]].when, point, dimensions):
            yield from walk(depth + 1, point, number)
        else:
            for value, times in options[keys[depth]]:
                yield from walk(depth + 1, {**point, keys[depth]: value}, number * times)

    return walk(0, {}, 1)


def _families(dimensions: Mapping[str, Dimension]) -> list[dict[str, Dimension]]:
    """Parts of the space that no condition connects."""
    families: list[dict[str, Dimension]] = []
    for key, dimension in dimensions.items():
        linked = [family for family in families if family.keys() & dimension.when.keys()]
        merged = {name: member for family in linked for name, member in family.items()}
        families = [family for family in families if not family.keys() & merged.keys()]
        families.append({**merged, key: dimension})
    return families
