"""Schedules do what their arguments say, and refuse what they do not know."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sweeper.checks import ConfigError
from sweeper.train_config import LR_SCHEDULERS, NEEDED_BY_LR_SCHEDULERS, TrainConfig
from sweeper.training.optim import build_scheduler

STEPS = 100


def train(name: str, arguments: dict[str, Any], **others: Any) -> TrainConfig:
    config = TrainConfig(learning_rate=1.0, lr_scheduler_type=name, lr_scheduler_args=arguments, **others)
    config.validate()
    return config


def rates(config: TrainConfig) -> list[float]:
    """The learning rate of each step, and what it would be after the last."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.learning_rate)
    scheduler = build_scheduler(config, optimizer, STEPS)
    found = [scheduler.get_last_lr()[0]]
    for _ in range(STEPS):
        optimizer.step()
        scheduler.step()
        found.append(scheduler.get_last_lr()[0])
    return [float(rate) for rate in found]


def test_cosine_ends_at_the_rate_that_is_asked_for() -> None:
    assert rates(train("cosine_with_min_lr", {"min_lr_rate": 0.25}))[-1] == pytest.approx(0.25)


def test_polynomial_takes_its_power() -> None:
    assert rates(train("polynomial", {"power": 2, "lr_end": 0}))[50] == pytest.approx(0.25)


@pytest.mark.parametrize("asked", [20, 0.2])
def test_decay_takes_a_number_of_steps_or_a_share(asked: float) -> None:
    found = rates(train("warmup_stable_decay", {"num_decay_steps": asked}, warmup_steps=0.1))
    assert found[9] < 1.0
    assert found[10:81] == [1.0] * 71
    assert found[90] == pytest.approx(0.5)


@pytest.mark.parametrize("name", LR_SCHEDULERS)
def test_every_schedule_takes_every_argument_that_it_is_said_to(name: str) -> None:
    values = {"num_cycles": 1, "num_decay_steps": 10}
    everything = {key: values.get(key, 0.5) for key in LR_SCHEDULERS[name]}
    needed = {key: value for key, value in everything.items() if key == NEEDED_BY_LR_SCHEDULERS.get(name)}
    for arguments in (needed, everything):
        assert len(rates(train(name, arguments))) == STEPS + 1


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("linear", {"power": 2}, "train.lr_scheduler_args.power=2: linear does not take it"),
        ("cosine", {"num_cycle": 2}, "cosine does not take it; did you mean 'num_cycles'?"),
        ("cosine", {"num_cycles": "two"}, "train.lr_scheduler_args.num_cycles=two: must be a number"),
        ("cosine", {"num_cycles": -1}, "train.lr_scheduler_args.num_cycles=-1: must be at least 0"),
        ("cosine_with_min_lr", {}, "train.lr_scheduler_args.min_lr_rate=None: cosine_with_min_lr needs it"),
        ("warmup_stable_decay", {"min_lr_ratio": 0.1}, "num_decay_steps=None: warmup_stable_decay needs it"),
    ],
)
def test_a_schedule_that_cannot_be_made_is_refused(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        train(name, arguments)
    assert message in str(caught.value)
