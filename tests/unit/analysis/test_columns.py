"""Which columns a table has: the task's own, or those that its experiment asks for; of one split."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.columns import DEFAULT, HEADINGS, OPTIONAL, Column, columns_of
from analysis.load import BadArgument, NothingToShow, Report, Run
from analysis.render import cells, render
from analysis.tables import Table, View
from sweeper.metrics import TASK_METRICS, column_metrics
from tests.made_up_runs import answered, column, modeled, run, table

ASKED = ("accuracy", "precision_weighted", "irregular_share", "perf/trainable_parameters")


def headings(result: Table) -> list[str]:
    return cells(result)[0][3:]


def asked(*names: str, split: str = "test") -> View:
    return View(split, report=Report(columns=names))


def test_question_answering_has_its_official_scores() -> None:
    written = {"test/bleu": 0.4494, "test/rougeL": 0.517, "test/no_answer_exact_match": 0.25}
    result = table([answered(0.456, 0.5, metrics=written), answered(0.3, 0.4, size=500)])
    assert headings(result) == ["Exact match %", "F1 %", "NoAns EM %", "BLEU %", "ROUGE-L %", "Training loss"]
    assert column(result, "BLEU %") == ["44.9", "–"]
    assert column(result, "Training loss") == ["2.500 → 1.250"] * 2
    (note,) = [note for note in result.notes if note.startswith("Evaluation")]
    assert note == "Evaluation: the test split; exact match and F1 are SQuAD's."
    (first, _) = json.loads(render(result, "json"))["rows"]
    assert (first["exact_match"], first["bleu"], first["search_exact_match"]) == (0.456, 0.4494, None)
    assert not {"accuracy", "irregular", "irregular_texts"} & first.keys()


def test_a_model_that_declines_every_question_is_seen_to() -> None:
    result = table([answered(0.5, 0.5, metrics={"test/no_answer_share": 1.0}), answered(size=500)])
    assert headings(result)[:3] == ["Exact match %", "F1 %", "No answer %"]
    assert column(result, "No answer %") == ["100.0", "–"]


def test_question_answering_without_scores_of_written_text_has_no_columns_for_them() -> None:
    assert headings(table([answered()])) == ["Exact match %", "F1 %", "Training loss"]


def test_language_modeling_has_perplexities() -> None:
    result = table([modeled(6.56), modeled(12_345.6, size=500)])
    assert headings(result) == ["Perplexity", "Bits per character", "Training loss"]
    assert column(result, "Perplexity") == ["6.56", "12,346"]
    assert any("compares only with those of the same tokenizer" in note for note in result.notes)
    assert not any("irregular" in note or "macro" in note for note in result.notes)
    first, _ = csv.DictReader(io.StringIO(render(result, "csv")))
    assert (first["perplexity"], first["bits_per_character"], first["loss_last"]) == ("6.56", "1.25", "1.25")


def test_of_several_points_the_one_that_the_task_seeks_is_shown() -> None:
    """By eval/f1, and of running text by eval/loss, of which less is better."""
    answers = [answered(0.1, f1, rate=str(f1), trial=number) for number, f1 in enumerate((0.5, 0.7, 0.6))]
    assert column(table(answers), "F1 %") == ["70.0"]
    texts = [modeled(value, rate=str(value), trial=number) for number, value in enumerate((4.0, 2.5, 3.0))]
    assert column(table(texts), "Perplexity") == ["2.5"]
    assert (
        "Hyperparameters: the best of each cell by eval/loss, on other rows than the test split." in table(texts).notes
    )


def test_an_experiment_says_which_columns_it_has() -> None:
    metrics = {"test/precision_weighted": 0.7842, "perf/trainable_parameters": 4_194_304}
    result = table([run(irregular=218, metrics=metrics)], view=asked(*ASKED))
    assert headings(result) == ["Accuracy %", "Precision (weighted) %", "Irregular %", "Trainable parameters"]
    assert cells(result)[1][0][3:] == ["80.0", "78.4", "25.0", "4,194,304"]
    (record,) = json.loads(render(result, "json"))["rows"]
    assert (record["precision_weighted"], record["perf/trainable_parameters"]) == (0.7842, 4_194_304)
    assert "f1" not in record
    assert not any("macro" in note for note in result.notes)


def test_a_person_may_ask_for_other_columns_than_the_experiment() -> None:
    view = View(columns=["f1_macro"], report=Report(columns=ASKED))
    assert headings(table([run()], view=view)) == ["F1 %"]


def test_what_an_experiment_says_of_its_table_makes_no_other_point() -> None:
    of_the_table = {"report.columns": "[]", "report.published": "[]", "scale": "small", "scales.small": '["seed=1"]'}
    result = table([run(params=of_the_table), run(seed=1)])
    assert "Best hyperparameters" not in headings(result)
    assert result.rows[0].num_points == 1


def test_the_first_column_says_why_there_are_no_numbers() -> None:
    failed = answered(state="FAILED", reason="out of memory")
    assert cells(table([failed], view=asked("f1", "perf/train_s")))[1][0][3:] == ["failed: out of memory", "–"]


def test_parameters_are_counts_and_have_no_deviation_where_seeds_agree() -> None:
    metrics = {"perf/total_parameters": 1_235_814_400, "perf/changed_parameters": 973_078_528}
    runs = [run(seed=seed, accuracy=0.8 + seed / 10, metrics=metrics) for seed in (0, 1)]
    result = table(runs, view=asked("accuracy", *metrics))
    assert cells(result)[1][0][3:] == ["85.0 ± 7.1", "1,235,814,400", "973,078,528"]


@pytest.mark.parametrize(
    ("split", "shown", "note"),
    [
        ("test", "80.0", "Evaluation: the test split; an irregular output counts as wrong; F1 is macro."),
        ("fit", "99.0", "Evaluation: the training rows themselves; an irregular output counts as wrong; F1 is macro."),
        ("eval", "85.0", "Evaluation: the selection split, by which checkpoints and hyperparameters are chosen; "
                         "an irregular output counts as wrong; F1 is macro."),
    ],
)  # fmt: skip
def test_the_same_table_of_another_split_says_which_it_is(split: str, shown: str, note: str) -> None:
    of_fit = {"fit/accuracy": 0.99, "fit/f1_macro": 0.9, "fit/irregular": 2, "fit/irregular_share": 0.02}
    result = table([run(eval=0.85, irregular=5, metrics=of_fit)], texts={"i": 5}, view=View(split))
    assert column(result, "Accuracy %") == [shown]
    assert column(result, "Irregular") == {"test": ["5: i ×5"], "fit": ["2"], "eval": ["–"]}[split]
    assert note in result.notes
    assert (
        result.title == {"test": "sst2", "fit": "sst2, the training rows", "eval": "sst2, the selection split"}[split]
    )
    content = json.loads(render(result, "json"))
    assert content["split"] == split
    assert content["rows"][0]["accuracy"] == float(shown) / 100


@pytest.mark.parametrize(("split", "key"), [("fit", "task.score_train=true"), ("eval", "task.selection_size=1000")])
def test_a_split_that_no_run_measured_names_the_key_that_does(split: str, key: str) -> None:
    without = run()
    del without.metrics["eval/accuracy"]  # type: ignore[attr-defined]
    with pytest.raises(NothingToShow, match=rf"^split={split}: no run has numbers of .*; {key} makes some$"):
        table([without], view=View(split))


def test_runs_without_results_are_shown_whatever_the_split() -> None:
    assert column(table([run(accuracy=None, state="FAILED")], view=View("fit")), "Accuracy %") == ["failed"]


@pytest.mark.parametrize(
    ("name", "fix"),
    [("test/accuracy", "did you mean 'accuracy'?"), ("f1_wieghted", "did you mean 'f1_weighted'?")],
)
def test_a_column_that_is_no_metric_is_refused(name: str, fix: str) -> None:
    with pytest.raises(BadArgument, match=f"^report.columns={name}: not a metric without its split; ") as caught:
        columns_of([run()], [name], "test")
    assert str(caught.value).endswith(fix)


def test_every_metric_of_a_task_has_a_heading_and_the_defaults_are_metrics_of_their_task() -> None:
    for task_type, metrics in TASK_METRICS.items():
        names = {metric.name for metric in metrics}
        assert names <= HEADINGS.keys()
        assert {name for name in DEFAULT[task_type] if "/" not in name} <= names
    assert HEADINGS.keys() <= column_metrics().keys()
    assert {name for names in DEFAULT.values() for name in names} >= OPTIONAL


@given(st.sampled_from(sorted(column_metrics())), st.floats(allow_nan=True, allow_infinity=True))
def test_every_metric_is_written_in_every_format_whatever_its_value(name: str, value: float) -> None:
    found: Run = run(metrics={Column(name).metric: value, "train/loss_last": value})
    result = table([found], view=View(columns=["accuracy", name]))
    assert len(cells(result)[0]) == len(cells(result)[1][0])
    for format_name in ("markdown", "csv", "latex", "json"):
        assert render(result, format_name)
