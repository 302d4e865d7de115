"""The base model that stays in memory from group to group: one, never two."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from sweeper.training.base_model import BaseKey, BaseModel


class WarmBase:
    def __init__(self, load: Callable[[BaseKey], BaseModel]) -> None:
        self._load = load
        self._base: BaseModel | None = None

    @contextmanager
    def lend(self, key: BaseKey) -> Iterator[BaseModel]:
        """The warm model where it is the one that is asked for, else a new one once the old one is gone."""
        if self._base is None or self._base.key != key:
            self.drop()
            _free_memory()
            self._base = self._load(key)
        try:
            yield self._base
        except BaseException:  # who knows what state it was left in
            self.drop()
            raise

    def drop(self) -> None:
        """The next group gets freshly loaded weights."""
        self._base = None


def _free_memory() -> None:
    gc.collect()  # models hang in cycles: PEFT's layers, replaced forwards, the frames of an exception
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
