"""A finished run, put together again: its base model with what was trained on it.

The base model is loaded under the run's own key and the method made from the run's own config and seed, as the loop
does it; then the weights that the run left take the place of the first ones. So the numbers are the run's own. What
does not fit is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from sweeper import model_digest
from sweeper.atomic_json import read_json
from sweeper.checks import ConfigError
from sweeper.config import RunConfig
from sweeper.peft_method import PeftMethod
from sweeper.training.base_model import EMBEDDED, BaseKey, BaseModel, load_base_model
from sweeper.training.methods import Frozen, Method, method_for

AGAIN = "train the run again"


def restore(config: RunConfig, artifacts: Path) -> tuple[BaseModel, Method]:
    """The base model and the method, ready to predict; `artifacts` is the run folder's.

    Raises ConfigError where files are missing or damaged, or the base model is another than the one trained on.
    """
    method = PeftMethod.from_config(config.peft)
    key = BaseKey.of(config, method)
    if method.method == "full":
        _there(artifacts / "model" / "config.json")
        key = dataclasses.replace(key, location=str(artifacts / "model"), revision=None, digest=None)
    elif config.model.is_embedded:
        _check_embedded(config.model.revision)
    else:
        model_digest.check(config.model)
    base = load_base_model(key)
    if method.method in ("none", "full"):
        return base, Frozen(base)
    restored = method_for(base, method)
    restored.add(0, method, config.seed)
    try:
        if method.method == "adapter":
            _there(artifacts / "adapter" / "adapter_model.safetensors")
            restored.start_from(0, artifacts / "adapter")
        else:
            _change_weights(base.key, restored.parameters(0), artifacts / "changed_weights")
    except SafetensorError as error:
        raise ConfigError("run", artifacts, f"its weights are damaged ({error})", AGAIN) from error
    return base, restored


def _change_weights(key: BaseKey, weights: Mapping[str, torch.nn.Parameter], folder: Path) -> None:
    changed = load_file(_there(folder / "model.safetensors"))
    revision = read_json(_there(folder / "reference.json"))["revision"]
    if revision != key.revision:
        raise ConfigError("model.revision", key.revision, f"the run was trained on {revision}")
    for name in sorted(weights.keys() | changed.keys()):
        if name not in weights or name not in changed or weights[name].shape != changed[name].shape:
            raise ConfigError("run", folder, f"its {name} does not fit this base model",
                              "name the one that it was trained on: model.path=<folder>")  # fmt: skip
    with torch.no_grad():
        for name, weight in changed.items():
            weights[name].copy_(weight)


def _there(path: Path) -> Path:
    if not path.is_file():
        raise ConfigError("run", path, "is missing", AGAIN)
    return path


def _check_embedded(revision: str | None) -> None:
    """The embedded weights that the package has now are the ones that the run was trained on."""
    digest = hashlib.sha256((EMBEDDED / "model.safetensors").read_bytes()).hexdigest()
    if revision is not None and not digest.startswith(revision):
        raise ConfigError("model.revision", revision, f"this version of the package embeds {digest[: len(revision)]}",
                          "take the version that trained the run")  # fmt: skip
