"""The adapter that a run goes on from (`peft.start_from`): where it lies, and that it is still the same."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sweeper.checks import ConfigError
from sweeper.tracking.run_folder import RunFolder

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def folder_of(start_from: str, runs: Path) -> Path:
    """`start_from`: the id of a run below `runs`, or a folder with an adapter. Nothing is said of what lies there."""
    run = runs / start_from
    return run / "artifacts" / "adapter" if (run / "run.json").is_file() else Path(start_from).expanduser()


def model_commit(start_from: str, runs: Path) -> str | None:
    """See `RunFolder`; None where it is no run."""
    run = runs / start_from
    return RunFolder.open(run).model_commit() if (run / "run.json").is_file() else None


def digest(folder: Path) -> str:
    """Sixty-four hex digits of the adapter's weights."""
    with (folder / WEIGHTS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unchanged(start_from: str, runs: Path, *, was: str | None) -> Path:
    """The folder, with the digest that the run was planned with. Raises ConfigError."""
    folder = folder_of(start_from, runs)
    if not (folder / WEIGHTS).is_file():
        raise ConfigError("peft.start_from", start_from, f"{folder / WEIGHTS} is gone")
    if was is not None and digest(folder) != was:
        raise ConfigError("peft.start_from", start_from, f"{folder / WEIGHTS} is another one than when it was planned")
    return folder
