"""The command lines of `analysis`: `key=value` words and `--options`, and one line for what is wrong with them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from analysis.load import BadArgument, NothingToShow, nearest

# What an option takes: one of these names; anything (None); nothing, it is there or not (no names).
Options = Mapping[str, Sequence[str] | None]


def parse(arguments: Sequence[str], keys: Sequence[str], options: Options, program: str) -> dict[str, str]:
    """Values by key and by option; an option without a value has its own name. Raises BadArgument."""
    values, words = {}, list(arguments)
    while words:
        name, equals, value = words.pop(0).partition("=")
        if name in options:
            allowed = options[name]
            if allowed is None or allowed:
                value = value if equals else words.pop(0) if words else ""
                _check_value(name, value, allowed)
            elif equals:
                raise BadArgument(f"{name}={value}: {name} takes no value")
            values[name] = value or name
        elif name in keys and value:
            values[name] = value
        else:
            raise _wrong(f"{name}{equals}{value}", keys, options, program)
    return values


def run(description: str | None, main: Callable[[Sequence[str]], None], arguments: Sequence[str]) -> int:
    """The exit code: 0; 1 where there is nothing to show; 2 for a bad argument."""
    if {"-h", "--help"} & set(arguments):
        print(description)
        return 0
    try:
        main(arguments)
    except BadArgument as error:
        print(error, file=sys.stderr)
        return 2
    except NothingToShow as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _check_value(name: str, value: str, allowed: Sequence[str] | None) -> None:
    if allowed is None and not value:
        raise BadArgument(f"{name}: needs a value, {name} <value>")
    if allowed and value not in allowed:
        raise BadArgument(f"{name} {value}: not one of {', '.join(allowed)}; {nearest(value, allowed)}".rstrip("; "))


def _wrong(word: str, keys: Sequence[str], options: Options, program: str) -> BadArgument:
    key = word.partition("=")[0]
    rule = f"needs a value, {key}=..." if key in keys else "unknown argument"
    known = (*keys, *options)
    fix = "" if key in keys else nearest(key, known) or nearest(key.lstrip("-"), known)
    return BadArgument(f"{word}: {rule}; {fix or f'python -m {program} --help shows them all'}")
