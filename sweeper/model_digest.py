"""What tells a local model folder from another of the same place: sixty-four hex digits over its deciding files.

A model of the hub has its revision, and the embedded one, too. Reads the weights' bytes, never a tensor: one or two
gigabytes a second, once a process unless a file changes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from sweeper.checks import ConfigError
from sweeper.config import Architecture, ModelConfig, RunConfig

KEY = "model.digest"
WEIGHTS = "*.safetensors"
# What Transformers reads beside the weights; a licence or a log decides nothing.
FILES = (
    "config.json", "generation_config.json", "model.safetensors.index.json",
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "vocab.txt", "merges.txt", "spiece.model", "sentencepiece.bpe.model",
    "chat_template.jinja", "chat_template.json",
)  # fmt: skip


def with_digest(config: RunConfig) -> RunConfig:
    """With that of the model's folder, where it has one. Raises ConfigError where another one was asked for."""
    digest = digest_of(config.model)
    if config.model.digest not in (None, digest):
        rule = f"the model's folder has {digest}" if digest else "only a local model folder has one"
        raise ConfigError(KEY, config.model.digest, rule, "leave it out: it is found by itself")
    return dataclasses.replace(config, model=dataclasses.replace(config.model, digest=digest))


def check(model: ModelConfig) -> None:
    """Raises ConfigError where the weights are others than those of a run with this config."""
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
    yield from (folder / name for name in FILES if (folder / name).is_file())


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


@cache
def _file_digest(path: Path, size: int, modified_ns: int) -> str:
    """Read anew where the file is of another size or time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
