"""Which code made a run: git commit, whether it was changed since, and the versions of what it rests on."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch", "transformers", "peft", "bitsandbytes", "accelerate", "tokenizers", "safetensors", "datasets",
    "optuna", "hydra-core", "mlflow", "numpy", "pandas", "scikit-learn",
)  # fmt: skip
REPOSITORY = Path(__file__).resolve().parents[2]


def code_state(repository: Path = REPOSITORY) -> dict[str, Any]:
    """`commit` and `dirty` are None outside a git checkout. Takes about 10 ms: once a sweep, not once a run."""
    commit, dirty = _git_state(repository)
    return {"commit": commit, "dirty": dirty, "versions": package_versions()}


def package_versions() -> dict[str, str]:
    """Read from the installed packages' metadata: importing them would take ten seconds."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _git_state(repository: Path) -> tuple[str | None, bool | None]:
    # An installed copy inside somebody else's checkout must not carry that project's commit.
    if not (repository / ".git").exists():
        return None, None
    command = ["git", "-C", str(repository), "status", "--porcelain=v2", "--branch"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return None, None
    lines = output.splitlines()
    commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), None)
    dirty = any(not line.startswith("#") for line in lines)
    return (None if commit == "(initial)" else commit), dirty
