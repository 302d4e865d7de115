"""The loop on real folders: every method, groups, divergence, interruption."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from sweeper.config import Architecture
from sweeper.tracking.run_folder import RunState
from sweeper.training import loop
from sweeper.training.results import Finisher
from sweeper.training.run import Run
from sweeper.training.warm_base import WarmBase
from tests.integration.training.small_runs import (
    LORA,
    MakeConfig,
    events_of,
    folder_of,
    interrupt_after,
    predictions_of,
    reason_of,
    train_folders,
)
from tests.integration.training.test_warm_base import Loader

METHODS: dict[str, dict[str, Any]] = {
    "lora": LORA,
    "qlora": LORA | {"quantization": {"type": "nf4"}},
    "dora": LORA | {"use_dora": True},
    "ia3": {"method": "adapter", "type": "IA3"},
    "prompt_tuning": {"method": "adapter", "type": "PROMPT_TUNING", "num_virtual_tokens": 4},
    "p_tuning": {"method": "adapter", "type": "P_TUNING", "num_virtual_tokens": 4, "encoder_hidden_size": 16},
    "full": {"method": "full"},
    "last_layer": {"method": "last_layer", "layer": 0},
}


def only(peft: dict[str, Any], name: str) -> dict[str, Any]:
    return {"name": name} | peft


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_through_the_same_loop(make_config: MakeConfig, name: str) -> None:
    config = make_config(epochs=6.0)
    config.peft = only(METHODS[name], name)
    folder = folder_of(config)
    train_folders([folder])
    summary = folder.summary()
    assert folder.state() is RunState.COMPLETE
    assert summary["train/loss_last"] < summary["train/loss_first"]
    assert summary["perf/trainable_parameters"] > 0
    expected = {"full": "model", "last_layer": "changed_weights"}.get(name, "adapter")
    assert (folder.artifacts / expected).is_dir()
    predictions = pd.read_parquet(folder.artifacts / "predictions.parquet")
    assert len(predictions) == 24
    assert summary["test/accuracy"] == pytest.approx((predictions["predicted"] == predictions["gold"]).mean())
    assert json.loads((folder.artifacts / "irregular.json").read_text()) is not None
    assert not folder.checkpoints.exists()


def test_zero_shot_trains_nothing_and_counts_its_irregular_outputs(make_config: MakeConfig) -> None:
    config = make_config()
    config.peft = {"name": "none", "method": "none"}
    folder = folder_of(config)
    train_folders([folder])
    summary = folder.summary()
    assert summary["perf/trainable_parameters"] == summary["data/train_examples"] == 0
    assert summary["test/irregular"] == 24
    assert not (folder.artifacts / "adapter").exists()


@pytest.mark.parametrize("peft", [LORA, {"method": "full"}], ids=["lora", "full"])
def test_a_classification_head_goes_through_the_same_loop(make_config: MakeConfig, peft: dict[str, Any]) -> None:
    config = make_config(task={"head": True}, epochs=8.0)
    config.peft = only(peft, "head")
    folder = folder_of(config)
    train_folders([folder])
    assert folder.summary()["test/irregular"] == 0
    assert folder.summary()["train/loss_last"] < folder.summary()["train/loss_first"]


def test_last_layer_changes_that_layer_alone(make_config: MakeConfig, llama_folder: Path) -> None:
    config = make_config()
    config.peft = only(METHODS["last_layer"], "last_layer")
    folder = folder_of(config)
    train_folders([folder])
    changed = load_file(folder.artifacts / "changed_weights" / "model.safetensors")
    original = load_file(llama_folder / "model.safetensors")
    assert changed.keys() == {name for name in original if ".layers.0." in name}
    assert any(not torch.equal(changed[name], original[name]) for name in changed)


def test_runs_of_a_group_end_as_they_do_alone(make_config: MakeConfig, tmp_path: Path) -> None:
    settings: list[dict[str, Any]] = [
        {"learning_rate": 1e-2}, {"learning_rate": 3e-3, "seed": 4, "batch_size": 4},
        {"epochs": 1.0, "gradient_accumulation_steps": 2}, {"peft": {"r": 8, "lora_dropout": 0.2}, "max_steps": 9},
        {"task": {"train_size": 20}},
    ]  # fmt: skip
    configs = [make_config(**setting) for setting in settings]
    for config in configs:
        config.model.dtype = "float64"
    together = [folder_of(config, root=tmp_path / "together") for config in configs]
    train_folders(together)
    for config, folder in zip(configs, together, strict=True):
        alone = folder_of(config, root=tmp_path / "alone")
        train_folders([alone])
        ours, theirs = events_of(folder), events_of(alone)
        assert [point[:2] for point in ours] == [point[:2] for point in theirs]
        for (_, name, left), (_, _, right) in zip(ours, theirs, strict=True):
            assert left == pytest.approx(right, rel=1e-6, abs=1e-9), name
        assert predictions_of(folder) == predictions_of(alone)


def test_a_diverging_run_leaves_its_neighbour_unchanged(make_config: MakeConfig, tmp_path: Path) -> None:
    sane, wild = make_config(), make_config(learning_rate=1e30, max_grad_norm=0)
    pair = [folder_of(wild, root=tmp_path / "pair"), folder_of(sane, root=tmp_path / "pair")]
    train_folders(pair)
    alone = folder_of(sane, root=tmp_path / "alone")
    train_folders([alone])
    last = pair[0].last("finished")
    assert last is not None
    assert (last["state"], last["reason"]) == ("FAILED", "diverged")
    assert "learning rate" in last["detail"]
    assert "test/accuracy" not in pair[0].summary()
    assert pair[1].state() is RunState.COMPLETE
    for name, value in alone.summary().items():
        if not name.startswith(("perf/", "train/tokens")):
            assert pair[1].summary()[name] == pytest.approx(value, rel=1e-4), name


# After one step at such a rate the weights are no numbers, or so large that the logits are none.
@pytest.mark.parametrize("rate", [1e20, 1e40])
@pytest.mark.parametrize("selection_size", [0, 16])
def test_a_last_step_that_breaks_the_weights_fails_the_run_alone(
    make_config: MakeConfig, rate: float, selection_size: int
) -> None:
    task = {"selection_size": selection_size}
    wild = folder_of(make_config(learning_rate=rate, max_grad_norm=0, max_steps=1, task=task))
    sane = folder_of(make_config(max_steps=3, task=task))
    train_folders([wild, sane])
    reason, detail = reason_of(wild)
    assert reason == "diverged"
    assert "at step 1" in detail
    assert ("weights of" in detail) if rate == 1e40 else ("/loss is nan" in detail)
    assert not (wild.artifacts / "adapter").exists()
    assert wild.summary().keys().isdisjoint({"eval/accuracy", "test/accuracy"})
    assert sane.state() is RunState.COMPLETE


@pytest.mark.parametrize("where", ["judge", "checkpoint", "account", "load_best", "_write"])
def test_an_error_in_one_runs_own_affairs_fails_it_alone(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    configs = [make_config(seed=seed, epochs=2.0, eval_every=4, save_every=3, load_best_model_at_end=True)
               for seed in (0, 1)]  # fmt: skip
    folders = [folder_of(config) for config in configs]
    owner: Any = Finisher if where == "_write" else Run
    whole = getattr(owner, where)

    def broken(self: Any, *arguments: Any, **options: Any) -> Any:
        run = arguments[0] if where == "_write" else self
        if run.config.seed == 0:
            raise OSError(13, "Permission denied")
        return whole(self, *arguments, **options)

    monkeypatch.setattr(owner, where, broken)
    train_folders(folders)
    assert reason_of(folders[0]) == ("error", "PermissionError: [Errno 13] Permission denied")
    finished = [event["state"] for event in folders[0].read()[0] if event["event"] == "finished"]
    assert finished == ["FAILED"], "and nothing more is said of it"
    assert folders[1].state() is RunState.COMPLETE


def test_memory_that_one_run_lacks_is_the_groups(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [folder_of(make_config(seed=seed)) for seed in (0, 1)]
    monkeypatch.setattr(Run, "update", lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        train_folders(folders)
    assert [folder.state() for folder in folders] == [RunState.UNFINISHED] * 2


@pytest.mark.parametrize("place", [0, 1])
def test_an_adapter_that_does_not_fit_the_model_fails_alone(
    make_config: MakeConfig, tmp_path: Path, place: int
) -> None:
    sane, wrong = make_config(), make_config({"target_modules": ["nowhere"]})
    folders = [folder_of(config) for config in ([wrong, sane] if place == 0 else [sane, wrong])]
    train_folders(folders)
    reason, detail = reason_of(folders[place])
    assert reason == "error"
    assert "nowhere" in detail
    alone = folder_of(sane, root=tmp_path / "alone")
    train_folders([alone])
    assert folders[1 - place].summary()["test/loss"] == pytest.approx(alone.summary()["test/loss"], rel=1e-5)


SCHEDULES: dict[str, dict[str, Any]] = {
    "linear": {}, "cosine": {}, "constant_with_warmup": {}, "warmup_stable_decay": {"num_decay_steps": 0.2},
}  # fmt: skip


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_an_interrupted_run_goes_on_where_it_was(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: str
) -> None:
    config = make_config({"lora_dropout": 0.1}, lr_scheduler_type=schedule, lr_scheduler_args=SCHEDULES[schedule],
                         warmup_steps=2, save_every=5, eval_every=4, load_best_model_at_end=True,
                         logging_steps=3)  # fmt: skip
    whole = folder_of(config, root=tmp_path / "whole")
    train_folders([whole])

    cut = folder_of(config, root=tmp_path / "cut")
    interrupt_after(13, [cut], monkeypatch)
    train_folders([cut])
    started = cut.last("started")
    assert started is not None
    assert started["resumed_from_step"] == 10
    ours, theirs = events_of(cut), events_of(whole)
    assert [point[:2] for point in ours] == [point[:2] for point in theirs], "no point lost, none doubled"
    for (_, name, left_value), (_, _, right_value) in zip(ours, theirs, strict=True):
        assert left_value == pytest.approx(right_value, rel=1e-5), name
    assert predictions_of(cut) == predictions_of(whole)


def test_early_stopping_ends_a_run_and_keeps_its_best_weights(make_config: MakeConfig) -> None:
    config = make_config(epochs=40.0, eval_every=2, early_stopping_patience=3, load_best_model_at_end=True,
                         metric_for_best_model="eval/loss", learning_rate=3e-2,
                         lr_scheduler_type="constant")  # fmt: skip
    folder = folder_of(config)
    train_folders([folder])
    losses = {step: value for step, name, value in events_of(folder) if name == "eval/loss"}
    stopped = max(losses)
    last = losses.pop(stopped)  # of the weights that are kept; the others are those of their step
    best = min(losses, key=losses.__getitem__)
    assert stopped == best + 3 * 2 < config.train.epochs * 8
    assert last == pytest.approx(losses[best], rel=1e-6)
    assert folder.state() is RunState.COMPLETE


def test_the_last_weights_may_be_the_best(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[int] = []
    judge = Run.judge

    def noting(run: Run, scores: Any) -> None:
        judged.append(run.progress.step)
        judge(run, scores)

    monkeypatch.setattr(Run, "judge", noting)
    folder = folder_of(make_config(max_steps=5, eval_every=3, load_best_model_at_end=True))
    train_folders([folder])
    assert folder.state() is RunState.COMPLETE
    assert judged == [3, 5]


def test_changed_data_is_refused(make_config: MakeConfig, tmp_path: Path, tiny_data: Path) -> None:
    other = tmp_path / "data"
    shutil.copytree(tiny_data, other)
    config = make_config()
    config.data_dir = str(other)
    folder = folder_of(config)
    with (other / "train.tsv").open("a", encoding="utf-8") as file:
        file.write("a very good film\t1\n")
    loop_data_cache_clear()
    train_folders([folder])
    assert "the data changed" in reason_of(folder)[1]


def loop_data_cache_clear() -> None:
    from sweeper.training import data

    data._load.cache_clear()


def test_an_encoder_trains_its_head(make_config: MakeConfig, tmp_path: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    from tests.integration.training.conftest import save_tokenizer

    tokenizer = save_tokenizer(tmp_path / "bert")
    bert = BertConfig(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                      num_attention_heads=4, pad_token_id=0)  # fmt: skip
    BertForSequenceClassification(bert).save_pretrained(tmp_path / "bert")
    config = make_config(epochs=8.0, learning_rate=3e-3)
    config.model.path, config.model.architecture = str(tmp_path / "bert"), Architecture.ENCODER
    config.peft = {"name": "full", "method": "full"}
    folder = folder_of(config)
    train_folders([folder])
    assert folder.summary()["train/loss_last"] < folder.summary()["train/loss_first"]
    assert (folder.artifacts / "model" / "model.safetensors").is_file()
    # The trained checkpoint brings a head of its own: as it is, it answers as it did at the end of its training.
    config.model.path, config.peft = str(folder.artifacts / "model"), {"name": "none", "method": "none"}
    untuned = folder_of(config)
    train_folders([untuned])
    assert untuned.summary()["perf/trainable_parameters"] == 0
    assert untuned.summary()["test/accuracy"] == folder.summary()["test/accuracy"]
    assert untuned.summary()["test/loss"] == pytest.approx(folder.summary()["test/loss"], rel=1e-5)


def test_one_worker_trains_full_weights_and_adapters_in_turn_with_one_base_in_memory(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = Loader()
    monkeypatch.setattr(loop, "warm_base", WarmBase(loader))
    for peft in ({"method": "full"}, LORA, {"method": "full"}):
        config = make_config(max_steps=1, seed=len(peft))
        config.model.dtype = "auto"  # float32 under autocast, then frozen bfloat16, where the machine has it
        config.peft = only(peft, "turn")
        folder = folder_of(config)
        train_folders([folder])
        assert folder.state() is RunState.COMPLETE
    assert loader.alive == [0, 0, 0]


def test_a_config_that_does_not_work_out_fails_alone(make_config: MakeConfig) -> None:
    wrong = make_config()
    wrong.train.optimizer = "adamm"
    sane, broken = folder_of(make_config()), folder_of(wrong)
    train_folders([broken, sane])
    reason, detail = reason_of(broken)
    assert reason == "error"
    assert "train.optimizer=adamm" in detail
    assert sane.state() is RunState.COMPLETE


@pytest.mark.parametrize("name", METHODS)
def test_no_method_leaves_a_trace_on_the_next_group(make_config: MakeConfig, tmp_path: Path, name: str) -> None:
    zero_shot = make_config()
    zero_shot.peft = {"name": "none", "method": "none"}
    before, after = (folder_of(zero_shot, root=tmp_path / str(number)) for number in range(2))
    train_folders([before])
    trained = make_config(max_steps=2)
    trained.peft = only(METHODS[name], name)
    train_folders([folder_of(trained)])
    train_folders([after])
    assert after.summary()["test/loss"] == before.summary()["test/loss"]


def test_every_step_has_one_point_of_each_metric(make_config: MakeConfig) -> None:
    folder = folder_of(make_config(eval_every="epoch", load_best_model_at_end=True, learning_rate=5e-2))
    train_folders([folder])
    points = [point[:2] for point in events_of(folder)]
    assert len(points) == len(set(points))
