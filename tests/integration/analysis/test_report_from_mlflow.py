"""What an experiment says of its table, from its config through MLflow's tags into the table; and the other commands
that read the same store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from analysis import curves, importances, table
from analysis.load import Report, Store
from sweeper.config import ReportConfig, RunConfig
from sweeper.tracking.mlflow_fields import report_tags
from sweeper.tracking.mlflow_view import MlflowView
from tests.synthetic_runs import SyntheticRun

pytestmark = pytest.mark.integration
PUBLISHED: list[dict[str, Any]] = [
    {"when": {"peft": "none"}, "exact_match": 0.1, "source": "Somebody et al. 2024"},
    {"when": {"peft": "lora"}, "exact_match": 0.456, "bleu": 0.4494, "meteor": 0.4279},
    {"when": {"peft": "lora", "model": "llama"}, "exact_match": 0.5},
]
REPORT = ReportConfig(["exact_match", "perf/trainable_parameters"], PUBLISHED)
LONG = [{"when": {"peft": f"method {number}"}, "source": "x" * 500, "accuracy": 0.5} for number in range(50)]


def tags(report: ReportConfig, scale: str = "full", **cell: str) -> dict[str, str]:
    cells = [{"peft": method} for method in cell.values()]
    return {"cells": json.dumps(cells), **report_tags(RunConfig(report=report, scale=scale).to_dict())}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Task squad: an experiment of question answering; books: language modelling by itself; sst2: a search of one
    cell."""
    output_dir = tmp_path_factory.mktemp("mlruns")
    view = MlflowView(None, output_dir)
    parent = view.start_sweep("5ad5ad5ad0", "squad_lora", tags(REPORT, "small"), {}, task="squad")
    for method, score in (("none", 0.05), ("lora", 0.4)):
        scores = {"test/exact_match": score, "test/f1": score, "test/bleu": score, "fit/exact_match": score + 0.1}
        run = SyntheticRun("squad", "question_answering", method=method, sweep_id="5ad5ad5ad0", train_size="full",
                           metrics={**scores, "perf/trainable_parameters": 1_000_000}, report=REPORT)  # fmt: skip
        view.publish(run.write(output_dir), parent)
    alone = ReportConfig(["perplexity"], [{"when": {}, "perplexity": 2.47}])
    books = SyntheticRun("books", "language_modeling", sweep_id=None, metrics={"test/perplexity": 6.5}, report=alone)
    view.publish(books.write(output_dir))
    search = view.start_sweep("5eed5eed00", "sst2 mini lora: learning_rate", {}, {}, task="sst2")
    for number in range(12):
        rate = 0.001 * 2**number
        view.publish(SyntheticRun(learning_rate=rate, eval_accuracy=0.5 + number / 100).write(output_dir), search)
    return output_dir


def rows(capsys: pytest.CaptureFixture[str], command: Any, results: Path, *arguments: str) -> list[dict[str, Any]]:
    assert command.main([f"output_dir={results}", "--format=json", *arguments]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["rows"]
    return found


def printed(capsys: pytest.CaptureFixture[str], command: Any, results: Path, *arguments: str) -> str:
    assert command.main([f"output_dir={results}", *arguments]) == 0
    return capsys.readouterr().out


def test_the_columns_and_the_scale_are_the_experiments(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(capsys, table, results, "task=squad", "--format=markdown")
    assert "| Model | Method | Examples (epochs) | Exact match % | Trainable parameters |" in shown
    assert "| mini | lora | 66,349 (3) | 40.0 | 1,000,000 |" in shown
    assert "- Scaled down: the experiment was run at scale=small, not at its full size." in shown.splitlines()


@pytest.mark.parametrize("format_name", table.FORMATS)
def test_published_figures_stand_beside_ours(
    results: Path, capsys: pytest.CaptureFixture[str], format_name: str
) -> None:
    shown = printed(capsys, table, results, "task=squad", "--published", "--format", format_name)
    is_plain = format_name in ("csv", "json")
    for number in ("0.456", "0.4494", "0.4279") if is_plain else ("40.0", "45.6", "44.94", "42.79"):
        assert number in shown
    (lora,) = [row for row in rows(capsys, table, results, "task=squad", "--published") if row["method"] == "lora"]
    assert (lora["exact_match"], lora["exact_match_published"], lora["bleu_published"]) == (0.4, 0.456, 0.4494)


def test_what_no_row_takes_and_the_source_are_notes(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, table, results, "task=squad", "--published").splitlines()
    assert "Published: Somebody et al. 2024" in lines
    assert "Published, of no row here: peft=lora, model=llama: Exact match % 50." in lines
    assert any(
        line.endswith("scale=small, not at its full size: its numbers compare with no published ones.")
        for line in lines
    )


def test_the_training_rows_have_the_same_table(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [row["exact_match"] for row in rows(capsys, table, results, "task=squad", "split=fit")] == [
        pytest.approx(0.15), pytest.approx(0.5),
    ]  # fmt: skip


def test_a_run_by_itself_keeps_its_report(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = rows(capsys, table, results, "task=books", "--published")
    assert (row["perplexity"], row["perplexity_published"]) == (6.5, 2.47)
    assert "bits_per_character" not in row


def test_of_the_report_nothing_is_a_parameter_of_a_run(results: Path) -> None:
    store = Store(f"sqlite:///{results / 'mlflow.db'}")
    for run in store.runs(store.experiment("squad")[1]):
        assert not {key for key in run.params if key.split(".")[0] in ("report", "scale", "scales")}
        assert not any(key.startswith("sweeper.report") for key in run.tags)


def test_a_report_too_long_for_one_tag_comes_back_whole_and_may_be_shorter_next_time(tmp_path: Path) -> None:
    view = MlflowView(None, tmp_path)
    for published in (LONG, LONG[:1], LONG[:30], []):
        view.start_sweep("1ong000000", "long", tags(ReportConfig(published=published)), {}, task="sst2")
        store = Store(f"sqlite:///{tmp_path / 'mlflow.db'}")
        (sweep,) = store.sweeps(store.experiment("sst2")[1])
        assert sweep.report == Report(published=tuple(published))


def test_importances_of_the_latest_search(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = rows(capsys, importances, results, "task=sst2")
    assert row["importances"] == {"train.learning_rate": 1.0}
    for format_name in importances.FORMATS:
        assert "learning" in printed(capsys, importances, results, "task=sst2", f"--format={format_name}")


def test_curves_and_their_picture(results: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = rows(capsys, curves, results, "task=squad", "--plot", str(tmp_path / "curves.png"))
    assert [row["method"] for row in found] == ["none", "lora"]
    assert found[0]["points"] == [[0, 0.7, None], [1, 0.35, None], [2, pytest.approx(0.7 / 3), None]]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    losses = rows(capsys, curves, results, "experiment=squad_lora", "metric=train/loss,train/epoch", "--plot",
                  str(tmp_path / "two.png"))  # fmt: skip
    assert [(row["method"], row["step"], row["train/loss"], row["train/epoch"]) for row in losses][:2] == [
        ("none", 0, 0.7, 1), ("none", 1, 0.35, 2),
    ]  # fmt: skip
    assert (tmp_path / "two.png").read_bytes().startswith(b"\x89PNG")
    (best,) = rows(capsys, curves, results, "task=sst2", "metric=eval/accuracy")
    assert best["points"] == [[3, 0.61, None]]
    (best,) = rows(capsys, curves, results, "task=sst2", "metric=eval/accuracy", "--steps")
    assert (best["step"], best["eval/accuracy"]) == (3, 0.61)


@pytest.mark.parametrize(
    ("command", "arguments", "code", "message"),
    [
        (table, ["task=squad", "sweep=all", "--published"], 1,
         "squad: all runs: published figures belong to one sweep; experiment=squad_lora shows them"),
        (table, ["task=sst2", "--published"], 1,
         "sst2: sweep 5eed5eed00 (unfinished): no published figures; an experiment names them in report.published"),
        (table, ["task=squad", "split=eval"], 1, "split=eval: no run has numbers of the selection split; "
         "task.selection_size=1000 makes some"),
        (table, ["task=squad", "split=train"], 2, "split=train: not one of test, eval, fit"),
        (table, ["task=squad", "split=fit", "--published"], 2,
         "--published: published figures are of the test split; leave out split=fit"),
        (table, ["task=squad", "columns=f2"], 2, "columns=f2: not a metric without its split; did you mean 'f1'?"),
        (importances, ["task=squad"], 1,
         "squad_lora: sweep 5ad5ad5ad0 (unfinished): importances need 10 complete trials, "
         "different in hyperparameters and in eval/accuracy; here are 0"),
        (curves, ["task=squad", "metric=fit/f1"], 1,
         "squad_lora: sweep 5ad5ad5ad0 (unfinished): no points of fit/f1; task.score_train=true makes some"),
        (curves, ["task=squad", "--plot", "no/such/c.png"], 2, "--plot no/such/c.png: No such file or directory"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_line(
    results: Path, capsys: pytest.CaptureFixture[str], command: Any, arguments: list[str], code: int, message: str
) -> None:
    assert command.main([f"output_dir={results}", *arguments]) == code
    assert capsys.readouterr().err == f"{message}\n"
