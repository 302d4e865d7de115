from __future__ import annotations

import pytest
import torch

from sweeper.mini.pretraining import Schedule, shuffled_batches


def test_steps_cover_the_token_budget() -> None:
    schedule = Schedule(tokens=8192 * 10 + 1)
    assert schedule.tokens_per_step == 8192
    assert schedule.steps == 11


def test_the_learning_rate_rises_then_falls_to_almost_nothing() -> None:
    schedule = Schedule(tokens=8192 * 100, warmup_share=0.1)
    factors = [schedule.lr_factor(step) for step in range(schedule.steps)]
    assert factors[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert factors[9:] == sorted(factors[9:], reverse=True)
    assert max(factors) == 1.0
    assert 0 < factors[-1] < 0.02


@pytest.mark.parametrize("documents", [3, 10, 64])  # fewer than a batch, not a multiple of one, a multiple
def test_every_window_comes_once_per_pass(documents: int) -> None:
    schedule = Schedule(tokens=1, windows_per_step=4)
    windows = torch.arange(documents, dtype=torch.int32).unsqueeze(1)
    batches = shuffled_batches(windows, schedule)
    drawn = torch.cat([next(batches) for _ in range(documents)]).flatten()
    for number in range(4):
        one_pass = drawn[number * documents : (number + 1) * documents]
        assert sorted(one_pass.tolist()) == list(range(documents))


def test_the_seed_decides_the_order() -> None:
    windows = torch.arange(100, dtype=torch.int32).unsqueeze(1)
    first, again, other = (next(shuffled_batches(windows, Schedule(tokens=1, seed=seed))) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
