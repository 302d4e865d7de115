"""Words of the small commands."""

from __future__ import annotations

import pytest

from sweeper import arguments
from sweeper.checks import ConfigError

KEYS = ("run", "input", "dry_run")


def parse(*words: str) -> dict[str, str]:
    return arguments.parse(words, KEYS, needs=("run",), program="sweeper.predict")


def test_values_by_key_and_the_later_one_counts() -> None:
    assert parse("run=a", "input=x=1", "run=last") == {"run": "last", "input": "x=1"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rnu=a"], "command line=rnu=a: unknown argument; did you mean 'run'?"),
        (["--list"], "command line=--list: unknown argument; python -m sweeper.predict --help shows them all"),
        (["run"], "command line=run: needs a value; run=..."),
        (["run="], "command line=run=: needs a value; run=..."),
        (["input=-"], "run=None: is needed; python -m sweeper.predict --help shows examples"),
    ],
)
def test_bad_words_are_told_in_one_line(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(*words)
    assert str(caught.value) == message


def test_a_switch_is_true_or_false() -> None:
    assert arguments.switch(parse("run=a", "dry_run=true"), "dry_run")
    assert not arguments.switch(parse("run=a"), "dry_run")
    with pytest.raises(ConfigError, match="dry_run=yes: not one of false, true"):
        arguments.switch(parse("run=a", "dry_run=yes"), "dry_run")
