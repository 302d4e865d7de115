"""What is refused before torch is imported must be what torch and Transformers themselves would refuse."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from sweeper import optimizer_names
from sweeper.checks import ConfigError
from sweeper.config import ModelConfig, RunConfig
from sweeper.peft_method import PeftMethod

pytestmark = pytest.mark.integration


def test_optimizers_read_from_source_are_those_of_the_packages() -> None:
    import bitsandbytes.optim
    import torch

    packages: dict[str, Any] = {"torch": torch.optim, "bitsandbytes": bitsandbytes.optim}
    exported = {(package, name): getattr(module, name) for package, module in packages.items() for name in dir(module)}
    taken = {}
    for key, value in exported.items():
        if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer):
            taken[key] = set(inspect.signature(value).parameters) - {"params"}
    usable = {key: names for key, names in taken.items() if {"lr", "weight_decay"} <= names}
    assert ("torch", "AdamW") in usable
    assert ("bitsandbytes", "PagedAdamW32bit") in usable
    for package, name in exported:
        assert optimizer_names._fits(package, name) == ((package, name) in usable), name
    for (package, name), names in usable.items():
        assert optimizer_names._arguments(package, name) == names, name
    assert {(package, name) for package, name, _ in optimizer_names.NAMED.values()} <= set(usable)


@pytest.mark.parametrize("location", [{"hub_id": "nobody/nothing"}, {"path": "{folder}"}])
def test_a_model_that_cannot_be_loaded_is_an_error_with_the_way_out(tmp_path: Path, location: dict[str, str]) -> None:
    from sweeper.training.base_model import BaseKey, load_base_model

    (tmp_path / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    model = ModelConfig()
    for key, value in location.items():
        setattr(model, key, value.format(folder=tmp_path))
    with pytest.raises(ConfigError, match=r"cannot be loaded: .*; set model\.path=<folder> or check access to the hub"):
        load_base_model(BaseKey.of(RunConfig(model=model), PeftMethod()))
