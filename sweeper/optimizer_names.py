"""Optimisers by name: Transformers' names, and the classes of torch.optim and bitsandbytes.optim.

Both packages take seconds to import, so their source is read, not run; `sweeper.training.optim` makes the
optimiser itself.
"""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from sweeper.checks import ConfigError, suggestion
from sweeper.train_config import TrainConfig

PACKAGES = ("torch", "bitsandbytes")  # a class that both have is torch's
OWN_KEYS = {"lr": "train.learning_rate", "weight_decay": "train.weight_decay"}  # argument -> the key that sets it

# Transformers' names -> (package, class, arguments).
NAMED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "adamw_torch": ("torch", "AdamW", {}),
    "adamw_torch_fused": ("torch", "AdamW", {}),  # fused wherever PyTorch can, under either name
    "sgd": ("torch", "SGD", {}),
    "adafactor": ("torch", "Adafactor", {}),
    "adagrad": ("torch", "Adagrad", {}),
    "rmsprop": ("torch", "RMSprop", {}),
    "adamw_bnb_8bit": ("bitsandbytes", "AdamW8bit", {}),
    "adamw_8bit": ("bitsandbytes", "AdamW8bit", {}),
    "paged_adamw_32bit": ("bitsandbytes", "PagedAdamW32bit", {}),
    "paged_adamw_8bit": ("bitsandbytes", "PagedAdamW8bit", {}),
    "lion_8bit": ("bitsandbytes", "Lion8bit", {}),
    "paged_lion_8bit": ("bitsandbytes", "PagedLion8bit", {}),
    "paged_lion_32bit": ("bitsandbytes", "PagedLion32bit", {}),
}


def check(train: TrainConfig) -> None:
    """Raises ConfigError for an unknown name, or an argument that the optimiser does not take or another key sets."""
    package, name, _ = find(train.optimizer)
    if not train.optimizer_args:
        return
    taken = _arguments(package, name)
    for key, value in train.optimizer_args.items():
        where = f"train.optimizer_args.{key}"
        if key in OWN_KEYS:
            raise ConfigError(where, value, f"would replace {OWN_KEYS[key]}", f"set {OWN_KEYS[key]}")
        if key not in taken:
            raise ConfigError(where, value, f"{name} does not take it", suggestion(key, taken))


def find(name: str) -> tuple[str, str, dict[str, Any]]:
    """Package, class and arguments. Raises ConfigError for a name that none of them has."""
    if name in NAMED:
        return NAMED[name]
    for package in PACKAGES:
        if _fits(package, name):
            return package, name, {}
    classes = {key for package in PACKAGES for key in _modules(package) if _fits(package, key)}
    raise ConfigError("train.optimizer", name, "not one of Transformers' names that are known here, nor a class of "
                      "torch.optim or bitsandbytes.optim that takes lr and weight_decay",
                      suggestion(name, sorted({*NAMED, *classes})) or f"known: {', '.join(NAMED)}")  # fmt: skip


def _fits(package: str, name: str) -> bool:
    """Whether it is a class that takes what the engine always passes."""
    return OWN_KEYS.keys() <= _arguments(package, name)


@cache
def _arguments(package: str, name: str) -> frozenset[str]:
    """Of the class's constructor after `self, params`; none where the package has no such class."""
    path = _modules(package).get(name)
    for node in ast.parse(path.read_text(encoding="utf-8")).body if path else ():
        if isinstance(node, ast.ClassDef) and node.name == name:
            made = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
            return frozenset(argument.arg for item in made for argument in (*item.args.args[2:], *item.args.kwonlyargs))
    return frozenset()


@cache
def _modules(package: str) -> dict[str, Path]:
    """Name that `<package>.optim` exports -> the file that it comes from."""
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"{package} is a dependency"
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "optim"
    found = {}
    for node in ast.parse((folder / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            path = folder / f"{node.module.rpartition('.')[2]}.py"
            if path.is_file():
                found.update({alias.asname or alias.name: path for alias in node.names})
    return found
