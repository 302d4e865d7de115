"""`python -m sweeper.resume`: a sweep's own command again, from its record.

    python -m sweeper.resume last                     the sweep that was started last
    python -m sweeper.resume 3f2a                     by its id, or as much of it as tells it from the others
    python -m sweeper.resume last hydra.sweeper.n_trials=40 retry_failed=true
    python -m sweeper.resume --list [output_dir=mlruns]

Goes the same way as the command itself (`sweeper.__main__`), in the folder where that was given.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sweeper.__main__ import command, in_one_line
from sweeper.checks import ConfigError, suggestion
from sweeper.config import RunConfig
from sweeper.search.record import DATA_VARIABLE, KILLED, RUNNING, SweepRecord, merged, paths
from sweeper.tracking.claim import Holder
from sweeper.tracking.redaction import REDACTED

LAST = "last"
LIST_FLAG, HELP_FLAGS = "--list", ("--help", "-h")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code, as of `python -m sweeper`."""
    return in_one_line(list(sys.argv[1:] if argv is None else argv), resume)


def resume(arguments: list[str]) -> int:
    flags = [argument for argument in arguments if argument.startswith("-")]
    overrides = [argument for argument in arguments if "=" in argument and argument not in flags]
    names = [argument for argument in arguments if argument not in flags and argument not in overrides]
    if set(flags) & set(HELP_FLAGS):
        print((__doc__ or "").partition("\n\n")[2])
        return 0
    if unknown := [flag for flag in flags if flag != LIST_FLAG]:
        known = [LIST_FLAG, *HELP_FLAGS, "--debug"]
        raise ConfigError("command line", unknown[0], "unknown flag", suggestion(unknown[0], known))
    folders = [line.partition("=")[2] for line in overrides if line.startswith("output_dir=")]
    output_dir = Path(folders[-1] if folders else RunConfig().output_dir)
    if flags:
        print_list(output_dir)
        return 0
    if len(names) != 1 or not names[0]:  # nothing begins every id
        raise ConfigError("command line", " ".join(names), "one sweep is resumed at a time",
                          "python -m sweeper.resume last, or --list")  # fmt: skip
    return again(find(output_dir, names[0]), overrides)


def again(record: SweepRecord, overrides: Sequence[str]) -> int:
    """Gives the recorded command with these overrides, where and with the data folder that it was given with."""
    given = record.values["command"]
    output_dir = record.output_dir.resolve()
    lines = merged(given["overrides"], [*_without_output_dir(overrides), f"output_dir={output_dir}"])
    if hidden := [line for line in lines if REDACTED in line]:
        key = hidden[0].partition("=")[0]
        raise ConfigError(key, REDACTED, "its secret was not recorded", f"give it again: {key}=...")
    if not Path(given["cwd"]).is_dir():
        raise ConfigError("sweep", record.sweep_id, f"was begun in {given['cwd']}, which is gone",
                          "give its command again from where its files are now")  # fmt: skip
    os.chdir(given["cwd"])
    data_dir = given["environment"][DATA_VARIABLE]
    if data_dir is None:
        os.environ.pop(DATA_VARIABLE, None)
    else:
        os.environ[DATA_VARIABLE] = data_dir
    config_dir = [] if given["config_dir"] is None else ["--config-dir", given["config_dir"]]
    return command([*lines, "-m", *config_dir], resumes=record.sweep_id)


def find(output_dir: Path, name: str) -> SweepRecord:
    """By its id, the beginning of its id, or `last`. Raises ConfigError where that names no sweep, or several."""
    found = {path.parent.name: path for path in paths(output_dir)}
    if not found:
        raise ConfigError("output_dir", output_dir, "no sweep was begun here", "name its folder: output_dir=<folder>")
    if name == LAST:
        return _latest_first(list(found.values()))[0]
    fitting = [sweep_id for sweep_id in found if sweep_id.startswith(name)]
    if len(fitting) > 1:
        raise ConfigError("sweep", name, f"{', '.join(fitting)} begin so", "give more of its id")
    if not fitting:
        fix = suggestion(name, [*found, LAST]) or "python -m sweeper.resume --list shows them"
        raise ConfigError("sweep", name, f"no such sweep in {output_dir}", fix)
    return SweepRecord.read(found[fitting[0]])


def print_list(output_dir: Path) -> None:
    """A line per sweep, the last started first."""
    rows = [("sweep", "state", "trials", "created", "name")]
    found = paths(output_dir)
    whole = [path for path in found if not _is_damaged(path)]
    for record in _latest_first(whole):
        values = record.values
        created = values["created"][:16].replace("T", " ")
        rows.append((record.sweep_id, _state(record), f"{values['finished']}/{values['trials']}", created,
                     values["name"]))  # fmt: skip
    rows += [(path.parent.name, "damaged", "", "", f"delete {path}") for path in found if path not in whole]
    if len(rows) == 1:
        print(f"no sweep was begun in {output_dir}")
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _latest_first(found: Sequence[Path]) -> list[SweepRecord]:
    records = [SweepRecord.read(path) for path in found]
    return sorted(records, key=lambda record: str(record.values["started"]), reverse=True)


def _is_damaged(path: Path) -> bool:
    try:
        SweepRecord.read(path)
    except ConfigError:
        return True
    return False


def _state(record: SweepRecord) -> str:
    """What the record says, unless its process died before it could say that it ended."""
    state = str(record.values["state"])
    holder = Holder.of(record.output_dir, record.sweep_id)
    return KILLED if state == RUNNING and not (holder and holder.runs) else state


def _without_output_dir(overrides: Sequence[str]) -> list[str]:
    return [line for line in overrides if not line.startswith("output_dir=")]


if __name__ == "__main__":
    sys.exit(main())
