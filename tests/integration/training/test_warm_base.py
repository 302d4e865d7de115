"""One base model in memory, whatever comes next: a group like the last one, another model, full weights."""

from __future__ import annotations

import weakref
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.training.base_model import BaseKey, BaseModel, load_base_model
from sweeper.training.warm_base import WarmBase
from tests.integration.training.conftest import attach
from tests.integration.training.test_exactness import key, lora


class Loader:
    """Loads for real, and looks which of the models that it has loaded are still alive."""

    def __init__(self) -> None:
        self.loaded: list[weakref.ref[object]] = []
        self.alive: list[int] = []  # at each call

    def __call__(self, key: BaseKey) -> BaseModel:
        self.alive.append(sum(reference() is not None for reference in self.loaded))
        base = load_base_model(key)
        self.loaded += [weakref.ref(base), weakref.ref(base.model)]
        return base


def train(warm: WarmBase, key: BaseKey, *, fail: bool = False) -> None:
    with warm.lend(key) as base:
        method = attach(base, [lora(), lora(r=2)], [0, 1])
        if fail:
            raise MemoryError
        method.detach()


@pytest.fixture
def loader() -> Loader:
    return Loader()


def test_a_group_on_the_same_base_loads_nothing(llama_folder: Path, loader: Loader) -> None:
    warm = WarmBase(loader)
    for _ in range(3):
        train(warm, key(llama_folder))
    assert loader.alive == [0]


def test_the_old_base_is_gone_before_another_is_loaded(llama_folder: Path, gemma_folder: Path, loader: Loader) -> None:
    warm = WarmBase(loader)
    train(warm, key(llama_folder))
    train(warm, key(gemma_folder))
    train(warm, replace(key(gemma_folder), mutable=True))  # full weights
    train(warm, key(llama_folder))
    assert loader.alive == [0, 0, 0, 0]


def test_a_group_that_fails_leaves_no_base_behind(llama_folder: Path, loader: Loader) -> None:
    warm = WarmBase(loader)
    with pytest.raises(MemoryError):
        train(warm, key(llama_folder), fail=True)
    train(warm, key(llama_folder))
    assert loader.alive == [0, 0]
