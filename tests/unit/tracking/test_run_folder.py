from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import yaml

from sweeper.config import RunConfig
from sweeper.tracking.process_mark import ProcessMark
from sweeper.tracking.provenance import code_version
from sweeper.tracking.run_folder import RunFolder, RunIdentity, RunState, make_run_id
from tests.synthetic_runs import SyntheticRun


def folder_of(tmp_path: Path, **fields: object) -> RunFolder:
    return SyntheticRun(**fields).create(tmp_path)  # type: ignore[arg-type]


def test_the_run_id_is_readable_and_the_same_every_time() -> None:
    config = SyntheticRun(model="Llama-2-7b chat!", train_size="full").config()
    first = make_run_id(config, "abc", "c0de")
    assert first == make_run_id(config, "abc", "c0de")
    assert first.startswith("sst2-llama-2-7b-chat-lora-full-s0-")
    assert set(first) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")


def test_the_run_id_changes_with_the_numbers_and_not_with_the_place() -> None:
    config, moved, tuned = RunConfig(), RunConfig(output_dir="elsewhere"), RunConfig()
    tuned.train.learning_rate = 1e-2
    assert make_run_id(config, "abc", "c0de") == make_run_id(moved, "abc", "c0de")
    asked = [(config, "abc", "c0de"), (tuned, "abc", "c0de"), (config, "other data", "c0de"), (config, "abc", "other")]
    assert len({make_run_id(*run) for run in asked}) == 4


def test_a_run_is_known_by_the_version_of_its_code() -> None:
    data = {"source": "x", "digest": "y"}
    default = RunIdentity.of(RunConfig(), data)
    assert default.code["version"] == code_version()
    assert RunIdentity.of(RunConfig(), data, code={"version": code_version(), "commit": "c"}).run_id == default.run_id
    assert RunIdentity.of(RunConfig(), data, code={"version": "other"}).run_id != default.run_id


def test_a_run_joins_a_sweep_once(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, sweep_id="a")
    own = {"cell": folder.identity.cell, "trial": 0}
    folder.join("a", own)
    assert folder.read() == ([], 0), "run.json has it already"
    place = {"cell": {"peft": "lora"}, "trial": 4, "confirms": 2}
    for _ in range(2):
        folder.join("b", place)
    assert len(folder.read()[0]) == 1
    assert RunFolder.open(folder.path).places() == {"a": own, "b": place}


def test_the_identity_comes_back_as_it_was_written(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, params={"train.learning_rate": 0.001})
    identity = RunFolder.open(folder.path).identity
    assert identity.params == {"train.learning_rate": 0.001}
    assert identity.cell == {"task.train_size": 100, "peft": "lora"}
    assert identity.config == SyntheticRun().config().to_dict()
    assert yaml.safe_load((folder.artifacts / "config.yaml").read_text()) == identity.config


def test_a_folder_that_is_there_is_reopened_with_its_events(tmp_path: Path) -> None:
    folder_of(tmp_path).started(slot=0)
    again = folder_of(tmp_path)
    assert [event["event"] for event in again.read()[0]] == ["started"]


def test_opening_what_is_no_run_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="not a run folder"):
        RunFolder.open(tmp_path)


def test_a_start_says_which_process_it_was(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    folder.started(slot=0)
    folder.started(slot=0, memory_share=0.5)
    whole, shared = folder.read()[0]
    assert ProcessMark.from_dict(whole["mark"]) == ProcessMark.own()
    assert ("memory_share" in whole, shared["memory_share"]) == (False, 0.5)


def test_the_state_is_that_of_the_last_start(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    assert folder.state() is RunState.UNFINISHED
    folder.started(slot=0)
    folder.finish("KILLED", "killed")
    assert folder.state() == "KILLED"
    folder.started(slot=1, resumed_from_step=40)
    assert folder.state() == "UNFINISHED"
    folder.finish("COMPLETE")
    assert folder.state() == "COMPLETE"


def test_an_unknown_state_or_reason_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    with pytest.raises(ValueError, match="DONE"):
        folder.finish("DONE")
    with pytest.raises(ValueError, match="tired"):
        folder.finish("FAILED", "tired")
    assert folder.read() == ([], 0)


def test_the_detail_of_a_failure_is_one_line(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    folder.finish("FAILED", "error", "first\n  second", "Traceback ...\nValueError")
    last = folder.last("finished")
    assert last is not None
    assert (last["detail"], last["traceback"]) == ("first second", "Traceback ...\nValueError")


def test_nan_and_infinities_survive_in_strict_json(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    folder.metrics(3, {"train/loss": math.nan, "train/grad_norm": math.inf, "eval/loss": -math.inf})
    (line,) = (folder.path / "events.jsonl").read_text().splitlines()
    json.loads(line, parse_constant=pytest.fail)
    assert json.loads(line)["values"] == {"train/loss": "NaN", "train/grad_norm": "Infinity", "eval/loss": "-Infinity"}
    values = folder.read()[0][0]["values"]
    assert math.isnan(values["train/loss"])
    assert (values["train/grad_norm"], values["eval/loss"]) == (math.inf, -math.inf)


def test_a_metric_that_has_no_name_in_the_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"metrics\.py.*train/los"):
        folder_of(tmp_path).metrics(0, {"train/los": 1.0})


def test_the_summary_is_the_last_value_of_every_metric(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    folder.metrics(1, {"train/loss": 0.7, "train/epoch": 0.5})
    folder.metrics(2, {"train/loss": 0.4})
    assert folder.summary() == {"train/loss": 0.4, "train/epoch": 0.5}


def test_a_secret_of_the_environment_is_nowhere_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_HUB_TOKEN", "canary-5ecret")
    config = SyntheticRun().config()
    config.model.path = "/models/canary-5ecret/llama"
    config.tracking_uri = "postgresql://me:pa55word@server/db"
    data = {"source": "https://canary-5ecret@host", "digest": "ab"}
    folder = RunFolder.create(tmp_path, RunIdentity.of(config, data, params={"canary-5ecret": 1}))
    folder.tags({"note": "canary-5ecret"})
    folder.finish("FAILED", "error", "401 for canary-5ecret", "Traceback canary-5ecret")
    written = "".join(path.read_text() for path in folder.path.rglob("*") if path.is_file())
    assert "canary" not in written
    assert "pa55word" not in written
    assert written.count("<redacted>") >= 6
