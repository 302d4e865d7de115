from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from analysis.load import Run
from analysis.render import print_text, render
from tests.made_up_runs import column, run, sweep, table


def test_the_table_in_full() -> None:
    console = Console(width=120, file=io.StringIO())
    print_text(table([run(1000, 0.781), run(100, 0.615, irregular=3)], texts={"i": 3}), console)
    assert [line.rstrip() for line in console.file.getvalue().splitlines()] == [  # type: ignore[attr-defined]
        "sst2",
        "",
        " Model   Method   Examples (epochs)   Accuracy %   F1 %   Training loss   Irregular",
        " ──────────────────────────────────────────────────────────────────────────────────",
        " mini    lora               100 (2)         61.5   61.5   0.700 → 0.200     3: i ×3",
        " mini    lora             1,000 (2)         78.1   78.1   0.700 → 0.200           0",
        "",
        "Data: files: a.tsv (sha256 d1d1d1d1d1d1)",
        "Evaluation: the test split; an irregular output counts as wrong; F1 is macro.",
    ]


def test_sizes_ascend_and_full_comes_last() -> None:
    result = table([run("full"), run(10_000), run(100), run(1000)])
    assert column(result, "Examples (epochs)") == ["100 (2)", "1,000 (2)", "10,000 (2)", "66,349 (2)"]


def test_models_and_methods_come_as_the_sweep_lists_them() -> None:
    design = [{"model": model, "peft": peft} for model in ("zeta", "alpha") for peft in ("qlora", "lora")]
    runs = [run(model=cell["model"], method=cell["peft"], cell=cell) for cell in reversed(design)]
    result = table(runs, sweep(*design))
    assert [(row.model, row.method) for row in result.rows] == [(cell["model"], cell["peft"]) for cell in design]


def test_a_design_axis_of_its_own_is_a_column_of_its_own() -> None:
    design = [{"task.train_size": 100, "train.epochs": epochs} for epochs in (1, 4)]
    assert column(table([run(cell=cell) for cell in design], sweep(*design)), "train.epochs") == ["1", "4"]


def test_replicates_are_a_mean_and_a_deviation() -> None:
    result = table([run(accuracy=value, seed=seed) for seed, value in enumerate((0.80, 0.82, 0.84))])
    assert column(result, "Accuracy %") == ["82.0 ± 2.0"]
    assert "± is the standard deviation over seeds." in result.notes


def test_failed_replicates_are_counted() -> None:
    runs = [run(seed=seed) for seed in range(4)] + [run(accuracy=None, seed=4, state="FAILED", reason="diverged")]
    result = table(runs)
    assert column(result, "Accuracy %") == ["80.0 ± 0.0 (n = 4 of 5)"]
    assert any(note.endswith("s4-0.001: failed: diverged") for note in result.notes)


def test_replicates_that_never_started_are_counted() -> None:
    assert column(table([run()], sweep(replicates=3)), "Accuracy %") == ["80.0 (n = 1 of 3)"]


@pytest.mark.parametrize(
    ("runs", "shown"),
    [
        ([run(accuracy=None, state="FAILED", reason="out of memory")], "failed: out of memory"),
        ([run(accuracy=None, state="PRUNED")], "pruned"),
        ([run(accuracy=None, state="KILLED", reason="killed")], "killed"),
        ([run(accuracy=None, state="FAILED", reason="killed")], "failed: killed"),
        ([run(accuracy=None, state="FAILED", reason="timeout")], "failed: timeout"),
        ([run(accuracy=None, state="UNFINISHED")], "unfinished"),
        (
            [run(accuracy=None, state="FAILED", reason="diverged", rate=rate) for rate in ("1", "2")]
            + [run(accuracy=None, state="PRUNED", rate="3")],
            "2 failed: diverged, 1 pruned",
        ),
    ],
)
def test_a_cell_without_a_result_says_why(runs: list[Run], shown: str) -> None:
    assert column(table(runs), "Accuracy %") == [shown]


def test_a_cell_that_never_ran_is_missing_and_keeps_its_place() -> None:
    design = [{"task.train_size": size} for size in (100, 1000, "full")]
    result = table([run(100), run("full")], sweep(*design))
    assert column(result, "Accuracy %") == ["80.0", "missing", "80.0"]
    assert column(result, "Model") == ["mini"] * 3


def test_a_missing_cell_has_the_names_that_its_neighbours_have() -> None:
    design = [{"model": "file_name", "task.train_size": size} for size in (100, 1000)]
    assert column(table([run(100, model="Name", cell=design[0])], sweep(*design)), "Model") == ["Name", "Name"]


def test_the_selection_metric_chooses_and_the_test_metric_is_shown() -> None:
    tried = [run(rate="0.001", eval=0.9, accuracy=0.7), run(rate="0.01", eval=0.8, accuracy=0.99)]
    result = table(tried)
    assert column(result, "Accuracy %") == ["70.0"]
    assert column(result, "Best hyperparameters") == ["learning_rate=0.001"]


def test_a_whole_point_is_chosen_before_a_lucky_partial_one() -> None:
    whole = [run(rate="0.001", seed=seed, accuracy=0.7) for seed in (0, 1)]
    partial = [run(rate="0.01", seed=0, accuracy=0.9), run(rate="0.01", seed=1, accuracy=None, state="FAILED")]
    assert column(table([*partial, *whole]), "Best hyperparameters") == ["learning_rate=0.001"]


def tried(rate: str, trial: int, accuracy: float = 0.8, loss: float | None = 1.0) -> Run:
    """A run whose test accuracy tells which one was chosen."""
    found = run(accuracy=trial / 10, rate=rate, eval=accuracy)
    metrics = found.metrics if loss is None else {**found.metrics, "eval/loss": loss}
    return replace(found, metrics=metrics, tags={**found.tags, "sweeper.trial": str(trial)})


def test_of_equal_points_the_one_of_lower_selection_loss_is_chosen() -> None:
    points = [tried("0.1", 0, loss=0.6), tried("0.2", 1, loss=0.5), tried("0.3", 2, accuracy=0.7, loss=0.1)]
    for runs in (points, points[::-1]):
        assert column(table(runs), "Best hyperparameters") == ["learning_rate=0.2"]


def test_of_points_equal_in_both_the_first_trial_is_chosen() -> None:
    points = [tried("0.1", 4), tried("0.2", 3), tried("0.3", 5), tried("0.4", 2, loss=None)]
    for runs in (points, points[::-1]):
        assert column(table(runs), "Best hyperparameters") == ["learning_rate=0.2"]


def test_what_is_not_a_number_is_not_chosen() -> None:
    points = [tried("0.1", 0, accuracy=float("nan")), tried("0.2", 1, accuracy=0.6)]
    assert column(table(points), "Best hyperparameters") == ["learning_rate=0.2"]


def test_without_a_selection_metric_nothing_is_chosen_in_silence() -> None:
    runs = [run(rate=rate) for rate in ("1", "2")]
    for tried in runs:
        del tried.metrics["eval/accuracy"]  # type: ignore[attr-defined]
    assert column(table(runs), "Accuracy %") == ["no eval/accuracy to choose by"]


@pytest.mark.parametrize(
    ("count", "texts", "shown"),
    [
        (0, {}, "0"),
        (3, {"i": 3}, "3: i ×3"),
        (3, {"b": 1, "a": 1, "": 1}, "3: '' ×1, a ×1, b ×1"),
        (4, {"a": 1, "b": 1, "c": 1, "d": 1}, "4 (4 texts)"),
        (1, {"the film is a triumph of everything": 1}, "1: the film is a triump… ×1"),
        (872, {"i": 872}, "all"),
    ],
)
def test_irregular_outputs_are_spelled_out_where_they_are_few(count: int, texts: dict[str, int], shown: str) -> None:
    assert column(table([run(irregular=count)], texts=texts), "Irregular") == [shown]


def test_demo_data_and_different_data_are_said_above_the_table() -> None:
    result = table([run(demo="true"), run(1000, digest="e2" * 32, demo="true")])
    assert result.warnings[0] == "DEMO DATA, not SST-2: files: a.tsv"
    assert result.warnings[1].startswith("NOT COMPARABLE")
    assert len([note for note in result.notes if note.startswith("Data:")]) == 2


def test_zero_shot_trained_on_nothing() -> None:
    zero = run(method="none")
    metrics = {name: value for name, value in zero.metrics.items() if not name.startswith("train/")}
    zero = Run(zero.run_id, "", "COMPLETE", 0, zero.params, metrics | {"data/train_examples": 0}, zero.tags)
    result = table([zero])
    assert (column(result, "Examples (epochs)"), column(result, "Training loss")) == (["0 (zero-shot)"], ["–"])


def test_irregular_outputs_are_spoken_of_where_something_is_written() -> None:
    encoder, headed = {"model.architecture": "encoder"}, {"task.head": "true"}
    machine = {"model.architecture": "classical", "task.head": "false"}
    silent = [run(method=str(number), params=params) for number, params in enumerate((encoder, headed, machine))]
    assert "Evaluation: the test split; F1 is macro." in table(silent).notes
    assert any("irregular" in note for note in table([*silent, run()]).notes)


def test_hyperparameters_have_four_digits_for_a_person_and_all_for_a_program() -> None:
    best = {"train.epochs": "1.0", "train.batch_size": "1024", "train.warmup_steps": "0.030004", "peft.bias": "none",
            "train.max_steps": "20000.0", "peft.target_modules": '["q_proj"]'}  # fmt: skip
    others = dict.fromkeys(best, "7")
    result = table([run(rate="0.0003400868580773002", eval=0.9, params=best), run(eval=0.1, params=others)])
    assert column(result, "Best hyperparameters") == [
        "learning_rate=0.0003401, epochs=1, batch_size=1024, warmup_steps=0.03, bias=none, max_steps=20000, "
        'target_modules=["q_proj"]'
    ]
    (row,) = json.loads(render(result, "json"))["rows"]
    assert row["hyperparameters"]["train.learning_rate"] == "0.0003400868580773002"


def test_markdown_and_latex_escape_what_they_must() -> None:
    result = table([run(irregular=2, method="a_b")], texts={"x|y": 1, "50%": 1})
    assert r"2: 50% ×1, x\|y ×1" in render(result, "markdown")
    assert r"mini & a\_b & 100 (2) & 80.0 & 80.0 & 0.700 $\to$ 0.200 & 2: 50\% $\times$1, x|y $\times$1 \\" in render(
        result, "latex"
    )


def test_csv_and_json_carry_plain_numbers_and_the_warning() -> None:
    result = table([run(demo="true"), run(1000, accuracy=None, state="FAILED", reason="error")])
    first, second = csv.DictReader(io.StringIO(render(result, "csv")))
    assert (first["accuracy"], first["n"], second["accuracy"], second["problem"]) == ("0.8", "1", "", "failed: error")
    assert first["warning"] == second["warning"] == "DEMO DATA, not SST-2: files: a.tsv"
    content = json.loads(render(result, "json"), parse_constant=pytest.fail)
    assert content["rows"][0]["accuracy"] == 0.8
    assert content["rows"][0]["run_ids"] == ["sst2-mini-lora-100-s0-0.001"]


def test_nan_is_null_in_json() -> None:
    assert json.loads(render(table([run(accuracy=float("nan"))]), "json"))["rows"][0]["accuracy"] is None
