from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from sweeper.config import ModelConfig, RunConfig, Source, TaskConfig
from sweeper.launch import past_runs as module
from sweeper.launch.group import SHARING_EXPONENT, DataSize
from sweeper.launch.model_shape import shape_of
from sweeper.launch.past_runs import GIB, PastRun, folder_bytes, ids_on_disk, is_complete, past_runs
from sweeper.launch.workload import Text, workload
from sweeper.tracking.run_folder import RunFolder, RunIdentity

LORA = {"name": "lora", "method": "adapter", "type": "LORA", "r": 16, "target_modules": "all-linear"}
SUMMARY = {"data/train_examples": 100, "data/test_examples": 50, "perf/train_s": 40.0, "perf/eval_s": 8.0,
           "perf/peak_memory_gib": 0.9, "perf/group_size": 4, "perf/train_tokens": 2000}  # fmt: skip


def write(root: Path, *, seed: int = 0, state: str | None = "COMPLETE", padding: int = 0) -> RunFolder:
    task = TaskConfig(labels=["a", "b"], train_size=100)
    task.data.source = Source.DEMO
    config = RunConfig(model=ModelConfig(embedded=True), task=task, peft=LORA, seed=seed)
    identity = RunIdentity.of(config, {"source": "demo", "digest": "d" * 64}, sweep_id="5eed")
    folder = RunFolder.create(root, identity)
    folder.progress(0, 0, 0.0, "loading")
    folder.started(slot=1)
    for step in range(padding):
        folder.progress(step, padding, 0.0, "training")
    folder.metrics(7, SUMMARY)
    if state is not None:
        folder.finish(state)
    return folder


def test_a_run_is_undone_to_what_it_took_alone(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (run,) = past_runs(tmp_path)
    assert run.train_s == pytest.approx(40 / 4**SHARING_EXPONENT)
    assert run.eval_s == pytest.approx(8 / 4**SHARING_EXPONENT)
    assert (run.group_size, run.size.train, run.size.test, run.source) == (4, 100, 50, "demo")
    assert run.peak_bytes == pytest.approx(0.9 * GIB)
    assert run.disk_bytes == folder_bytes(folder.path) > 0
    assert run.kind == "mini LORA none"


def test_the_figures_are_found_behind_a_long_curve(tmp_path: Path) -> None:
    folder = write(tmp_path, padding=1000)
    assert (folder.path / "events.jsonl").stat().st_size > module.HEAD_BYTES + module.TAIL_BYTES
    (run,) = past_runs(tmp_path)
    assert run.train_s > 0
    assert 0 <= run.load_s < 60
    assert run.group.startswith("1 ")  # the slot


@pytest.mark.parametrize("state", ["FAILED", "PRUNED", "KILLED", None])
def test_only_complete_runs_tell(tmp_path: Path, state: str | None) -> None:
    folder = write(tmp_path, state=state)
    assert past_runs(tmp_path) == []
    assert not is_complete(folder.path)


def test_a_run_that_was_started_again_is_not_complete(tmp_path: Path) -> None:
    folder = write(tmp_path)
    assert is_complete(folder.path)
    folder.started(slot=0)
    assert not is_complete(folder.path)


def test_only_the_newest_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NEWEST", 2)
    for age, folder in enumerate([write(tmp_path, seed=seed) for seed in (1, 2, 3)]):
        os.utime(folder.path / "events.jsonl", (1e9 + age, 1e9 + age))
    assert [run.config.seed for run in past_runs(tmp_path)] == [3, 2]


@pytest.mark.parametrize("content", ["{", "[]", '{"config": {"gone": 1}}', '{"config": {"task": {"gone": 1}}}'])
def test_a_folder_of_another_layout_tells_nothing(tmp_path: Path, content: str) -> None:
    folder = write(tmp_path)
    (folder.path / "run.json").write_text(content, encoding="utf-8")
    assert past_runs(tmp_path) == []


def test_nothing_is_there_before_the_first_run(tmp_path: Path) -> None:
    assert past_runs(tmp_path / "none") == []


def test_texts_are_those_sampled_or_what_the_tokens_tell(tmp_path: Path) -> None:
    write(tmp_path)
    (run,) = past_runs(tmp_path)
    known = {"train": Text(1, 2), "test": Text(3, 4)}
    assert run.texts({("sst2", "demo"): known}) == known
    counted = workload(run.config, shape_of(run.config.model), run.size, run.texts({}))
    assert counted.train_tokens == pytest.approx(run.tokens, rel=0.1)


@pytest.mark.parametrize("train_size", ["full", 100])
@pytest.mark.parametrize("is_known", [True, False])
def test_a_run_on_running_text_counted_blocks_and_is_planned_in_rows(train_size: Any, *, is_known: bool) -> None:
    task = TaskConfig(type="language_modeling", max_length=52, train_size=train_size)
    config = RunConfig(model=ModelConfig(embedded=True), task=task, peft=LORA)
    texts = dict.fromkeys(("train", "test"), Text(800, 900))  # four blocks of 50 tokens
    rows, trained = DataSize(1000, 0, 50), 1000 if train_size == "full" else train_size
    planned = workload(config, shape_of(config.model), rows, texts)
    run = PastRun(
        config, DataSize(4 * trained, 0, 4 * 50), "files", 1.0, 1.0, 1.0, 1, GIB, GIB, planned.train_tokens, ""
    )
    found = run.texts({(task.name, "files"): texts} if is_known else {})
    again = workload(config, shape_of(config.model), run.rows(found), found)
    assert again.steps == planned.steps
    assert again.train_tokens == pytest.approx(planned.train_tokens, rel=0.1)
    assert again.eval_tokens == pytest.approx(planned.eval_tokens, rel=0.1)


def test_ids_are_found_by_what_a_person_reads_of_them(tmp_path: Path) -> None:
    for name in ("sst2-mini-lora-100-s0-abc", "sst2-mini-lora-100-s1-abc"):
        (tmp_path / name).mkdir()
    assert ids_on_disk(tmp_path, {"sst2-mini-lora-100-s1"}) == ["sst2-mini-lora-100-s1-abc"]
    assert ids_on_disk(tmp_path / "none", set()) == []
