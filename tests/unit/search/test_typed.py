from __future__ import annotations

import re
from typing import Any

import pytest

from sweeper.checks import ConfigError
from sweeper.config import Architecture, PromptStyle, RunConfig
from sweeper.search.typed import check_key, dotted_keys, read


def test_defaults_survive_the_way_to_plain_values_and_back() -> None:
    assert read(RunConfig, RunConfig().to_dict()) == RunConfig()


@pytest.mark.parametrize("written", ["encoder", "ENCODER", Architecture.ENCODER])
def test_an_enum_is_read_by_value_and_by_name(written: object) -> None:
    assert read(RunConfig, {"model": {"architecture": written}}).model.architecture is Architecture.ENCODER


def test_numbers_are_read_as_the_type_that_the_key_has() -> None:
    config = read(RunConfig, {"train": {"epochs": 3, "max_steps": 1e3}, "task": {"labels": [0, "one"]}})
    assert (config.train.epochs, config.train.max_steps, config.task.labels) == (3.0, 1000, ["0", "one"])
    assert isinstance(config.train.epochs, float)
    assert isinstance(config.train.max_steps, int)
    assert config.model.prompt_style is PromptStyle.AUTO


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train": {"epochs": "three"}}, "train.epochs=three: must be a number, not text"),
        ({"train": {"epochs": True}}, "train.epochs=True: must be a number, not true/false"),
        ({"train": {"batch_size": 1.5}}, "train.batch_size=1.5: must be a whole number, not a number"),
        ({"train": {"load_best_model_at_end": "yes"}}, "must be true or false, not text"),
        ({"seed": None}, "seed=null: must be a whole number, not null"),
        ({"train": 3}, "train=3: is a group of keys, not a value; set a key below it: train.<key>=..."),
        ({"task": {"labels": "a,b"}}, "task.labels=a,b: must be a list, each item text; write task.labels=[a,b]"),
        ({"task": {"labels": [False, True]}}, 'task.labels[0]=False: must be text, not true/false; quote it: "no"'),
        ({"task": {"data": {"files": {"train": "x"}}}}, "task.data.files.train=x: must be a list"),
        ({"model": {"architecture": "encodr"}}, "not one of causal_lm, encoder, classical; did you mean 'encoder'?"),
        ({"trian": {}}, "trian={}: unknown key; did you mean 'train'?"),
        ({"task": {"data": {"hub_idd": 1}}}, "task.data.hub_idd=1: unknown key; did you mean 'task.data.hub_id'?"),
    ],
)
def test_a_wrong_value_is_refused_with_key_rule_and_fix(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        read(RunConfig, values)


@pytest.mark.parametrize("key", [key for key, hint in dotted_keys(RunConfig).items()] + ["peft.anything.below"])
def test_every_key_of_the_config_is_known(key: str) -> None:
    check_key(key, 1, RunConfig)


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("train.learning_rat", "train.learning_rate"),
        ("task.learning_rate", "train.learning_rate"),
        ("train.lr_schedular_type", "train.lr_scheduler_type"),
        ("task.data.hubid", "task.data.hub_id"),
    ],
)
def test_an_unknown_key_names_the_nearest(key: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown key; did you mean '{nearest}'"):
        check_key(key, 1, RunConfig)


def test_a_key_below_a_single_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="seed is a single value and has no keys below it"):
        check_key("seed.x", 1, RunConfig)
