"""The command lines of `analysis`: `key=value` words and `--options`, and one line for what is wrong with them.

Knows what several of them ask for: names of metrics, and a place for a picture.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from analysis.load import BadArgument, NothingToShow, nearest
from sweeper.metrics import NEITHER, all_metrics

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


def metric_names(key: str, text: str) -> list[str]:
    """Raises BadArgument for a name that is no metric, or that stands there twice."""
    names, known = [name.strip() for name in text.split(",")], all_metrics()
    for name in names:
        if name not in known:
            fix = nearest(name, known) or "sweeper/metrics.py has them all"
            raise BadArgument(f"{key}={name}: not a metric; {fix}")
        if names.count(name) > 1:
            raise BadArgument(f"{key}={text}: {name} stands there twice")
    return names


def check_objective(key: str, name: str, instead: str) -> None:
    """Of a metric; `instead`: what to do for one of the reporting split. Raises BadArgument."""
    if name.startswith("test/"):
        better = f"eval/{name.removeprefix('test/')}"
        raise BadArgument(f"{key}={name}: the reporting split must not choose anything; use {better}{instead}")
    if all_metrics()[name].direction == NEITHER:
        raise BadArgument(f"{key}={name}: has no direction that is better")


def picture(path: str | None) -> Path | None:
    """Where `--plot` shall draw. Raises BadArgument."""
    if path is not None and not path.endswith(".png"):
        raise BadArgument(f"--plot {path}: must end with .png")
    return None if path is None else Path(path)


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
