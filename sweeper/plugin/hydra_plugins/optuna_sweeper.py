"""Hydra's way into a sweep. Glue only: the axes are `sweeper.search`'s, the runs `sweeper.launch`'s."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Hands the command back to the application that asked Hydra for a sweep."""

    def __init__(self, **options: Any) -> None:
        self.options = options  # read again, typed, from every composition: sweeper/search/options.py

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.hydra_context = config, hydra_context
        self.application: Callable[[Any], Any] = task_function

    def sweep(self, arguments: list[str]) -> Any:
        from sweeper.search.command import read_command

        assert self.config is not None
        assert self.hydra_context is not None
        hydra_overrides = [str(line) for line in self.config.hydra.overrides.hydra]
        command = read_command([*hydra_overrides, *arguments], self.hydra_context.config_loader, is_sweep=True)
        return self.application(command)
