"""What tells a local model folder from another of the same place: sixty-four hex digits over its deciding files.

The embedded model has its revision, and a run on a model of the hub notes its commit (`RunFolder.model_commit`). Reads
the weights' bytes, never a tensor: one or two gigabytes a second. What a large file had is kept in the user's cache
folder for as long as its size and time stay.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from sweeper.atomic_json import read_json, write_json
from sweeper.checks import ConfigError
from sweeper.config import Architecture, ModelConfig, RunConfig

KEY = "model.digest"
WEIGHTS = "*.safetensors"
# What Transformers reads beside the weights: configs, tokenizers, templates. A licence or a log decides nothing.
KINDS = frozenset({".json", ".model", ".txt", ".jinja", ".bpe", ".tiktoken"})
NOT_DECIDING = (
    "license", "licence", "notice", "readme", "use_policy", "requirements", "trainer_state", "training_args",
    "all_results", "eval_results", "train_results",
)  # fmt: skip
LARGE = 2**28  # bytes, from which on a digest is worth keeping


def with_digest(config: RunConfig) -> RunConfig:
    """With that of the model's folder, where it has one. Raises ConfigError where another one was asked for."""
    digest = digest_of(config.model)
    if config.model.digest not in (None, digest):
        rule = f"the model's folder has {digest}" if digest else "only a local model folder has one"
        raise ConfigError(KEY, config.model.digest, rule, "leave it out: it is found by itself")
    return dataclasses.replace(config, model=dataclasses.replace(config.model, digest=digest))


def check(model: ModelConfig) -> None:
    """Raises ConfigError where the weights are others than those of a run with this config."""
    model.validate()  # a folder that is gone has no weights, rather than other ones
    if model.digest is not None and (found := digest_of(model)) != model.digest:
        place = folder_of(model) or model.hub_id
        raise ConfigError("model.path", place, f"its weights or its tokenizer are others ({str(found)[:12]}) than the "
                          f"run had ({model.digest[:12]})", "name the folder that it was trained on")  # fmt: skip


def digest_of(model: ModelConfig) -> str | None:
    """None where no local folder is loaded. Raises ConfigError for a file that cannot be read."""
    folder = folder_of(model)
    if folder is None:
        return None
    try:
        parts = {path.name: _file_digest(path, *_stamp(path)) for path in _deciding(folder)}
    except OSError as error:
        raise ConfigError("model.path", folder, f"cannot be read ({error})") from error
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def folder_of(model: ModelConfig) -> Path | None:
    """A `hub_id` can be a folder, too: Transformers looks there first."""
    if model.architecture is Architecture.CLASSICAL or model.is_embedded:
        return None
    if model.folder is not None:
        return model.folder
    folder = Path(str(model.hub_id))
    return folder if folder.is_dir() else None


def _deciding(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.glob(WEIGHTS))
    for path in sorted(folder.iterdir()):
        if path.suffix in KINDS and not path.name.lower().startswith(NOT_DECIDING) and path.is_file():
            yield path


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


@cache
def _file_digest(path: Path, size: int, modified_ns: int) -> str:
    """Read anew where the file is of another size or time."""
    if size < LARGE:
        return _read(path)
    key, known = f"{path.resolve()} {size} {modified_ns}", _known()
    if key not in known:
        print(f"reading {path} once ({size / 1e9:.1f} GB), to tell its weights from others", file=sys.stderr)
        known[key] = _read(path)
        _keep(known)
    return known[key]


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cache() -> Path:
    """Raises RuntimeError for a user without a home."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sweeper" / "model_digests.json"


def _known() -> dict[str, str]:
    """By path, size and time; nothing where the cache is not there or damaged: it saves time, and no more."""
    try:
        known = read_json(_cache())
    except (OSError, ValueError, RuntimeError):
        return {}
    return known if isinstance(known, dict) else {}


def _keep(known: dict[str, str]) -> None:
    with contextlib.suppress(OSError, RuntimeError):  # a home that cannot be written: it is read again next time
        path = _cache()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, known, durable=False)
