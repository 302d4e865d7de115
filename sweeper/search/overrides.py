"""The command line's overrides, checked before anything is composed.

Owns what a person may say on the command line: known groups, choices and keys, and nothing that would let
Hydra write files or resolve names to code. Hydra's own messages name the rule but seldom the fix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from sweeper.checks import ConfigError, suggestion
from sweeper.config import RunConfig
from sweeper.search.compose import refuse_targets
from sweeper.search.conditions import LONG_FORM
from sweeper.search.options import LauncherOptions, SearchOptions
from sweeper.search.typed import check_key, dotted_keys, nearest_key

GROUPS = ("model", "task", "peft", "experiment", "hydra/sweeper", "hydra/launcher")

NO_LONG_FORM = "conditions (space, when) stand in a YAML file's hydra.sweeper.params only"


def parse(lines: Sequence[str], loader: ConfigLoader) -> list[Override]:
    """Raises ConfigError for text that is not an override."""
    parser = OverridesParser.create(config_loader=loader)
    parsed = []
    for line in lines:
        try:
            parsed.extend(parser.parse_overrides([line]))
        except HydraException as error:
            key, equals, value = line.partition("=")
            if not equals:
                raise ConfigError(key, "", "an override is written key=value", _nearest_name(key)) from error
            detail = str(error).splitlines()[0].removesuffix(".")
            raise ConfigError(key, value, f"cannot be read ({detail})", f"quote the value: {key}=\"'...'\"") from error
    return parsed


def check(overrides: Sequence[Override], loader: ConfigLoader, *, is_sweep: bool) -> None:
    """Raises ConfigError for the first override that cannot mean anything."""
    seen: set[str] = set()
    for override in overrides:
        key = override.key_or_group
        refuse_targets(override.value(), f"{key}.")
        if override.is_delete() and not key.startswith("peft."):
            raise ConfigError(f"~{key}", _text(override), "keys and groups are not deleted here", "set another value")
        if "_target_" in key.split("."):
            raise ConfigError(key, _text(override), "a config never names code to call", "remove the key")
        if is_group(key, loader):
            _check_choice(override, loader)
        elif override.is_hydra_override():
            _check_hydra(override)
        else:
            _check_value_override(override)
        if override.is_sweep_override() and not is_sweep:
            raise ConfigError(key, _text(override), "several values are a sweep", "add -m, or write a list: [a,b]")
        if key in seen:
            raise ConfigError(key, _text(override), "given twice on the command line", "keep one of them")
        seen.add(key)


def settled(overrides: Sequence[Override]) -> list[str]:
    """Checked overrides as Hydra takes them: a known key is set whether or not a file has it already."""
    lines = []
    for override in overrides:
        line = override.input_line or ""
        bare = line.lstrip("+")
        if override.is_delete():
            lines.append(line)
        elif override.key_or_group in GROUPS:
            lines.append(bare)
        else:
            is_value = "." in override.key_or_group or override.key_or_group in dotted_keys(RunConfig)
            lines.append(f"++{bare}" if is_value else line)
    return lines


def is_group(key: str, loader: ConfigLoader) -> bool:
    return key in GROUPS or ("." not in key and bool(loader.get_group_options(key, ObjectType.CONFIG)))


def _check_choice(override: Override, loader: ConfigLoader) -> None:
    group = override.key_or_group
    if override.package is not None:
        raise ConfigError(
            f"{group}@{override.package}", _text(override), "a config group has one place", f"use {group}=..."
        )
    options = loader.get_group_options(group, ObjectType.CONFIG)
    if override.is_sweep_override():
        if group.startswith("hydra/"):
            raise ConfigError(group, _text(override), "how the sweep itself works cannot be swept", "choose one")
        if not override.is_discrete_sweep():
            raise ConfigError(group, _text(override), "choices of a config group are listed", "write a,b,c")
        choices = list(override.sweep_string_iterator())
    else:
        value = override.value()
        choices = ["null" if value is None else str(value)]
    for choice in choices:
        if choice not in options:
            names = ", ".join(options) or f"conf/{group} is empty"
            near = suggestion(choice, options)
            raise ConfigError(
                group, choice, "no such choice", f"{near} (choices: {names})" if near else f"choices: {names}"
            )


def _check_hydra(override: Override) -> None:
    key = override.key_or_group
    if override.is_sweep_override():
        raise ConfigError(key, _text(override), "how the sweep itself works cannot be swept", "give one value")
    if key == "hydra.searchpath":
        return
    for prefix, options in (("hydra.sweeper", SearchOptions), ("hydra.launcher", LauncherOptions)):
        group, _, name = key.rpartition(".")
        if f"{key}.".startswith(("hydra.sweeper.sampler_args.", "hydra.sweeper.pruner_args.")):
            return
        if key == "hydra.sweeper.params" or key.startswith("hydra.sweeper.params."):
            raise ConfigError(key, _text(override), f"axes are given as overrides; {NO_LONG_FORM}",
                              "for example task.train_size=100,1000")  # fmt: skip
        if group == prefix:
            names = [item.name for item in fields(options)]
            if name not in names:
                raise ConfigError(key, _text(override), "unknown key", nearest_key(name, names, f"{prefix}."))
            return
    fix = "set output_dir=<folder>" if key.split(".")[1:2] in (["run"], ["sweep"], ["job"], ["output_subdir"]) else ""
    raise ConfigError(key, _text(override), "Hydra's own workings are fixed here: only hydra.sweeper, hydra.launcher "
                      "and hydra.searchpath can be set", fix)  # fmt: skip


def check_value_key(key: str, value: object) -> None:
    """Raises ConfigError for a name that is neither a config group's nor a key's."""
    if "/" in key or ("." not in key and key not in dotted_keys(RunConfig)):
        raise ConfigError(key, value, "no such config group or key", _nearest_name(key))
    check_key(key, value, RunConfig)


def _check_value_override(override: Override) -> None:
    key, value = override.key_or_group, override.value()
    if override.package is not None:
        raise ConfigError(f"{key}@{override.package}", _text(override), "no such config group", _nearest_name(key))
    check_value_key(key, _text(override))
    if isinstance(value, dict) and {str(name) for name in value} & set(LONG_FORM):
        raise ConfigError(key, _text(override), NO_LONG_FORM, f"here write {key}=8,16 or {key}='interval(0,1)', say")


def _nearest_name(wrong: str) -> str:
    every = [*GROUPS, *dotted_keys(RunConfig)]
    leaf = [name for name in every if name.rpartition(".")[2] == wrong]
    if leaf and "." in leaf[0]:
        return f"did you mean '{leaf[0]}'?"
    leaves = {name.rpartition(".")[2]: name for name in reversed(every)}
    near = suggestion(wrong, leaves)
    for name, full in leaves.items():
        near = near.replace(f"'{name}'", f"'{full}'")
    return near or f"config groups: {', '.join(GROUPS)}; `python -m sweeper --help` shows examples"


def _text(override: Override) -> Any:
    line = override.input_line or ""
    return override.get_value_string() if "=" in line else ""
