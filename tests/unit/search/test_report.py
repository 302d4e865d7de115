"""What an experiment says of its table is checked before anything runs, and is no part of what a sweep is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from sweeper.checks import ConfigError
from sweeper.config import ReportConfig
from sweeper.launch import start
from sweeper.search.record import Command
from sweeper.search.report import Kind, check_report
from sweeper.search.study import Sweep

MakeSweep = Callable[..., Sweep]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "report.columns=[acuracy]",
            "report.columns=acuracy: not a metric without its split; did you mean 'accuracy'?",
        ),
        (
            "report.columns=[test/f1_macro]",
            "report.columns=test/f1_macro: not a metric without its split; did you mean 'f1_macro'?",
        ),
        (
            "report.columns=[accuracy,perplexity]",
            "report.columns=perplexity: not measured with task.type=classification; measured: loss, accuracy, "
            "precision_macro, recall_macro, f1_macro, precision_weighted, recall_weighted, f1_weighted, "
            "likelihood_accuracy, irregular, irregular_share",
        ),
        (
            "report.published=[{accuracy:0.9,rouge1:0.4}]",
            "report.published[0]=rouge1: not measured with task.type=classification; measured: loss, accuracy, "
            "precision_macro, recall_macro, f1_macro, precision_weighted, recall_weighted, f1_weighted, "
            "likelihood_accuracy, irregular, irregular_share",
        ),
        (
            "report.published=[{when:{peft:lora},acc:0.9}]",
            "report.published[0]=acc: not a metric without its split; did you mean 'accuracy'?",
        ),
        (
            "report.published=[{accuracy:91.4}]",
            "report.published[0].accuracy=91.4: is a share of 1; write 0.914, if it is per cent",
        ),
        (
            "report.published=[{accuracy:0.9},{irregular:true}]",
            "report.published[1].irregular=True: must be a number, or text that is printed as it stands",
        ),
        (
            "report.published=[{when:lora}]",
            "report.published[0].when=lora: must be a dictionary; when: {task.train_size: 100}, say",
        ),
    ],
)
def test_a_report_that_makes_no_sense_is_one_line(make_sweep: MakeSweep, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_sweep("peft.r=2,4", override)
    assert str(caught.value) == message


def test_a_column_fits_one_type_of_task_of_the_sweep() -> None:
    kinds: list[Kind] = [("classification", ()), ("language_modeling", ())]
    check_report(ReportConfig(columns=["accuracy", "perplexity", "loss", "perf/train_s"]), kinds)
    with pytest.raises(ConfigError, match=r"exact_match: not measured with task\.type=classification or language_mode"):
        check_report(ReportConfig(columns=["exact_match"]), kinds)


def test_scores_of_written_text_are_columns_where_they_are_asked_for_and_published_anywhere() -> None:
    rouge: list[Kind] = [("question_answering", ("rouge",))]
    check_report(ReportConfig(columns=["f1", "rougeL"], published=[{"meteor": 0.4}]), rouge)
    with pytest.raises(ConfigError) as caught:
        check_report(ReportConfig(columns=["f1", "bleu", "rouge1"]), rouge)
    assert str(caught.value) == (
        "report.columns=bleu: not measured with task.metrics=[rouge]; add bleu there, or set report.columns=[f1,rouge1]"
    )


def test_counts_and_words_are_published_too(make_sweep: MakeSweep) -> None:
    entry = "{when:{task.train_size:100,train.epochs:1},irregular:all,perf/trainable_parameters:4194304,source:us}"
    sweep = make_sweep("peft.r=2,4", f"report.published=[{entry}]", "report.columns=[accuracy,train/loss]")
    assert sweep.base.report.published == [
        {"when": {"task.train_size": 100, "train.epochs": 1}, "irregular": "all",
         "perf/trainable_parameters": 4194304, "source": "us"},
    ]  # fmt: skip


def test_another_report_is_the_same_sweep_and_the_same_command(make_sweep: MakeSweep) -> None:
    plain, reported = make_sweep("peft.r=2,4"), make_sweep("peft.r=2,4", "report.columns=[f1_weighted]")
    assert reported.base.report.columns == ["f1_weighted"]
    assert reported.sweep_id == plain.sweep_id
    assert reported.base.content_hash() == plain.base.content_hash()
    keys = {Command(words).key for words in (("peft.r=2,4",), ("peft.r=2,4", "report.columns=[f1_weighted]"))}
    assert len(keys) == 1


def test_the_parent_run_is_told_the_report_and_the_scale(
    make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(start.books, "open_books", lambda *arguments: given.extend(arguments))
    start.open_books(make_sweep("peft.r=2,4", "report.columns=[f1_weighted]", "report.published=[{accuracy:0.9}]"))
    tags = given[-1]["tags"]
    assert json.loads(tags["report.columns"]) == ["f1_weighted"]
    assert json.loads(tags["report.published"]) == [{"accuracy": 0.9}]
    assert tags["scale"] == "full"
