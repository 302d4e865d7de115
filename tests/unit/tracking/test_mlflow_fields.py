from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

from sweeper.config import ReportConfig
from sweeper.tracking import mlflow_fields as fields
from tests.synthetic_runs import SyntheticRun


def test_parameters_are_flat_and_spelled_as_on_the_command_line() -> None:
    params = fields.params({"train": {"epochs": 1.0, "max_steps": None}, "plan": False, "labels": ["a"]}, max_length=99)
    assert params == {"train.epochs": "1.0", "train.max_steps": "null", "plan": "false", "labels": '["a"]'}


def test_what_concerns_only_the_table_is_no_parameter() -> None:
    config = {"seed": 0, "report": {"columns": ["accuracy"]}, "scale": "small", "scales": {"small": ["seed=1"]}}
    assert fields.params(config, max_length=99) == {"seed": "0"}


def test_only_a_run_by_itself_keeps_the_report_that_its_sweep_would_keep(tmp_path: Path) -> None:
    report = ReportConfig(["accuracy"], [{"when": {}, "accuracy": 0.9, "source": "x" * 9000}])
    runs = {
        "member": SyntheticRun(report=report),
        "alone": SyntheticRun(report=report, sweep_id=None, scale="small"),
        "plain": SyntheticRun(sweep_id=None),
    }
    member, alone, plain = (
        fields.run_tags(run.create(tmp_path / name).identity, max_length=8000) for name, run in runs.items()
    )
    assert not any(key.startswith(("sweeper.report", "sweeper.scale")) for key in {**member, **plain})
    assert (alone["sweeper.report.columns"], alone["sweeper.scale"]) == ('["accuracy"]', "small")
    whole = alone["sweeper.report.published"] + alone["sweeper.report.published.1"]
    assert json.loads(whole) == report.published


def test_what_a_longer_value_left_is_emptied() -> None:
    known = ["cells", "cells.1", "cells.2", "other.1", "cells.x", "kept.1"]
    assert fields.blanks(known, {"cells": "a", "cells.1": "b", "kept.1": ""}) == {"cells.2": ""}


def test_a_value_over_the_limit_is_its_hash_and_says_where_the_whole_is() -> None:
    long = "x" * 200
    value = fields.params({"prompt": long}, max_length=120)["prompt"]
    assert value == f"sha256:{hashlib.sha256(long.encode()).hexdigest()} (200 characters, whole in config.yaml)"


def test_every_metric_value_becomes_a_point_at_its_time_and_step() -> None:
    batch = fields.translate([{"event": "metrics", "time": 1.5, "step": 7, "values": {"train/loss": 0.5}}])
    assert batch.points == [("train/loss", 0.5, 1500, 7)]


def test_infinity_becomes_nan_with_a_tag_that_says_so() -> None:
    values = {"train/loss": math.inf, "train/grad_norm": math.nan}
    batch = fields.translate([{"event": "metrics", "time": 1.0, "step": 3, "values": values}])
    assert all(math.isnan(value) for _, value, _, _ in batch.points)
    assert batch.tags == {"sweeper.infinite.train/loss": "+inf at step 3"}


def test_the_last_of_start_and_finish_decides() -> None:
    start = {"event": "started", "time": 1.0}
    finish = {"event": "finished", "time": 2.0, "state": "KILLED", "reason": "killed", "detail": None}
    assert fields.translate([start, finish]).finished == finish
    resumed = fields.translate([start, finish, start])
    assert (resumed.finished, resumed.started) == (None, start)
    assert resumed.tags == {fields.STATE: "UNFINISHED", fields.REASON: "", fields.DETAIL: ""}


def test_progress_is_not_sent() -> None:
    batch = fields.translate([{"event": "progress", "time": 1.0, "step": 3}])
    assert (batch.points, batch.tags) == ([], {})


def test_the_tags_of_a_run_say_what_it_is(tmp_path: Path) -> None:
    tags = fields.run_tags(SyntheticRun(seed=2).create(tmp_path).identity, max_length=8000)
    assert json.loads(tags["sweeper.cell"]) == {"task.train_size": 100, "peft": "lora"}
    assert tags["sweeper.replicate"] == "2"
    assert tags["mlflow.source.git.commit"].startswith("c0ffee")
    assert tags["sweeper.git.dirty"] == "false"
    assert json.loads(tags["sweeper.versions"])["torch"] == "2.13.0"
    assert tags["sweeper.data.demo"] == "false"
    assert "mlflow.note.content" not in tags


def test_demo_data_is_marked(tmp_path: Path) -> None:
    tags = fields.run_tags(SyntheticRun(demo=True).create(tmp_path).identity, max_length=8000)
    assert tags["sweeper.data.demo"] == "true"
    assert "DEMO DATA" in tags["mlflow.note.content"]


def test_every_split_has_its_own_dataset_name_and_a_digest_that_fits(tmp_path: Path) -> None:
    identity = SyntheticRun().create(tmp_path).identity
    entries = [fields.dataset_fields(identity, split, digest_length=36) for split in ("train", "test")]
    assert [entry["name"] for entry in entries] == ["sst2/train", "sst2/test"]
    assert {len(entry["digest"]) for entry in entries} == {36}
    assert json.loads(entries[0]["source"])["sha256"] == identity.data["digest"]


def test_a_long_tag_that_must_be_whole_is_spread() -> None:
    spread = fields.spread_tags({"cells": "abcdefg", "empty": ""}, max_length=3)
    assert spread == {"cells": "abc", "cells.1": "def", "cells.2": "g", "empty": ""}
