"""What is kept of a sweep beside its studies: the command, and everything that decides its table.

    <output_dir>/sweeps/<sweep_id>/sweep.json

Written whole or not at all. Lets `python -m sweeper.resume` give the command again, and `search.drift` tell what has
changed since. Owns the file; what a change means is `drift`'s.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.atomic_json import read_json, write_json
from sweeper.checks import ConfigError
from sweeper.config import VOLATILE, flatten
from sweeper.search.options import SearchOptions
from sweeper.tracking.provenance import code_state, code_version
from sweeper.tracking.redaction import Redactor

if TYPE_CHECKING:
    from sweeper.search.study import Sweep

SWEEPS = "sweeps"  # folder below output_dir
RUNNING, COMPLETE, FAILED, KILLED = "RUNNING", "COMPLETE", "FAILED", "KILLED"  # KILLED: trials are missing
DATA_VARIABLE = "SWEEPER_DATA"
# Where a sweep is kept, how it is run and how far it goes: with another value of these it is the same command.
_NOT_OF_THE_COMMAND = ("hydra.sweeper.n_trials", "hydra.sweeper.max_failures", "plan", "retry_failed", "resume",
                       "budget", "report", "hydra.launcher", "hydra/launcher", "tracking_uri",
                       "output_dir")  # fmt: skip
_NEVER_AGAIN = ("resume", "plan", "retry_failed")  # said once, not to be said again by a resume
_KEYS = (
    {"sweep_id", "content_id", "name", "state", "created", "started", "trials", "finished", "drift", "code"},
    {"key", "overrides", "cwd", "config_dir", "environment"},
    {"space", "cells", "data", "code", "objectives", "tune_per_cell", "choosing"},
)


@dataclass(frozen=True)
class Command:
    """What a person gave on the command line, and where."""

    overrides: tuple[str, ...]
    config_dir: str | None = None
    resumes: str | None = None  # id of the sweep that `python -m sweeper.resume` was asked for

    @property
    def key(self) -> str:
        """Sixteen hex digits, the same for every command of the same sweep in one output_dir."""
        lines = sorted(line.lstrip("+") for line in self.overrides if not _is_one_of(line, _NOT_OF_THE_COMMAND))
        folder = [str(Path(self.config_dir).resolve())] if self.config_dir is not None else []
        return digest([lines, folder])[:16]

    def to_dict(self) -> dict[str, Any]:
        data = os.environ.get(DATA_VARIABLE)
        return {
            "overrides": [line for line in self.overrides if not _is_one_of(line, _NEVER_AGAIN)],
            "config_dir": self.config_dir, "cwd": str(Path.cwd()), "key": self.key,
            "environment": {DATA_VARIABLE: str(Path(data).resolve()) if data else None},
        }  # fmt: skip


@dataclass
class SweepRecord:
    output_dir: Path
    values: dict[str, Any]  # the file's

    @classmethod
    def of(cls, sweep: Sweep, command: Command) -> SweepRecord:
        """Of a sweep that begins; nothing is written yet."""
        code = code_state()
        values: dict[str, Any] = {
            "sweep_id": sweep.content_id, "content_id": sweep.content_id, "name": sweep.name, "state": RUNNING,
            "created": _now(), "started": _now(), "n_trials": sweep.search.n_trials, "trials": sweep.num_trials,
            "finished": 0, "command": command.to_dict(), "drift": [],
            "code": {key: code[key] for key in ("version", "commit", "dirty")},
            "content": {**sweep.content, "cells": _packed(sweep.content["cells"])},
        }  # fmt: skip
        return cls(Path(sweep.base.output_dir), Redactor.from_environment().json(values))

    @classmethod
    def read(cls, path: Path) -> SweepRecord:
        """Raises ConfigError for a file that holds none."""
        output_dir = path.parents[2]
        try:
            record = cls(output_dir, read_json(path))
            record.cells()
            is_whole = all(part.keys() >= keys for part, keys in zip(record._parts(), _KEYS, strict=True))
        except FileNotFoundError as error:
            raise ConfigError("sweep", path.parent.name, f"no such sweep in {output_dir}") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            is_whole = False
        if not is_whole:
            raise ConfigError("output_dir", output_dir, f"{path.relative_to(output_dir)} is damaged",
                              "delete it; the same command then goes on as it stands now")  # fmt: skip
        return record

    def _parts(self) -> tuple[dict[str, Any], ...]:
        return self.values, self.values["command"], self.values["content"]

    @property
    def sweep_id(self) -> str:
        return str(self.values["sweep_id"])

    @property
    def path(self) -> Path:
        return record_path(self.output_dir, self.sweep_id)

    @property
    def is_finished(self) -> bool:
        """Whether every trial has its end, be it a failure."""
        return bool(self.values["state"] in (COMPLETE, FAILED) and self.values["finished"] >= self.values["trials"])

    @property
    def has_failed(self) -> bool:
        return bool(self.values["state"] == FAILED)

    @property
    def drift(self) -> list[dict[str, Any]]:
        """What had changed at each start with `resume.allow_drift` that found something changed."""
        return list(self.values["drift"])

    def cells(self) -> dict[str, dict[str, Any]]:
        """Label of a cell -> its config under dotted keys, without the values that are searched."""
        packed = self.values["content"]["cells"]
        return {label: {**packed["shared"], **own} for label, own in packed["own"].items()}

    def continuing(self, previous: SweepRecord) -> SweepRecord:
        """This command, as the next start of that sweep."""
        kept = {key: previous.values[key] for key in ("sweep_id", "created", "finished", "drift")}
        return SweepRecord(self.output_dir, {**self.values, **kept})

    def note_drift(self, changes: Sequence[str]) -> None:
        self.values["drift"] = [*self.drift, {"time": _now(), "changes": list(changes)}]

    def start(self) -> None:
        """Writes it. For the process that has claimed the sweep."""
        self.values |= {"state": RUNNING, "started": _now()}
        self._write()

    def progress(self, num_finished: int) -> None:
        if num_finished != self.values["finished"]:
            self.values["finished"] = num_finished
            self._write(durable=False)

    def end(self, sweep: Sweep, *, stopped: bool) -> None:
        """`stopped`: by an exception, whichever."""
        unfinished = stopped or sweep.num_runs_left or sweep.num_open
        state = KILLED if unfinished else FAILED if _has_failed(sweep) else COMPLETE
        self.values |= {"state": state, "finished": sweep.num_finished}
        self._write()

    def _write(self, *, durable: bool = True) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, self.values, durable=durable)


def record_path(output_dir: Path, sweep_id: str) -> Path:
    return output_dir / SWEEPS / sweep_id / "sweep.json"


def paths(output_dir: Path) -> list[Path]:
    return sorted(output_dir.glob(f"{SWEEPS}/*/sweep.json"))


def content_of(sweep: Sweep) -> dict[str, Any]:
    """Everything that can change the table, as plain JSON; the asked number of trials can grow."""
    cells = {}
    for cell in sweep.space.cells:
        config = sweep.config(cell, {}).to_dict()
        cells[cell.key] = flatten({key: value for key, value in config.items() if key not in VOLATILE | {"seed"}})
    return {
        "space": sweep.space.describe(), "cells": cells, "data": sweep.data.identities(), "code": code_version(),
        "objectives": sweep.search.measures, "tune_per_cell": sweep.search.tune_per_cell, "choosing": _choosing(sweep),
    }  # fmt: skip


def _choosing(sweep: Sweep) -> dict[str, Any]:
    """Who chooses points and who ends them early, as far as it isn't the default; a finite space may need nobody."""
    keys, default = ("sampler", "sampler_args", "seed", "pruner", "pruner_args"), SearchOptions()
    return {key: given for key in keys if (given := getattr(sweep.search, key)) != getattr(default, key)}


def _packed(cells: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A thousand cells differ in a few keys: what they share is written once."""
    first, *others = cells.values()
    shared = {key: value for key, value in first.items() if all(_has(other, key, value) for other in others)}
    own = {label: {key: value for key, value in config.items() if key not in shared} for label, config in cells.items()}
    return {"shared": shared, "own": own}


def _has(config: Mapping[str, Any], key: str, value: object) -> bool:
    return key in config and config[key] == value


def merged(overrides: Iterable[str], further: Sequence[str]) -> list[str]:
    """A later override of a key takes the place of the earlier."""
    given = {_key(line) for line in further}
    return [*(line for line in overrides if _key(line) not in given), *further]


def _has_failed(sweep: Sweep) -> bool:
    return bool(sweep.num_failed or sweep.num_left_failed)


def _is_one_of(line: str, keys: Iterable[str]) -> bool:
    return any(_key(line) == key or _key(line).startswith(f"{key}.") for key in keys)


def _key(line: str) -> str:
    return line.lstrip("+~").partition("=")[0]


def digest(value: Any) -> str:
    """Sixty-four hex digits of plain JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
