"""Runs join and leave a group in training: the others do not notice, and nothing of theirs stays behind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sweeper.config import RunConfig
from sweeper.tracking.run_folder import Reason, RunFolder, RunState
from sweeper.training import loop
from sweeper.training.causal import CausalObjective
from sweeper.training.control import Assignment, Departure
from sweeper.training.failure import Diverged
from sweeper.training.run import Run
from tests.integration.training.small_runs import (
    MakeConfig,
    Script,
    assert_same,
    folder_of,
    interrupt_after,
    pruned,
    reason_of,
    train_folders,
)


def adapters_in_memory() -> set[str]:
    """Names of the adapters inside the warm base model."""
    base = loop.warm_base._base
    assert base is not None
    return set(re.findall(r"\brun\d+\b", " ".join(name for name, _ in base.model.named_parameters())))


@dataclass
class Watch(Script):
    adapters: list[set[str]] = field(default_factory=list)  # after each step

    def departures(self) -> Mapping[str, Departure]:
        self.adapters.append(adapters_in_memory())
        return super().departures()


def alone(config: RunConfig, root: Path) -> RunFolder:
    folder = folder_of(config, root=root / "alone")
    train_folders([folder])
    return folder


def test_a_pruned_run_leaves_at_once_and_the_others_go_on_unchanged(make_config: MakeConfig, tmp_path: Path) -> None:
    configs = [
        make_config(dtype="float64", eval_every=4),
        make_config({"r": 8, "lora_dropout": 0.3}, dtype="float64", eval_every=4, save_every=3, seed=1),
        make_config({"r": 2, "lora_dropout": 0.2, "target_modules": ["q_proj"]}, dtype="float64", seed=2),
    ]
    first, hopeless, last = folders = [folder_of(config, root=tmp_path / "together") for config in configs]
    watch = Watch(verdicts=[pruned(hopeless)])
    train_folders(folders, control=watch)
    finished = hopeless.last("finished")
    assert finished is not None
    assert (finished["state"], finished["reason"], finished["detail"]) == ("PRUNED", None, "worse than the median")
    assert hopeless.summary().keys() >= {"eval/accuracy"}, "what it was judged by"
    assert not any(name.startswith("test/") for name in hopeless.summary())
    assert not hopeless.checkpoints.exists()
    both = [first.run_id, hopeless.run_id]
    assert watch.asked == [both, *[[first.run_id]] * 4], "once for all that have a point, not at the end"
    assert watch.adapters[2:4] == [{"run0", "run1", "run2"}, {"run0", "run2"}], "freed with the step of the verdict"
    train_folders(without := [folder_of(configs[number], root=tmp_path / "without") for number in (0, 2)])
    for ours, others, config in zip((first, last), without, (configs[0], configs[2]), strict=True):
        assert_same(ours, others)
        assert_same(ours, alone(config, tmp_path))
    assert first.summary()["perf/group_size"] == 3
    assert without[0].summary()["perf/group_size"] == 2


def test_a_run_is_told_to_leave_between_two_steps(make_config: MakeConfig, tmp_path: Path) -> None:
    stays, slow = (folder_of(make_config(seed=seed, save_every=3, dtype="float64")) for seed in (0, 1))
    departure = Departure(RunState.FAILED, Reason.TIMEOUT, "longer than 2 minutes")
    train_folders([stays, slow], control=Script(leaving={7: {slow.run_id: departure, "somebody-else": departure}}))
    assert reason_of(slow) == ("timeout", "longer than 2 minutes")
    assert sorted(path.name for path in slow.checkpoints.iterdir()) == ["step-0000003", "step-0000006"], "to go on from"
    assert_same(stays, alone(make_config(seed=0, save_every=3, dtype="float64"), tmp_path))


def test_the_last_run_may_be_told_to_leave(make_config: MakeConfig) -> None:
    folder = folder_of(make_config())
    train_folders([folder], control=Script(leaving={2: pruned(folder)}))
    assert folder.state() is RunState.PRUNED


def test_a_failed_run_and_a_finished_one_leave_nothing_in_memory(make_config: MakeConfig) -> None:
    wild = make_config(learning_rate=1e30, max_grad_norm=0)
    short, long = make_config(max_steps=4), make_config(max_steps=6)
    folders = [folder_of(config) for config in (wild, short, long)]
    watch = Watch()
    train_folders(folders, control=watch)
    assert [folder.state().value for folder in folders] == ["FAILED", "COMPLETE", "COMPLETE"]
    assert watch.adapters[3:] == [{"run2"}, {"run2"}, set()]


@pytest.mark.parametrize("steps", [1, 5, 8])
def test_a_run_that_joins_ends_as_it_does_alone(make_config: MakeConfig, tmp_path: Path, steps: int) -> None:
    """After 8 steps the first run is done: the newcomer finds a base model without any adapter."""
    early = make_config({"lora_dropout": 0.1}, dtype="float64", max_steps=8)
    late = make_config({"r": 7, "lora_dropout": 0.2, "target_modules": ["q_proj", "up_proj"]}, dtype="float64",
                       seed=5, batch_size=4, eval_every=5)  # fmt: skip
    first, newcomer = (folder_of(config, root=tmp_path / "together") for config in (early, late))
    watch = Watch(joining={steps: [Assignment(newcomer)]})
    train_folders([first], control=watch)
    assert_same(first, alone(early, tmp_path))
    assert_same(newcomer, alone(late, tmp_path))
    assert watch.adapters[steps - 1] == ({"run1"} if steps == 8 else {"run0", "run1"}), "a place is given out once"
    assert newcomer.summary()["perf/group_size"] == (1 if steps == 8 else 2)
    started = newcomer.last("started")
    assert started is not None
    assert (started["slot"], started["resumed_from_step"]) == (3, None)


def test_a_run_joins_where_its_checkpoint_is(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = make_config({"r": 3}, dtype="float64", seed=5, save_every=4)
    newcomer = folder_of(late, root=tmp_path / "together")
    interrupt_after(10, [newcomer], monkeypatch)
    first = folder_of(make_config(dtype="float64"), root=tmp_path / "together")
    train_folders([first], control=Script(joining={6: [Assignment(newcomer)]}))
    started = newcomer.last("started")
    assert started is not None
    assert started["resumed_from_step"] == 8
    assert_same(newcomer, alone(late, tmp_path))


MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "no such layer": ({"target_modules": ["nowhere"]}, "nowhere"),
    "half of the layers": ({"target_modules": ["q_proj", "norm"]}, "not supported"),
    "not a linear layer": ({"target_modules": ["v_proj", "embed_tokens"]}, "only linear layers share a forward"),
    "another method": ({"use_dora": True}, "only plain LoRA runs share a forward"),
    "another base model": ({"quantization": {"type": "nf4"}}, "runs of a group share their base model"),
}


@pytest.mark.parametrize("name", MISFITS)
@pytest.mark.parametrize("targets", ["all-linear", ["q_proj"]], ids=["all", "few"])
def test_a_newcomer_that_does_not_fit_fails_alone(
    make_config: MakeConfig, tmp_path: Path, name: str, targets: Any
) -> None:
    own: dict[str, Any] = {"target_modules": targets, "lora_dropout": 0.1}
    first, peft = make_config(own, dtype="float64"), MISFITS[name][0]
    fits = make_config(dtype="float64", seed=8)
    misfit = make_config(peft, dtype="float64", seed=7)
    folders = [folder_of(config, root=tmp_path / "together") for config in (first, misfit, fits)]
    watch = Watch(joining={3: [Assignment(folders[1]), Assignment(folders[2])]})
    train_folders(folders[:1], control=watch)
    reason, detail = reason_of(folders[1])
    assert reason == "error"
    assert MISFITS[name][1] in detail
    assert watch.adapters[2] == {"run0", "run2"}
    assert_same(folders[0], alone(first, tmp_path))
    assert_same(folders[2], alone(fits, tmp_path))


def test_a_group_of_one_by_nature_takes_nobody_in(make_config: MakeConfig) -> None:
    first, newcomer = folder_of(make_config({"use_dora": True})), folder_of(make_config())
    train_folders([first], control=Script(joining={2: [Assignment(newcomer)]}))
    assert first.state() is RunState.COMPLETE
    assert "only plain LoRA runs share a forward" in reason_of(newcomer)[1]


def test_a_newcomer_for_whom_there_is_no_memory_fails_alone(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = CausalObjective.prepare

    def greedy(self: CausalObjective, config: RunConfig, *arguments: Any) -> Any:
        if config.seed == 1:
            raise MemoryError("too much text")
        return prepare(self, config, *arguments)

    monkeypatch.setattr(CausalObjective, "prepare", greedy)
    first, newcomer = (folder_of(make_config(seed=seed)) for seed in (0, 1))
    train_folders([first], control=Script(joining={2: [Assignment(newcomer)]}))
    assert first.state() is RunState.COMPLETE
    assert reason_of(newcomer) == ("out of memory", "MemoryError: too much text")
    with pytest.raises(MemoryError):  # of those that begin together, nobody has begun
        train_folders([folder_of(make_config(seed=1, max_steps=3))])


@pytest.mark.parametrize(("error", "resumed_from"), [(Diverged("loss nan"), None), (OSError("disk"), 4)])
def test_a_diverged_run_starts_afresh_when_asked_again_and_any_other_goes_on(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, error: Exception, resumed_from: int | None
) -> None:
    folder = folder_of(make_config(save_every=2))
    update = Run.update

    def breaking(run: Run, *arguments: Any) -> None:
        update(run, *arguments)
        if run.progress.step == 5:
            raise error

    with monkeypatch.context() as once:
        once.setattr(Run, "update", breaking)
        train_folders([folder])
    assert folder.state() is RunState.FAILED
    train_folders([folder])
    started = folder.last("started")
    assert started is not None
    assert started["resumed_from_step"] == resumed_from
    assert folder.state() is RunState.COMPLETE
