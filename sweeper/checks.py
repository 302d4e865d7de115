"""What is said of bad input, and the rules that values are held to."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable


class ConfigError(ValueError):
    """Bad input from a person: one line that names the key, the value, the rule and the fix."""

    def __init__(self, key: str, value: object, rule: str, fix: str = "") -> None:
        self.key, self.value, self.rule, self.fix = key, value, rule, fix
        super().__init__(f"{key}={value!s}: {rule}" + (f"; {fix}" if fix else ""))


def one_of(key: str, value: str, allowed: Iterable[str]) -> None:
    names = sorted(allowed)
    if value not in names:
        raise ConfigError(key, value, f"not one of {', '.join(names)}", suggestion(value, names))


def at_least(key: str, value: float, minimum: float) -> None:
    if not math.isfinite(value) or value < minimum:
        raise ConfigError(key, value, f"must be at least {minimum}")


def positive(key: str, value: float) -> None:
    if not math.isfinite(value) or value <= 0:
        raise ConfigError(key, value, "must be greater than 0")


def suggestion(wrong: str, names: Iterable[str]) -> str:
    """`did you mean 'x'?` for the nearest name, or nothing where none is near."""
    near = difflib.get_close_matches(str(wrong), list(names), n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else ""
