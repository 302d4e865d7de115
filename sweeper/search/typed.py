"""Plain nested values -> the typed config, with errors that name the key, the rule and the nearest name.

Owns the conversion of types only; what a value may be is `sweeper.config`'s and `sweeper.peft_method`'s.
Enum values are read by value or by name, in any case.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Hashable, Iterable, Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from sweeper.checks import ConfigError, suggestion

T = TypeVar("T")


def read(cls: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    """An instance of the dataclass. Raises ConfigError for an unknown key or a wrong type."""
    hints = _hints(cls)  # type: ignore[arg-type]  # a class is hashable
    for key in values:
        if key not in hints:
            raise ConfigError(f"{prefix}{key}", values[key], "unknown key", nearest_key(str(key), hints, prefix))
    return cls(**{key: _convert(f"{prefix}{key}", value, hints[key]) for key, value in values.items()})


def nearest_key(wrong: str, names: Iterable[str], prefix: str = "") -> str:
    """`did you mean 'train.epochs'?`, or the names there are."""
    names = sorted(names)
    near = suggestion(wrong, names)
    if near:
        return near.replace("'", f"'{prefix}", 1)
    return f"known here: {', '.join(names)}"


def dotted_keys(cls: type, prefix: str = "") -> dict[str, Any]:
    """Every dotted key of the dataclass tree -> its type; a free dictionary appears as one key."""
    keys: dict[str, Any] = {}
    for name, hint in _hints(cls).items():
        keys[f"{prefix}{name}"] = hint
        if dataclasses.is_dataclass(hint):
            keys |= dotted_keys(hint, f"{prefix}{name}.")  # type: ignore[arg-type]
    return keys


def check_key(key: str, value: object, root: type) -> None:
    """Raises ConfigError for a dotted key that the dataclass tree does not have; inside free dictionaries all pass."""
    known = dotted_keys(root)
    parts = key.split(".")
    for depth in range(1, len(parts) + 1):
        head = ".".join(parts[:depth])
        if head not in known:
            raise ConfigError(key, value, "unknown key", _nearest_dotted(key, known))
        if not dataclasses.is_dataclass(known[head]):
            if depth < len(parts) and get_origin(known[head]) is not dict:
                raise ConfigError(key, value, f"{head} is a single value and has no keys below it")
            return


def value_of(key: str, value: object, root: type) -> Any:
    """As the key's type has it; inside free dictionaries as it is. Raises ConfigError."""
    check_key(key, value, root)
    hint = dotted_keys(root).get(key, Any)
    return _convert(key, value, hint)


def _nearest_dotted(key: str, known: Mapping[str, Any]) -> str:
    """The same last part elsewhere wins over a similar spelling: `learning_rate` is `train.learning_rate`."""
    leaf = key.rpartition(".")[2]
    same_leaf = [name for name in known if name.rpartition(".")[2] == leaf]
    if same_leaf:
        return f"did you mean '{same_leaf[0]}'?"
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if not near:
        leaves = {name.rpartition(".")[2]: name for name in known}
        near = [leaves[match] for match in difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.6)]
    return f"did you mean '{near[0]}'?" if near else "`python -m sweeper --cfg job` prints every key"


@cache
def _hints(cls: Hashable) -> dict[str, Any]:
    return get_type_hints(cls)


def _convert(key: str, value: Any, hint: Any) -> Any:
    if hint is Any:
        return value
    if get_origin(hint) in (Union, types.UnionType):
        hint = None if value is None else next(arg for arg in get_args(hint) if arg is not type(None))
        if hint is None:
            return None
    if value is None:
        raise ConfigError(key, "null", f"must be {_name(hint)}, not null")
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(key, value, "is a group of keys, not a value", f"set a key below it: {key}.<key>=...")
        return read(hint, value, f"{key}.")  # type: ignore[arg-type]
    if get_origin(hint) is not None:
        return _list(key, value, hint) if get_origin(hint) is list else _dict(key, value, hint)
    return _enum(key, value, hint) if issubclass(hint, Enum) else _scalar(key, value, hint)


def _list(key: str, value: Any, hint: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise ConfigError(key, value, f"must be {_name(hint)}", f"write {key}=[{value}]")
    return [_convert(f"{key}[{index}]", item, get_args(hint)[0]) for index, item in enumerate(value)]


def _dict(key: str, value: Any, hint: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(key, value, f"must be {_name(hint)}", f"write {key}={{name: value}}")
    return {str(name): _convert(f"{key}.{name}", item, get_args(hint)[1]) for name, item in value.items()}


def _enum(key: str, value: Any, hint: type[Enum]) -> Enum:
    if isinstance(value, hint):
        return value
    by_name = {str(member.value): member for member in hint} | {member.name.lower(): member for member in hint}
    found = by_name.get(str(value).lower())
    if found is None:
        names = [str(member.value) for member in hint]
        raise ConfigError(key, value, f"not one of {', '.join(names)}", suggestion(str(value), names))
    return found


def _scalar(key: str, value: Any, hint: type) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and is_number:
        return float(value)
    if hint is int and is_number and float(value).is_integer():
        return int(value)
    if hint is str and (isinstance(value, str) or is_number):
        return str(value)
    if hint is bool and isinstance(value, bool):
        return value
    fix = f'quote it: "{"yes" if value else "no"}"' if hint is str and isinstance(value, bool) else ""
    raise ConfigError(key, value, f"must be {_name(hint)}, not {_described(value)}", fix)


def _described(value: Any) -> str:
    names: dict[type, str] = {bool: "true/false", int: "a whole number", float: "a number", str: "text", list: "a list"}
    return names.get(type(value), "a dictionary" if isinstance(value, Mapping) else type(value).__name__)


def _name(hint: Any) -> str:
    origin = get_origin(hint)
    if origin is list:
        return f"a list, each item {_name(get_args(hint)[0])}"
    if origin is dict:
        return "a dictionary"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return f"one of {', '.join(str(member.value) for member in hint)}"
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false"}.get(hint, str(hint))
