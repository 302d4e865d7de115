"""How a sweep is searched and launched: the keys of `hydra.sweeper` and `hydra.launcher`.

None of them decides what a run computes; that is `sweeper.config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sweeper.checks import ConfigError, at_least, one_of, positive
from sweeper.search.typed import read

AUTO = "auto"
PRUNERS = ("none", "median", "percentile", "asha", "hyperband", "wilcoxon", "patient", "threshold")
SAMPLERS = ("tpe", "random", "gp", "cmaes", "qmc", "nsgaii")


@dataclass(frozen=True)
class LauncherOptions:
    """`hydra.launcher`: how runs are placed, never what they compute."""

    slots: int | None = None  # worker processes; None = "auto"
    threads: int | None = None  # of torch in each worker; None = "auto"
    max_group: int = 8  # runs that may share one forward
    retries: int = 2  # of a run whose worker process died
    run_minutes: float | None = None  # wall clock that a run may take; None = no limit
    stalled_minutes: float | None = 30.0  # without a word from any run of a group, after which its worker is ended

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> LauncherOptions:
        """Raises ConfigError."""
        known = {key: None if value == AUTO else value for key, value in values.items()}
        options = read(cls, known, "hydra.launcher.")
        for key in ("slots", "threads", "max_group"):
            value = getattr(options, key)
            if value is not None:
                at_least(f"hydra.launcher.{key}", value, 1)
        at_least("hydra.launcher.retries", options.retries, 0)
        for key in ("run_minutes", "stalled_minutes"):
            if (value := getattr(options, key)) is not None:
                positive(f"hydra.launcher.{key}", value)
        return options


@dataclass(frozen=True)
class SearchOptions:
    """`hydra.sweeper`: how points are chosen."""

    n_trials: int | None = None  # points of hyperparameters per cell; None = each point of a finite space once
    sampler: str = "tpe"
    sampler_args: dict[str, Any] = field(default_factory=dict)  # keyword arguments of Optuna's sampler
    seed: int = 0  # of the sampler
    objective: Any = AUTO  # a metric, or a list of them that is searched for its Pareto front; auto: metrics.HEADLINE
    objective_std: float = 0.0  # of the replicates: a trial's value is their mean, so many of it to the worse side
    pruner: str = "none"
    pruner_args: dict[str, Any] = field(default_factory=dict)  # keyword arguments of Optuna's pruner
    confirm_seeds: Any = AUTO  # fresh ones that the best point of a cell is run on again; auto: as many as replicates
    tune_per_cell: bool = False  # a study per cell instead of one in which the cell is a parameter
    max_failures: int | None = None  # failed trials after which no more are asked; None = no limit
    custom_search_space: str | None = None  # <file.py>:<function>, see sweeper/search/custom.py; command line only
    max_runs: int = 10_000  # a sweep of more is taken for a slip and refused

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> SearchOptions:
        """Raises ConfigError."""
        options = read(cls, {key: value for key, value in values.items() if key != "params"}, "hydra.sweeper.")
        one_of("hydra.sweeper.sampler", options.sampler, SAMPLERS)
        one_of("hydra.sweeper.pruner", options.pruner, PRUNERS)
        at_least("hydra.sweeper.objective_std", options.objective_std, 0)
        options._check_objective()
        options._check_confirm_seeds()
        if options.n_trials is not None:
            at_least("hydra.sweeper.n_trials", options.n_trials, 1)
        at_least("hydra.sweeper.max_runs", options.max_runs, 1)
        if options.max_failures is not None:
            at_least("hydra.sweeper.max_failures", options.max_failures, 0)
        if not 0 <= options.seed < 2**32:
            raise ConfigError("hydra.sweeper.seed", options.seed, "must lie in [0, 2**32)")
        return options

    @property
    def objectives(self) -> list[str]:
        return [self.objective] if isinstance(self.objective, str) else list(self.objective)

    @property
    def measures(self) -> list[str]:
        """What the values of a trial are, in words: other ones belong to another sweep."""
        spread = f" -/+ {self.objective_std:g} std" if self.objective_std else ""
        return [f"{name}{spread}" for name in self.objectives]

    def num_fresh_seeds(self, num_replicates: int) -> int:
        return num_replicates if self.confirm_seeds == AUTO else int(self.confirm_seeds)

    def _check_objective(self) -> None:
        key, given = "hydra.sweeper.objective", self.objective
        names = given if isinstance(given, list) else [given]
        if not names or not all(isinstance(name, str) for name in names):
            raise ConfigError(key, given, "must be a metric or a list of metrics", "write eval/accuracy, say")
        if len(set(names)) < len(names):
            raise ConfigError(key, ", ".join(names), "a metric appears twice", "list each once")

    def _check_confirm_seeds(self) -> None:
        number = self.confirm_seeds
        if number != AUTO and (isinstance(number, bool) or not isinstance(number, int) or number < 0):
            raise ConfigError("hydra.sweeper.confirm_seeds", number, "must be auto or a whole number of seeds",
                              "0 switches it off")  # fmt: skip
