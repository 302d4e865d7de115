"""What a model's files tell before torch is imported: that they are at hand, and what an adapter would change in them.

Reads headers of local files only, never a weight. Where it can't be sure it says nothing: the worker that
loads the model has the last word.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from sweeper import mini
from sweeper.checks import ConfigError, suggestion
from sweeper.config import Architecture, ModelConfig, RunConfig
from sweeper.peft_method import PeftMethod

# `model_type` of architectures whose files name the weights exactly as the loaded model names its modules.
NAMED_ALIKE = frozenset({"llama", "mistral", "gemma", "gemma2", "qwen2"})
NOT_ADAPTED = ("embed_tokens", "lm_head")  # by `all-linear`
HEAD_CLASSES = {"labels": "ForSequenceClassification", "span": "ForQuestionAnswering"}  # how Transformers' names end
MAX_HEADER_BYTES = 100_000_000


def check(config: RunConfig) -> None:
    """Raises ConfigError for a layer, a rank, target modules or a trained head that the model's files do not have."""
    _check_head(config)
    folder = _local_folder(config.model)
    if folder is None:
        return
    architecture = _json(folder / "config.json")
    method = PeftMethod.from_config(config.peft)
    num_layers = architecture.get("num_hidden_layers")
    if method.method == "last_layer" and isinstance(num_layers, int) and not -num_layers <= method.layer < num_layers:
        raise ConfigError("peft.layer", method.layer, f"this model has {num_layers} layers",
                          f"from {-num_layers} to {num_layers - 1}")  # fmt: skip
    if architecture.get("model_type") in NAMED_ALIKE and "quantization_config" not in architecture:
        _check_targets(method, _matrices(folder))


def _check_head(config: RunConfig) -> None:
    """Raises ConfigError where a head is to be evaluated as it is and config.json names a class without one."""
    if config.head is None or PeftMethod.from_config(config.peft).method != "none":
        return
    classes = architecture(config.model).get("architectures") or ()
    if classes and not any(str(name).endswith(HEAD_CLASSES[config.head]) for name in classes):
        fix = "train one: peft=full, say" + (", or task.head=false" if config.task.head else "")
        raise ConfigError("peft.method", "none", f"model={config.model.name} has no trained head to evaluate", fix)


def missing(model: ModelConfig) -> str:
    """Why the model can't be loaded on this machine as it is; nothing where it can, or where only the hub knows."""
    if model.architecture is Architecture.CLASSICAL:
        return ""  # there is nothing to load
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    if not offline or _local_folder(model) is not None or Path(str(model.hub_id)).is_dir() or _cached(model):
        return ""
    return "not on this machine, and HF_HUB_OFFLINE is set"


def check_at_hand(model: ModelConfig) -> None:
    """Raises ConfigError where the model can't be loaded without the hub, which may not be asked."""
    if reason := missing(model):
        raise ConfigError("model.hub_id", model.hub_id, reason, "set model.path=<folder>, or let the hub be asked")


def architecture(model: ModelConfig) -> dict[str, Any]:
    """The model's config.json; empty where its files are not on this machine."""
    places = [_local_folder(model), Path(str(model.hub_id)), *(path.parent for path in _snapshots(model))]
    file = next((place / "config.json" for place in places if place and (place / "config.json").is_file()), None)
    return _json(file) if file else {}


def _local_folder(model: ModelConfig) -> Path | None:
    if model.folder:
        return model.folder
    return Path(mini.__file__).parent if model.embedded else None


def _cached(model: ModelConfig) -> bool:
    return next(_snapshots(model), None) is not None


def _snapshots(model: ModelConfig) -> Iterator[Path]:
    """The model's config.json in the hub's cache, one for each revision that is there."""
    from huggingface_hub import constants

    name = f"models--{str(model.hub_id).replace('/', '--')}"
    return Path(constants.HF_HUB_CACHE, name, "snapshots").glob("*/config.json")


def adapted(model: ModelConfig, wanted: object) -> set[str]:
    """The modules that target modules name; empty where the model's files do not tell."""
    folder = _local_folder(model)
    architecture = _json(folder / "config.json") if folder else {}
    if folder is None or architecture.get("model_type") not in NAMED_ALIKE or "quantization_config" in architecture:
        return set()
    return _adapted(wanted, _matrices(folder))


def _adapted(wanted: object, matrices: Mapping[str, tuple[int, ...]]) -> set[str]:
    """By PEFT's own rule: a list names the ends of modules, a text is a pattern of whole names."""
    if wanted == "all-linear":
        return {name for name in matrices if not name.endswith(NOT_ADAPTED)}
    if isinstance(wanted, str):
        return {name for name in matrices if _matches(wanted, name)}
    ends = wanted if isinstance(wanted, list | tuple) else ()
    return {name for name in matrices if any(f".{name}".endswith(f".{end}") for end in ends)}


def _check_targets(method: PeftMethod, matrices: Mapping[str, tuple[int, ...]]) -> None:
    wanted = method.options.get("target_modules")
    if method.method != "adapter" or not wanted or not matrices:
        return
    adapted = _adapted(wanted, matrices)
    if not adapted:
        names = sorted({name.rpartition(".")[2] for name in matrices})
        fix = f"write a list: [{wanted}]" if wanted in names else suggestion(str(wanted).strip("[]'"), names)
        raise ConfigError("peft.target_modules", wanted, "matches no module of this model",
                          fix or f"it has {', '.join(names)}")  # fmt: skip
    rank, limit = method.options.get("r", 1), max(min(matrices[name]) for name in adapted)
    if method.type == "LORA" and rank > limit:
        raise ConfigError(
            "peft.r", rank, "larger than the full rank of every weight it would adapt", f"at most {limit}"
        )


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error as error:
        raise ConfigError("peft.target_modules", pattern, f"no regular expression ({error})") from None


@cache
def _matrices(folder: Path) -> dict[str, tuple[int, ...]]:
    """Module -> shape, of every weight matrix in the folder's safetensors files; nothing where one can't be read."""
    try:
        shapes = {name: shape for path in sorted(folder.glob("model*.safetensors")) for name, shape in _header(path)}
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return {}
    matrices: dict[str, tuple[int, ...]] = {name.removesuffix(".weight"): shape for name, shape in shapes.items()
                if name.endswith(".weight") and len(shape) == 2}  # fmt: skip
    tied = matrices.get("model.embed_tokens")
    if tied:
        matrices.setdefault("lm_head", tied)
    return matrices


def _header(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of each tensor: eight bytes of length, then JSON."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > MAX_HEADER_BYTES:
            raise ValueError(f"{path} is no safetensors file")
        for name, tensor in json.loads(file.read(size)).items():
            if name != "__metadata__":
                yield name, tuple(tensor["shape"])


@cache
def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
