"""Hydra's files and overrides -> RunConfig, checked whole.

Composes once per choice of config groups (tens of milliseconds) and sets the values of a run in the
composed tree (well under a millisecond). Knows neither trials nor cells.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sweeper import classical_options, optimizer_names
from sweeper.checks import ConfigError, suggestion
from sweeper.config import RunConfig
from sweeper.metrics import NEITHER, TASK_METRICS, all_metrics, headline
from sweeper.peft_method import OWN_KEYS, PeftMethod
from sweeper.search.conditions import Declared, read_params
from sweeper.search.typed import read

PEFT_NUMBERS = ("r", "lora_alpha", "lora_dropout", "num_virtual_tokens")
SWEEPER_TARGET = "hydra_plugins.optuna_sweeper.OptunaSweeper"


def register_schema() -> None:
    """Gives Hydra, under the name `schema`, every key with its default: `--cfg job` then shows them all."""
    ConfigStore.instance().store("schema", RunConfig().to_dict())


@dataclass(frozen=True)
class Composition:
    """What one choice of config groups means, before the values of a run are set."""

    tree: dict[str, Any]  # resolved, plain values
    sweeper: dict[str, Any]  # hydra.sweeper
    launcher: dict[str, Any]  # hydra.launcher
    choices: dict[str, str]  # config group -> choice, as Hydra settled it
    unresolved: DictConfig | None = None  # kept where an interpolation may follow a run's values

    @property
    def declared(self) -> list[Declared]:
        """`hydra.sweeper.params`. Raises ConfigError."""
        return read_params(self.sweeper["params"] or {})

    def value(self, key: str) -> Any:
        """Under a dotted key, None where nothing stands there."""
        return _at(self.tree, key)

    def follows(self, key: str) -> bool:
        """Whether the value under a dotted key hangs on other keys."""
        if self.unresolved is None:
            return False
        return _has_interpolation(_at(OmegaConf.to_container(self.unresolved, resolve=False), key))

    def config(self, values: Mapping[str, Any]) -> RunConfig:
        """The typed config with these values under their dotted keys. Raises ConfigError."""
        if self.unresolved is None and "${" not in repr(values):
            return typed_config(with_values(self.tree, values))
        config = copy.deepcopy(self.unresolved) if self.unresolved is not None else OmegaConf.create(self.tree)
        for key, value in values.items():
            OmegaConf.update(config, key, value, force_add=True)
        return typed_config(_plain(config))


@dataclass
class Composer:
    loader: ConfigLoader
    config_name: str
    fixed: Sequence[str]  # overrides that hold for every run
    _cache: dict[tuple[tuple[str, str], ...], Composition] = field(default_factory=dict)

    def composition(self, choices: Mapping[str, str]) -> Composition:
        """Raises ConfigError, or what Hydra and OmegaConf raise for a config that cannot be composed."""
        key = tuple(sorted(choices.items()))
        if key not in self._cache:
            overrides = [*self.fixed, *(f"{group}={choice}" for group, choice in choices.items())]
            self._cache[key] = read_composition(
                self.loader.load_configuration(self.config_name, overrides, run_mode=RunMode.RUN)
            )
        return self._cache[key]


def read_composition(config: DictConfig) -> Composition:
    """Raises ConfigError where a file would have something instantiated."""
    hydra = config.hydra
    sweeper = OmegaConf.to_container(hydra.sweeper, resolve=True)
    launcher = OmegaConf.to_container(hydra.launcher, resolve=True)
    assert isinstance(sweeper, dict)
    assert isinstance(launcher, dict)
    if hydra.get("callbacks"):
        raise ConfigError("hydra.callbacks", ", ".join(map(str, hydra.callbacks)), "callbacks are not supported")
    if sweeper.pop("_target_", None) != SWEEPER_TARGET:
        raise ConfigError("hydra/sweeper", hydra.runtime.choices.get("hydra/sweeper"), "not this project's sweeper",
                          "use hydra/sweeper=optuna")  # fmt: skip
    job = copy.copy(config)
    OmegaConf.set_struct(job, False)
    del job["hydra"]
    raw = OmegaConf.to_container(job, resolve=False)
    for name, tree in (("", raw), ("hydra.sweeper.", sweeper), ("hydra.launcher.", launcher)):
        refuse_targets(tree, name)
    choices = {str(group): str(choice) for group, choice in hydra.runtime.choices.items() if choice is not None}
    follows = _has_interpolation(raw)
    return Composition(_plain(job), _text_keys(sweeper), _text_keys(launcher), choices, job if follows else None)


def with_values(tree: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A tree that shares with the first all that is not on the path of a value."""
    result = dict(tree)
    for key, value in values.items():
        node = result
        *parents, leaf = key.split(".")
        for parent in parents:
            child = node.get(parent)
            node[parent] = dict(child) if isinstance(child, Mapping) else {}
            node = node[parent]
        node[leaf] = value
    return result


def typed_config(tree: Mapping[str, Any]) -> RunConfig:
    """Raises ConfigError for the first thing that is wrong."""
    config = read(RunConfig, tree)
    try:
        config.validate()
    except OSError as error:  # a path that the file system cannot even look up
        raise ConfigError("model.path", config.model.path, str(error.strerror)) from error
    read(PeftMethod, {key: value for key, value in config.peft.items() if key in OWN_KEYS}, "peft.")
    for key in PEFT_NUMBERS:
        value = config.peft.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"peft.{key}", value, "must be a number")
    PeftMethod.from_config(config.peft)
    optimizer_names.check(config.train)
    classical_options.check(config)
    check_objective("train.metric_for_best_model", config.metric_for_best_model, config.task.type)
    return config


def check_objective(key: str, metric: str, task_type: str) -> None:
    """A choice is made on the selection split, never on the reporting split, by what the task measures."""
    names = [f"eval/{known.name}" for known in TASK_METRICS[task_type] if known.direction != NEITHER]
    if metric in names:
        return
    if metric.startswith("test/"):
        raise ConfigError(key, metric, "the reporting split must not choose anything",
                          f"use eval/{metric.removeprefix('test/')}")  # fmt: skip
    raise ConfigError(key, metric, f"not a metric of the selection split of task.type={task_type}",
                      suggestion(metric, names) or f"for example {headline(task_type)}")  # fmt: skip


def check_objectives(key: str, metrics: Sequence[str], task_type: str) -> None:
    """The first judges what a run learnt, on the selection split; further ones may be what it cost."""
    costs = [name for name, known in all_metrics().items() if name.startswith("perf/") and known.direction != "neither"]
    if metrics[0] in costs:
        raise ConfigError(key, metrics[0], "what a run costs chooses nothing alone",
                          f"{key}=[{headline(task_type)},{metrics[0]}]")  # fmt: skip
    for metric in metrics:
        if metric.startswith("perf/") and metric not in costs:
            raise ConfigError(key, metric, "not a cost with a better direction",
                              suggestion(metric, costs) or f"for example {costs[0]}")  # fmt: skip
        if metric not in costs:
            check_objective(key, metric, task_type)


def _at(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def refuse_targets(value: Any, path: str = "") -> None:
    """Raises ConfigError where a key `_target_` would name something to be called."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if str(key) == "_target_":
                raise ConfigError(f"{path}_target_", item, "a config never names code to call", "remove the key")
            refuse_targets(item, f"{path}{key}.")
    elif isinstance(value, list | tuple):
        for item in value:
            refuse_targets(item, path)


def _has_interpolation(value: Any) -> bool:
    """Whether a value follows other keys; the environment does not change from run to run."""
    if isinstance(value, Mapping):
        return any(_has_interpolation(item) for item in value.values())
    if isinstance(value, list):
        return any(_has_interpolation(item) for item in value)
    return isinstance(value, str) and "${" in value.replace("${oc.env:", "")


def _plain(config: DictConfig) -> dict[str, Any]:
    tree = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(tree, dict)
    return _text_keys(tree)


def _text_keys(tree: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in tree.items()}
