"""Optuna's classes with a person's arguments, held to the signature of the class."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from sweeper.checks import ConfigError, suggestion

T = TypeVar("T")


def built(cls: type[T], key: str, given: Mapping[str, Any], own: Mapping[str, Any]) -> T:
    """`cls(**given, **own)`. Raises ConfigError under `key` for arguments that it does not take, lacks or refuses.

    `own`: the arguments that are not a person's to give.
    """
    from optuna.exceptions import ExperimentalWarning

    parameters = {name: parameter for name, parameter in inspect.signature(cls).parameters.items() if name not in own}
    _check_names(cls, key, given, parameters)
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and name not in given:
            raise ConfigError(f"{key}.{name}", None, f"{cls.__name__} needs it", f"{key}={{{name}: ...}}")
    try:
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            return cls(**given, **own)
    except (TypeError, ValueError) as error:
        rule = f"{cls.__name__} refuses them ({str(error).splitlines()[0]})"
        raise ConfigError(key, dict(given), rule) from error


def _check_names(cls: type[Any], key: str, given: Mapping[str, Any], known: Collection[str]) -> None:
    for name, value in given.items():
        if name not in known:
            fix = suggestion(name, known) or f"known: {', '.join(known)}"
            raise ConfigError(f"{key}.{name}", value, f"unknown to {cls.__name__}", fix)
