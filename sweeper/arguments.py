"""`key=value` words of the small commands, such as `sweeper.predict`, and one line for what is wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sweeper.checks import ConfigError, at_least, one_of, suggestion

HELP = ("-h", "--help")


def asks_for_help(words: Sequence[str]) -> bool:
    return bool(set(words) & set(HELP))


def parse(words: Sequence[str], keys: Collection[str], *, needs: Sequence[str], program: str) -> dict[str, str]:
    """Values by key; a later one takes the place of an earlier. Raises ConfigError, also where one of `needs` lacks."""
    values = {}
    for word in words:
        key, equals, value = word.partition("=")
        if key not in keys:
            fix = suggestion(key, keys) or f"python -m {program} --help shows them all"
            raise ConfigError("command line", word, "unknown argument", fix)
        if not equals or not value:
            raise ConfigError("command line", word, "needs a value", f"{key}=...")
        values[key] = value
    for key in needs:
        if key not in values:
            raise ConfigError(key, None, "is needed", f"python -m {program} --help shows examples")
    return values


def whole_number(values: Mapping[str, str], key: str, minimum: int) -> int:
    """Raises ConfigError."""
    if not values[key].isdecimal():
        raise ConfigError(key, values[key], "must be a whole number")
    at_least(key, int(values[key]), minimum)
    return int(values[key])


def switch(values: Mapping[str, str], key: str) -> bool:
    """`true` or `false`, false where it is not given. Raises ConfigError."""
    one_of(key, values.get(key, "false"), ("true", "false"))
    return values.get(key) == "true"
