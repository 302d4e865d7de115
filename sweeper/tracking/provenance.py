"""Which code made a run: its version, git commit, whether it was changed since, and what it rests on."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch", "transformers", "peft", "bitsandbytes", "accelerate", "tokenizers", "safetensors", "datasets",
    "optuna", "hydra-core", "mlflow", "numpy", "pandas", "scikit-learn", "sacrebleu", "nltk", "rouge-score",
)  # fmt: skip
REPOSITORY = Path(__file__).resolve().parents[2]  # or the folder that the packages are installed in

# What decides a run's numbers once its config and its data are given. Left out: how runs are chosen, placed, kept and
# shown (search, launch, tracking, analysis), which may change between two runs of one table.
SOURCES = (
    "sweeper/training/**/*.py",  # the loop
    "tasks/**/*.py",  # prompts, splits, scores, and the sentences of the demo data
    "sweeper/config.py", "sweeper/train_config.py", "sweeper/task_config.py",  # defaults
    "sweeper/peft_method.py", "sweeper/optimizer_names.py", "sweeper/classical_options.py",
    "sweeper/mini/*.json", "sweeper/mini/*.safetensors",  # the embedded model; others are named by the config
)  # fmt: skip
DECIDING_PACKAGES = (
    "torch", "transformers", "peft", "bitsandbytes", "tokenizers", "safetensors", "scikit-learn",
    "sacrebleu", "nltk", "rouge-score",  # scores of written text, where they are installed
)  # fmt: skip


def code_state(repository: Path = REPOSITORY) -> dict[str, Any]:
    """`commit` and `dirty` are None outside a git checkout. Takes about 10 ms: once a sweep, not once a run."""
    commit, dirty = _git_state(repository)
    return {"version": code_version(), "commit": commit, "dirty": dirty, "versions": package_versions()}


@cache
def code_version(root: Path = REPOSITORY) -> str:
    """Twelve hex digits over SOURCES, by path below `root` and content, and the versions of DECIDING_PACKAGES.

    Needs no git. About 10 ms, once a process.
    """
    digest = hashlib.sha256()
    for path in sorted({path for pattern in SOURCES for path in root.glob(pattern)}):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    for package, version in _installed(DECIDING_PACKAGES):
        digest.update(f"{package}=={version}\n".encode())
    return digest.hexdigest()[:12]


def package_versions() -> dict[str, str]:
    """Read from the installed packages' metadata: importing them would take ten seconds."""
    return {"python": platform.python_version(), **dict(_installed(PACKAGES))}


def _installed(packages: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for package in packages:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue


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
