"""The table read back from a real MLflow store that the tracking wrote: a sweep with everything that can go wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis import table
from sweeper.tracking.mlflow_view import MlflowView
from tests.synthetic_runs import SyntheticRun

pytestmark = pytest.mark.integration
SIZES = (100, 1000, 10_000, "full")
LONG = {f"text {number} " + "x" * 100: 1 for number in range(100)}  # does not fit into a tag


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Task sst2: an experiment, then sizes 100 to full by two methods; task demo: one run by itself, on demo data."""
    output_dir = tmp_path_factory.mktemp("mlruns")
    view = MlflowView(None, output_dir)
    cells = [{"task.train_size": size, "peft": method} for method in ("lora", "qlora") for size in SIZES]
    tags = {"cells": json.dumps(cells), "replicates": "1", "objective": "eval/accuracy"}
    old = view.start_sweep("01d", "published_sst2", {}, {}, task="sst2")
    view.publish(SyntheticRun(sweep_id="01d", learning_rate=0.5, accuracy=0.99).write(output_dir), old)
    parent = view.start_sweep("5eed5eed00", "sst2 mini: peft", tags, {}, task="sst2")
    detail = "tried to allocate 2 GiB"
    for run in (
        SyntheticRun(train_size="full", accuracy=0.85),
        SyntheticRun(train_size=100, accuracy=0.65, irregular={"i": 3}),
        SyntheticRun(train_size=1000, state="FAILED", reason="out of memory", detail=detail),
        SyntheticRun(method="qlora", train_size=100, accuracy=0.5, irregular=LONG),
        SyntheticRun(method="qlora", train_size=1000, learning_rate=0.001, eval_accuracy=0.8, accuracy=0.75),
        SyntheticRun(method="qlora", train_size=1000, learning_rate=0.01, eval_accuracy=0.7, accuracy=0.79),
        SyntheticRun(method="qlora", train_size=1000, learning_rate=0.1, state="PRUNED"),
        SyntheticRun(method="qlora", train_size="full", accuracy=0.86, seed=0, irregular={"i": 3, "\n": 1}),
        SyntheticRun(method="qlora", train_size="full", accuracy=0.88, seed=1),
        SyntheticRun(method="qlora", train_size="full", seed=2, state="FAILED", reason="diverged"),
    ):
        view.publish(run.write(output_dir), parent)
    view.finish_sweep("FAILED", parent)
    single = SyntheticRun(task="demo", source="demo reviews (seed 0)", demo=True, sweep_id=None, method="none",
                          num_points=0)  # fmt: skip
    view.publish(single.write(output_dir))
    return output_dir


def printed(results: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert table.main([f"output_dir={results}", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return "\n".join(line.rstrip() for line in captured.out.splitlines())


def test_the_latest_sweep_in_design_order_with_every_cell(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        printed(results, capsys, "task=sst2", "--format", "markdown").split("\n\n")[1]
        == """\
| Model | Method | Examples (epochs) | Accuracy % | F1 % | Training loss | Irregular | Best hyperparameters |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |
| mini | lora | 100 (3) | 65.0 | 64.0 | 0.700 → 0.233 | 3: i ×3 | – |
| mini | lora | 1,000 | failed: out of memory | – | – | – | – |
| mini | lora | 10,000 | missing | – | – | – | – |
| mini | lora | 66,349 (3) | 85.0 | 84.0 | 0.700 → 0.233 | 0 | – |
| mini | qlora | 100 (3) | 50.0 | 49.0 | 0.700 → 0.233 | all | – |
| mini | qlora | 1,000 (3) | 75.0 | 74.0 | 0.700 → 0.233 | 0 | learning_rate=0.001 |
| mini | qlora | 10,000 | missing | – | – | – | – |
| mini | qlora | 66,349 (3) | 87.0 ± 1.4 (n = 2 of 3) | 86.0 ± 1.4 | 0.700 → 0.233 | 4: i ×3, '\\\\n' ×1 / 0 | – |"""
    )


def test_the_text_for_a_terminal_says_where_the_numbers_come_from(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(results, capsys, "task=sst2")
    assert "sst2: sweep 5eed5eed00 (failed)" in text
    assert "Data: files: sst2/train.tsv, sst2/dev.tsv (sha256 d1ced1ced1ce)" in text
    assert "by eval/accuracy" in text
    assert "Points pruned: mini qlora 1,000: 1 of 3." in text
    assert "failed: out of memory (tried to allocate 2 GiB)" in text
    assert "DEMO" not in text


def test_irregular_texts_that_fit_no_tag_are_read_from_the_artifact(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = json.loads(printed(results, capsys, "task=sst2", "--format=json"))["rows"]
    (row,) = [row for row in rows if (row["method"], row["train_size"]) == ("qlora", 100)]
    assert row["irregular_texts"] == LONG


def test_a_single_run_on_demo_data_says_so_loudly(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for format_name in table.FORMATS:
        assert "DEMO DATA, not demo: demo reviews" in printed(results, capsys, "task=demo", f"--format={format_name}")
    assert printed(results, capsys, "task=demo").startswith("DEMO DATA")


def test_another_sweep_by_its_id_and_all_runs(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    older = json.loads(printed(results, capsys, "task=sst2", "sweep=01d", "--format=json"))["rows"]
    assert [row["accuracy"] for row in older] == [0.99]
    everything = json.loads(printed(results, capsys, "task=sst2", "sweep=all", "--format=json"))["rows"]
    (row,) = [row for row in everything if (row["method"], row["train_size"]) == ("lora", 100)]
    assert row["hyperparameters"] == {"train.learning_rate": "0.5"}  # the better of both sweeps' points


def test_an_experiment_is_asked_for_by_its_name_though_its_task_has_a_later_sweep(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for which in ("experiment=published_sst2", "task=sst2 sweep=01d", "experiment=published_sst2 sweep=01d"):
        shown = json.loads(printed(results, capsys, *which.split(), "--format=json"))
        assert shown["title"] == "published_sst2: sweep 01d (unfinished)"
        assert [row["accuracy"] for row in shown["rows"]] == [0.99]


def test_of_an_experiments_sweeps_the_last_is_shown_whatever_task_it_is_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    view = MlflowView(None, tmp_path)
    made = [("published", "01d", "sst2", 0.5), ("published", "1a7e", "imdb", 0.6), ("other", "07e5", "ag_news", 0.7)]
    for name, sweep_id, task, accuracy in made:
        parent = view.start_sweep(sweep_id, name, {}, {}, task=task)
        view.publish(SyntheticRun(task, sweep_id=sweep_id, accuracy=accuracy).write(tmp_path), parent)
    for which, accuracy in (("", 0.6), ("sweep=01d", 0.5)):
        (row,) = json.loads(printed(tmp_path, capsys, "experiment=published", *which.split(), "--format=json"))["rows"]
        assert row["accuracy"] == accuracy


def test_a_run_that_another_sweep_made_has_its_cell_in_the_later_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    view = MlflowView(None, tmp_path)
    reused = SyntheticRun(sweep_id=None).write(tmp_path)
    view.publish(reused)
    cells = [{"model": "mini", "peft": method} for method in ("qlora", "lora")]
    parent = view.start_sweep("1a7e100000", "later", {"cells": json.dumps(cells)}, {}, task="sst2")
    reused.join("1a7e100000", {"cell": cells[1], "trial": 0})
    view.publish(reused, parent)
    qlora = SyntheticRun(method="qlora", state=None).write(tmp_path)
    qlora.join("1a7e100000", {"cell": cells[0], "trial": 1})
    view.publish(qlora, parent)
    rows = json.loads(printed(tmp_path, capsys, "task=sst2", "--format=json"))["rows"]
    assert [(row["method"], row["problem"]) for row in rows] == [("qlora", "running"), ("lora", "")]


def test_fresh_seeds_and_shared_runs_are_known_by_their_tags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    view, cell = MlflowView(None, tmp_path), {"task.train_size": 100, "peft": "lora"}
    tags = {"cells": json.dumps([cell]), "objective": "eval/accuracy,perf/train_s", "confirm_seeds": "2"}
    parent = view.start_sweep("c0f1a3ed00", "confirmed", tags, {}, task="sst2")
    made = {"sweep_id": "c0f1a3ed00", "tags": {"sweeper.shared_with": "long-run"}, "metrics": {"perf/train_s": 1.0}}
    for rate, tags in ((0.01, {}), (0.001, made["tags"])):
        run = SyntheticRun(learning_rate=rate, eval_accuracy=rate, accuracy=0.9, **made | {"tags": tags})
        view.publish(run.write(tmp_path), parent)
    (searched,) = json.loads(printed(tmp_path, capsys, "--format=json"))["rows"]
    assert (searched["accuracy"], searched["unconfirmed"], searched["shared_with"]) == (0.9, "missing", [])
    for seed in (100, 101):
        folder = SyntheticRun(learning_rate=0.01, seed=seed, accuracy=0.7, **made).write(tmp_path)
        folder.join("c0f1a3ed00", {"cell": cell, "trial": seed, "confirms": 0})
        view.publish(folder, parent)
    for sweep in ("latest", "all"):
        (row,) = json.loads(printed(tmp_path, capsys, "--format=json", f"sweep={sweep}"))["rows"]
        assert (row["accuracy"], row["n"], row["n_expected"], row["search_accuracy"]) == (0.7, 2, 2, 0.9)
        assert (row["fresh_seeds"], row["unconfirmed"], row["shared_with"]) == (True, "", ["long-run"])


def test_among_all_runs_a_fresh_seed_that_another_sweep_searched_with_is_a_replicate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    view, place = MlflowView(None, tmp_path), {"cell": {"task.train_size": 100, "peft": "lora"}, "trial": 0}
    parent = view.start_sweep("c0f1a3ed00", "confirmed", {}, {}, task="sst2")
    for seed, accuracy in enumerate((0.9, 0.7)):
        folder = SyntheticRun(seed=seed, accuracy=accuracy, sweep_id="c0f1a3ed00").write(tmp_path)
        folder.join("c0f1a3ed00", place | ({"confirms": 0} if seed else {}))
        folder.join("f123456789", place)
        view.publish(folder, parent)
    for sweep, accuracy, fresh in (("c0f1a3ed00", 0.7, True), ("all", 0.8, False)):
        (row,) = json.loads(printed(tmp_path, capsys, "--format=json", f"sweep={sweep}"))["rows"]
        assert (row["accuracy"], row["fresh_seeds"]) == (accuracy, fresh)


def test_print_table_finds_a_sweep_or_a_run_by_itself(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uri = f"sqlite:///{results / 'mlflow.db'}"
    table.print_table(uri, sweep_id="01d")
    assert "99.0" in capsys.readouterr().out
    run_id = next(path.name for path in (results / "runs").iterdir() if path.name.startswith("demo-"))
    table.print_table(uri, run_id=run_id)
    shown = capsys.readouterr().out
    assert "DEMO DATA" in shown
    assert f": run {run_id}" in shown
    assert "all runs" not in shown
    with pytest.raises(table.NothingToShow, match="nope: not in MLflow"):
        table.print_table(uri, sweep_id="nope")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["task=sst"], 1, "task=sst: no results; did you mean 'sst2'?; `python -m sweeper task=sst -m` makes some"),
        ([], 2, "task: which one? task=demo | sst2, or experiment=published_sst2"),
        (["experiment=published_sst"], 1, "experiment=published_sst: no sweep of it; there is published_sst2; "
         "`python -m sweeper experiment=published_sst -m` makes one"),
        (["experiment=published_sst2", "task=sst2"], 2,
         "task=sst2: leave it out; experiment=published_sst2 says which"),
        (["experiment=published_sst2", "sweep=all"], 2,
         "sweep=all: not a sweep of published_sst2; there is 01d, latest"),
        (["task=sst2", "sweep=x"], 2, "sweep=x: not a sweep of sst2; there is 5eed5eed00, 01d, latest, all"),
        (["task=sst2", "model=minj"], 2, "model=minj: not among mini; did you mean 'mini'?"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_line(
    results: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    assert table.main([f"output_dir={results}", *arguments]) == code
    assert capsys.readouterr() == ("", f"{message}\n")
