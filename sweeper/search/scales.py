"""`scale=<name>`: the overrides that an experiment lists under that name, put before the person's own.

Owns what wins: a key that the person gives drops the experiment's, and a choice of a config group all that the
experiment says of that group (`model=mini` also drops `model.path=...`).
"""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import OmegaConf

from sweeper.checks import ConfigError, suggestion
from sweeper.config import FULL, RunConfig
from sweeper.search import overrides as command_line
from sweeper.search.typed import value_of

KEY = "scale"


def scaled(given: Sequence[Override], loader: ConfigLoader, *, config_name: str) -> list[Override]:
    """The overrides that the checked ones mean, those of the scale unchecked.

    Raises:
        ConfigError: no experiment says what the scale is.
    """
    by_key = {override.key_or_group: override for override in given}
    if KEY not in by_key:
        return list(given)
    name = _single(by_key[KEY], "how large an experiment is cannot be swept")
    if name == FULL:
        return list(given)
    if "experiment" not in by_key:
        raise ConfigError(KEY, name, "only an experiment says what it means", "give experiment=<name> as well")
    experiment = _single(by_key["experiment"], f"each experiment has its own {KEY}={name}")
    known = _scales(experiment, loader, config_name)
    if name not in known:
        rule = f"experiment={experiment} has {', '.join([FULL, *known])}"
        raise ConfigError(KEY, name, rule, suggestion(name, known))
    listed = command_line.parse(known[name], loader)
    return [*(override for override in listed if not _is_given(override.key_or_group, by_key)), *given]


def _single(override: Override, rule: str) -> str:
    if override.is_sweep_override():
        raise ConfigError(override.key_or_group, override.get_value_string(), rule, "give one value")
    return str(override.value())


def _scales(experiment: str, loader: ConfigLoader, config_name: str) -> dict[str, list[str]]:
    config = loader.load_configuration(config_name, [f"experiment={experiment}"], run_mode=RunMode.RUN)
    scales: dict[str, list[str]] = value_of("scales", OmegaConf.to_container(config.scales, resolve=True), RunConfig)
    return scales


def _is_given(key: str, given: dict[str, Override]) -> bool:
    """A group's keys begin with its name; `hydra/sweeper` is written `hydra.sweeper` there."""
    parts = key.replace("/", ".").split(".")
    above = {".".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
    return not above.isdisjoint(name.replace("/", ".") for name in given)
