from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.config import Architecture, RunConfig
from sweeper.launch.group import DataSize, Group, Waiting, estimated_cost, form_groups, group_key, shared_time

LORA: dict[str, Any] = {"name": "lora", "method": "adapter", "type": "LORA", "r": 8}
SST2 = DataSize(train=66_349, selection=1_000, test=872)


def config(**changes: Any) -> RunConfig:
    """`config(task__train_size=100)`"""
    made = RunConfig(peft=dict(LORA))
    for name, value in changes.items():
        target: Any = made
        *path, last = name.split("__")
        for part in path:
            target = getattr(target, part)
        setattr(target, last, value)
    return made


def waiting(*costs: float, key: str = "k") -> list[Waiting]:
    return [Waiting(f"{key}-{number}", key, cost) for number, cost in enumerate(costs)]


def sizes(groups: list[Group]) -> list[list[float]]:
    return [[run.cost for run in group.runs] for group in groups]


@pytest.mark.parametrize(
    "changes",
    [
        {"task__train_size": 100},
        {"task__subset_seed": 3},
        {"train__learning_rate": 1e-5},
        {"train__epochs": 7.0},
        {"train__optimizer": "sgd"},
        {"seed": 5},
        {"peft": LORA | {"r": 64, "lora_alpha": 8, "lora_dropout": 0.1, "name": "large"}},
        {"peft": LORA | {"target_modules": ["q_proj"]}},
        {"output_dir": "elsewhere"},
    ],
)
def test_runs_that_differ_in_what_is_trained_share_a_forward(changes: dict[str, Any]) -> None:
    assert group_key(config(**changes)) == group_key(config())


@pytest.mark.parametrize(
    "changes",
    [
        {"model__path": "somewhere"},
        {"model__revision": "abc"},
        {"model__dtype": "float32"},
        {"peft": LORA | {"quantization": {"type": "nf4"}}},
        {"task__max_length": 64},
        {"task__prompt__system": "Be terse."},
        {"task__labels": ["bad", "good"]},
        {"train__batch_size": 64},
        {"train__row_tokens": 128},
    ],
)
def test_runs_that_differ_in_the_forward_do_not_share_it(changes: dict[str, Any]) -> None:
    assert group_key(config(**changes)) != group_key(config())


@pytest.mark.parametrize(
    "changes",
    [
        {"model__architecture": Architecture.ENCODER},
        {"task__head": True},
        {"peft": {"method": "full"}},
        {"peft": {"method": "none"}},
        {"peft": LORA | {"use_dora": True}},
        {"peft": {"method": "adapter", "type": "IA3"}},
    ],
)
def test_run_that_cannot_be_stacked_shares_with_no_other(changes: dict[str, Any]) -> None:
    assert group_key(config(**changes, seed=1)) != group_key(config(**changes, seed=2))


def test_cost_grows_with_rows_epochs_and_steps() -> None:
    costs = [estimated_cost(config(task__train_size=size), SST2) for size in (100, 1000, 10_000, "full")]
    assert costs == sorted(costs)
    assert estimated_cost(config(train__epochs=3.0), SST2) > 2.5 * estimated_cost(config(), SST2)
    small = estimated_cost(config(task__train_size=100), SST2)
    assert estimated_cost(config(task__train_size=100, train__min_steps=200), SST2) > small
    assert estimated_cost(config(train__max_steps=1), SST2) < estimated_cost(config(), SST2) / 10


def test_cost_of_a_run_that_trains_nothing_is_its_evaluation() -> None:
    zero_shot = estimated_cost(config(peft={"method": "none"}), SST2)
    assert 0 < zero_shot < estimated_cost(config(task__train_size=1000), SST2)


@pytest.mark.parametrize("eval_every", ["end", "epoch", 50])
def test_cost_counts_every_way_to_evaluate(eval_every: object) -> None:
    once = estimated_cost(config(train__epochs=4.0, train__eval_every="end"), SST2)
    assert estimated_cost(config(train__epochs=4.0, train__eval_every=eval_every), SST2) >= once


def test_cost_counts_the_weights() -> None:
    assert estimated_cost(config(model__num_parameters=10**9), SST2) > 100 * estimated_cost(config(), SST2)


def test_group_takes_less_time_than_its_runs_one_after_another() -> None:
    assert shared_time([1.0]) == 1.0
    assert 1.0 < shared_time([1.0] * 4) < 3.0
    assert shared_time([1.0] * 8) < 5.0


def test_short_run_in_a_long_ones_group_costs_only_while_it_lasts() -> None:
    assert 100 < shared_time([100.0, 1.0]) < 101


def test_one_slot_takes_all_runs_in_one_group() -> None:
    assert sizes(form_groups(waiting(1, 100, 10), num_slots=1, max_group=8)) == [[100, 10, 1]]


def test_long_run_trains_beside_the_short_ones() -> None:
    groups = form_groups(waiting(100, 1_000, 10_000, 66_349), num_slots=2, max_group=8)
    assert sizes(groups) == [[66_349], [10_000, 1_000, 100]]


def test_no_slot_is_idle_for_the_sake_of_a_group() -> None:
    assert sizes(form_groups(waiting(1, 1, 1, 1), num_slots=4, max_group=8)) == [[1]] * 4


def test_equal_runs_are_spread_evenly_over_the_slots() -> None:
    assert sizes(form_groups(waiting(*[1.0] * 12), num_slots=2, max_group=8)) == [[1.0] * 6] * 2
    assert sizes(form_groups(waiting(*[1.0] * 20), num_slots=2, max_group=8)) == [[1.0] * 5] * 4


def test_groups_never_mix_keys() -> None:
    groups = form_groups(waiting(1, 1, key="a") + waiting(1, 1, key="b"), num_slots=1, max_group=8)
    assert sorted({run.key for run in group.runs} for group in groups) == [{"a"}, {"b"}]


def test_groups_of_a_key_that_lacked_memory_are_smaller() -> None:
    at_hand = waiting(1, 1, 1, 1, key="a") + waiting(1, 1, 1, 1, key="b")
    groups = form_groups(at_hand, num_slots=1, max_group=8, limits={"a": 2})
    assert sorted((group.runs[0].key, len(group.runs)) for group in groups) == [("a", 2), ("a", 2), ("b", 4)]


def test_nothing_waiting_makes_no_group() -> None:
    assert form_groups([], num_slots=2, max_group=8) == []


@given(
    runs=st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1e12)), max_size=24),
    num_slots=st.integers(1, 6),
    max_group=st.integers(1, 8),
)
def test_every_run_is_in_one_group_of_its_key_and_no_group_is_too_large(
    runs: list[tuple[str, float]], num_slots: int, max_group: int
) -> None:
    at_hand = [Waiting(str(number), key, cost) for number, (key, cost) in enumerate(runs)]
    groups = form_groups(at_hand, num_slots=num_slots, max_group=max_group)
    assert sorted(run.run_id for group in groups for run in group.runs) == sorted(run.run_id for run in at_hand)
    assert all(len({run.key for run in group.runs}) == 1 and len(group.runs) <= max_group for group in groups)
    assert len(groups) >= min(num_slots, len(at_hand))
    assert [group.time for group in groups] == sorted((group.time for group in groups), reverse=True)


@given(st.permutations(waiting(5, 5, 3, 2, 2, 1)))
def test_order_of_the_runs_does_not_change_the_groups(order: list[Waiting]) -> None:
    expected = form_groups(waiting(5, 5, 3, 2, 2, 1), num_slots=2, max_group=3)
    assert form_groups(order, num_slots=2, max_group=3) == expected
