"""Whether a command still means the sweep that it began: config, data and code as they were, or what has changed.

Owns the comparison and what follows from it; runs before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.checks import ConfigError
from sweeper.config import flatten
from sweeper.search.record import Command, SweepRecord, paths, record_path
from sweeper.search.study import Sweep

MAX_LINES = 8  # of what has changed
MAX_VALUE = 60  # characters


class Drift(ConfigError):
    """An unfinished sweep is no longer what it was."""

    def __init__(self, previous: SweepRecord, changes: list[str]) -> None:
        self.changes = [f"changed since sweep {previous.sweep_id} ({previous.values['name']}) began:",
                        *(f"  {line}" for line in _first(changes))]  # fmt: skip
        values = previous.values
        left = f"{values['finished']} of its {values['trials']} trials are finished"
        fix = ("resume.allow_drift=true goes on with it (its finished trials are kept, the rest is run as things are "
               "now), output_dir=<another folder> begins afresh")  # fmt: skip
        super().__init__("sweep", previous.sweep_id, f"unfinished ({left}), and {_what(changes)} changed since", fix)


@dataclass(frozen=True)
class _Comparison:
    previous: SweepRecord
    present: SweepRecord

    def changes(self) -> list[str]:
        changes = [*self._data(), *self._code(), *self.of_the_study(), *self._configs()]
        return changes or ["config: a value that is not shown, since it is secret"]

    def of_the_study(self) -> list[str]:
        """What a study keeps as it began."""
        contents = [record.values["content"] for record in (self.previous, self.present)]
        old, new = ({f"hydra.sweeper.{key}": content[key] for key in ("objectives", "tune_per_cell")}
                    | {f"hydra.sweeper.{key}": value for key, value in content["choosing"].items()}
                    | flatten(content["space"], "space: ") for content in contents)  # fmt: skip
        return list(_differences(old, new))

    def _data(self) -> Iterator[str]:
        old, new = (record.values["content"]["data"] for record in (self.previous, self.present))
        if old != new:
            gone, added = sorted(set(old) - set(new)), sorted(set(new) - set(old))
            yield f"data: {', '.join(gone) or 'nothing'} -> {', '.join(added) or 'nothing'}"

    def _code(self) -> Iterator[str]:
        if self.previous.values["content"]["code"] != self.present.values["content"]["code"]:
            yield f"code: {_code(self.previous)} -> {_code(self.present)}"

    def _configs(self) -> Iterator[str]:
        """A line per key; where cells differ in it, the first cell's values stand for all."""
        old, new = self.previous.cells(), self.present.cells()
        lines: dict[str, None] = {}
        for label in old.keys() & new.keys():
            lines |= dict.fromkeys(_differences(old[label], new[label]))
        seen: set[str] = set()
        for line in sorted(lines):
            if (key := line.partition(":")[0]) not in seen:
                seen.add(key)
                yield line


def begin(sweep: Sweep, command: Command) -> list[str]:
    """Gives the sweep its record, and tells in a few lines what has changed since the command was given before.

    Writes nothing. Raises Drift for an unfinished sweep that has changed, unless `resume.allow_drift`; ConfigError for
    a record that cannot be read.
    """
    present = SweepRecord.of(sweep, command)
    previous = _previous(present, command)
    sweep.record = present if previous is None else present.continuing(previous)
    if previous is None or previous.values["content_id"] == present.values["content_id"]:
        return []
    comparison = _Comparison(previous, present)
    changes = comparison.changes()
    if previous.is_finished and not (previous.has_failed and sweep.base.resume.allow_drift):
        if previous.sweep_id != present.sweep_id:
            sweep.record = present
        return [f"sweep {previous.sweep_id} of this command has ended; a new one begins, since {_what(changes)} "
                "changed:", *(f"  {line}" for line in _first(changes))]  # fmt: skip
    if not sweep.base.resume.allow_drift:
        raise Drift(previous, changes)
    if comparison.of_the_study():
        sweep.record = present
        return [f"the search has changed: sweep {previous.sweep_id} stays unfinished, another begins, and takes "
                "over the finished runs that are still the same"]  # fmt: skip
    sweep.record.note_drift(changes)
    return [f"going on with sweep {previous.sweep_id}, though {_what(changes)} changed:",
            *(f"  {line}" for line in _first(changes))]  # fmt: skip


def _previous(present: SweepRecord, command: Command) -> SweepRecord | None:
    """The sweep that is to be resumed, else the same one, else the last one of the same command."""
    output_dir = present.output_dir
    if command.resumes is not None:
        return SweepRecord.read(record_path(output_dir, command.resumes))
    own = record_path(output_dir, present.sweep_id)
    found = [SweepRecord.read(path) for path in _readable(output_dir, own)]
    found.sort(key=lambda record: str(record.values["started"]), reverse=True)
    same = [record for record in found if record.values["content_id"] == present.values["content_id"]]
    of_command = [record for record in found if record.values["command"]["key"] == command.key]
    return next(iter(same + of_command), None)


def _readable(output_dir: Path, own: Path) -> Iterator[Path]:
    """All but a damaged one of this very sweep, which is written anew."""
    for path in paths(output_dir):
        if path != own:
            yield path
            continue
        try:
            SweepRecord.read(path)
        except ConfigError:
            continue
        yield path


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys([*old, *new]):
        if key not in old or key not in new or old[key] != new[key]:
            before, after = (_short(values[key]) if key in values else "nothing" for values in (old, new))
            yield f"{key}: {before} -> {after}"


def _what(changes: list[str]) -> str:
    """`config, data and code have`: the kinds of change, for a sentence."""
    kinds = {line.partition(":")[0] for line in changes}
    others = kinds - {"data", "code", "space"}
    names = ["config"] * bool(others) + [name for name in ("data", "code", "space") if name in kinds]
    listed = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)
    return f"its {listed} {'have' if len(names) > 1 or names == ['data'] else 'has'}"


def _code(record: SweepRecord) -> str:
    code = record.values["code"]
    commit = f"commit {code['commit'][:10]}" if code["commit"] else "no commit"
    return f"{record.values['content']['code']} ({commit}{', changed since' if code['dirty'] else ''})"


def _first(lines: list[str]) -> list[str]:
    more = len(lines) - MAX_LINES
    return lines if more <= 0 else [*lines[:MAX_LINES], f"... and {more} more"]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]} ..."
