"""The Pareto front read back from a real MLflow store that the tracking wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import pareto
from analysis.load import NothingToShow
from sweeper.tracking.mlflow_view import MlflowView
from tests.synthetic_runs import SyntheticRun

pytestmark = pytest.mark.integration
SIZE, SECONDS, MEMORY = "perf/trainable_parameters", "perf/train_s", "perf/peak_memory_gib"
SWEEP = "5eed5eed00"


def tried(rate: float, accuracy: float, size: int, **changes: object) -> SyntheticRun:
    costs = {SIZE: size, SECONDS: 2.5, MEMORY: 1 / size}
    fields = {"learning_rate": rate, "eval_accuracy": accuracy, "accuracy": 0.6, "metrics": costs} | changes
    return SyntheticRun(**fields)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cells; the larger rates are the cheaper and the worse. An older sweep has several objectives."""
    output_dir = tmp_path_factory.mktemp("mlruns")
    view = MlflowView(None, output_dir)
    old = view.start_sweep("01d", "published", {"objective": f"eval/accuracy,{MEMORY}"}, {}, task="sst2")
    for rate, accuracy, size in ((0.5, 0.8, 10), (0.6, 0.7, 100), (0.7, 0.7, 50)):
        view.publish(tried(rate, accuracy, size, sweep_id="01d").write(output_dir), old)
    parent = view.start_sweep(SWEEP, "sst2 mini: peft", {}, {}, task="sst2")
    for run in (
        tried(0.1, 0.7, 100),
        tried(0.01, 0.9, 10_000),
        tried(0.001, 0.7, 20_000),
        tried(0.02, 0.99, 1, state="PRUNED"),
        tried(0.03, 0.99, 1, state="FAILED", reason="timeout"),
        tried(0.1, 0.8, 500, method="qlora"),
        tried(0.2, float("nan"), 500, method="qlora"),
    ):
        view.publish(run.write(output_dir), parent)
    view.publish(SyntheticRun(task="demo", demo=True, state="FAILED", reason="error").write(output_dir))
    return output_dir


def printed(results: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert pareto.main([f"output_dir={results}", "task=sst2", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return "\n".join(line.rstrip() for line in captured.out.splitlines())


def test_every_complete_point_with_its_mark_the_best_first(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    title, grid, notes = printed(results, capsys, "--format=markdown").split("\n\n")
    assert title == f"**sst2: sweep {SWEEP} (unfinished), Pareto front**"
    heads, _, *rows = [line.strip("| ").split(" | ") for line in grid.splitlines()]
    assert heads == ["Front", "Model", "Method", "Examples (epochs)", "eval/accuracy % ↑", f"{SIZE} ↓", f"{SECONDS} ↓",
                     "test/accuracy %", "Hyperparameters"]  # fmt: skip
    assert rows == [
        ["*", "mini", "lora", "100 (3)", "90.0", "10,000", "2.5", "60.0", "learning_rate=0.01"],
        ["*", "mini", "qlora", "100 (3)", "80.0", "500", "2.5", "60.0", "learning_rate=0.1"],
        ["*", "mini", "lora", "100 (3)", "70.0", "100", "2.5", "60.0", "learning_rate=0.1"],
        ["mini", "lora", "100 (3)", "70.0", "20,000", "2.5", "60.0", "learning_rate=0.001"],
    ]
    left = "1 point pruned, 1 point not complete, 1 point without a finite eval/accuracy"
    assert f"- Left out: {left}." in notes.splitlines()
    assert len(printed(results, capsys, "--format=markdown", "--front").split("\n\n")[1].splitlines()) == 5


def test_the_objectives_are_the_sweeps_or_those_asked_for(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pareto.main([f"output_dir={results}", "experiment=published", "--format=json"]) == 0
    own = json.loads(capsys.readouterr().out)
    assert [objective["name"] for objective in own["objectives"]] == ["eval/accuracy", MEMORY]
    assert [row["front"] for row in own["rows"]] == [True, True, False]
    asked = json.loads(printed(results, capsys, "sweep=01d", f"objectives={SIZE},eval/accuracy", "--format=json"))
    assert [row[SIZE] for row in asked["rows"]] == [10, 50, 100]
    assert [row["front"] for row in asked["rows"]] == [True, False, False]


def test_all_formats_and_a_picture(results: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for format_name in pareto.FORMATS:
        assert "qlora" in printed(results, capsys, f"--format={format_name}")
    printed(results, capsys, "--plot", str(tmp_path / "front.png"))
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
    assert pareto.main([f"output_dir={results}", "task=sst2", "--plot", str(tmp_path / "no" / "front.png")]) == 2
    assert capsys.readouterr().err == f"--plot {tmp_path}/no/front.png: No such file or directory\n"


def test_table_of_prints_the_front_of_a_sweep(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uri = f"sqlite:///{results / 'mlflow.db'}"
    pareto.table_of(uri, sweep_id="01d")
    shown = capsys.readouterr().out
    assert "published: sweep 01d (unfinished), Pareto front" in shown
    assert f"{MEMORY} ↓" in shown
    with pytest.raises(NothingToShow, match="nope: not in MLflow"):
        pareto.table_of(uri, sweep_id="nope")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["task=demo"], 1, f"demo: all runs: no complete point with eval/accuracy, {SIZE}, {SECONDS}; "
                           "left out: 1 point not complete"),
        (["task=sst2", "sweep=x"], 2, f"sweep=x: not a sweep of sst2; there is {SWEEP}, 01d, latest, all"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_line(
    results: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    assert pareto.main([f"output_dir={results}", *arguments]) == code
    assert capsys.readouterr() == ("", f"{message}\n")


def test_the_command_as_a_person_types_it(results: Path) -> None:
    command = [sys.executable, "-m", "analysis.pareto", "task=sst2", f"output_dir={results}", "--front"]
    root = Path(pareto.__file__).parents[1]
    done = subprocess.run(command, cwd=root, env=os.environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Pareto front" in done.stdout
