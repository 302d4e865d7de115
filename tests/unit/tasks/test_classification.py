from __future__ import annotations

import math
from collections import Counter

import pandas as pd
import pytest

from sweeper.checks import ConfigError
from sweeper.config import DataConfig, PromptConfig, TaskConfig
from sweeper.metrics import TASK_METRICS
from tasks.classification import ClassificationTask
from tasks.task import Prediction, Prompt, load_task

ROWS = pd.DataFrame({"id": ["t-1", "t-2"], "sentence": ["a {braced} film", "so {0.x} so"], "label": [1, 0]})


def task(
    user: str = "Sentence: {sentence} \nSentiment:", answer: str = " {label}", system: str = "Be brief."
) -> ClassificationTask:
    prompt = PromptConfig(system=system, user=user, answer=answer)
    return ClassificationTask(
        TaskConfig(data=DataConfig(text="sentence"), labels=["negative", "positive"], prompt=prompt)
    )


def prediction(
    gold: int, predicted: int | None, text: str = "", scores: tuple[float, ...] = (-1.0, -2.0)
) -> Prediction:
    return Prediction("t", text, scores, gold=gold, predicted=predicted)


def test_the_template_is_filled_with_the_row_as_it_is() -> None:
    assert task().prompts(ROWS)[0] == Prompt("Be brief.", "Sentence: a {braced} film \nSentiment:")
    assert task("{text} ?").prompts(ROWS)[1].user == "so {0.x} so ?"
    assert task().candidates == [" negative", " positive"]
    assert task().golds(ROWS) == [1, 0]


@pytest.mark.parametrize("user", ["{sentence.x}", "{sentence[0]}", "{sentence!r}", "{sentence:>9}", "{}", "{sentence"])
def test_a_template_reaches_nothing_but_columns(user: str) -> None:
    with pytest.raises(ConfigError, match=r"task.prompt.user="):
        task(user)


def test_a_template_may_name_further_columns() -> None:
    assert task("{sentence} {title}").columns == ["sentence", "title"]


def test_an_answer_without_the_label_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"task.prompt.answer= yes: .* holds \{label\}"):
        task(answer=" yes")


def test_an_unknown_type_is_an_error_that_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"task.type=clasification: .* did you mean 'classification'"):
        load_task(TaskConfig(type="clasification", labels=["a", "b"]))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (" positive", 1),
        ("negative\n", 0),
        ("Positive", None),
        ("positive.", None),
        ("", None),
        ("positive negative", None),
    ],
)
def test_only_exactly_a_label_is_a_label(text: str, label: int | None) -> None:
    assert task().parse(text) == label


def test_scores_count_an_irregular_output_as_wrong() -> None:
    scores = task().score([prediction(1, 1), prediction(1, None, "i"), prediction(0, 0), prediction(0, 1)])
    assert set(scores) == {metric.name for metric in TASK_METRICS["classification"]}
    assert scores["accuracy"] == 0.5
    assert scores["precision_macro"] == pytest.approx((1 + 1 / 2) / 2)
    assert scores["recall_macro"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert scores["f1_weighted"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert (scores["irregular"], scores["irregular_share"]) == (1.0, 0.25)


def test_all_irregular_scores_zero_without_a_warning() -> None:
    scores = task().score([prediction(1, None, "i"), prediction(0, None, "all")])
    assert scores["accuracy"] == scores["f1_macro"] == scores["precision_weighted"] == 0
    assert scores["irregular_share"] == 1


def test_loss_is_the_likelihood_of_the_gold_answer_as_given() -> None:
    scores = task().score([prediction(0, None, scores=(-1.0, -2.0)), prediction(1, None, scores=(-0.5, -4.0))])
    assert math.isclose(scores["loss"], (1.0 + 4.0) / 2)
    assert scores["likelihood_accuracy"] == 0.5


def test_irregular_texts_are_counted_without_the_white_space_around_them() -> None:
    found = task().irregular([prediction(1, None, " i"), prediction(0, None, "i"), prediction(0, 0, " negative")])
    assert found == Counter({"i": 2})


def test_the_confusion_matrix_has_a_last_column_for_none() -> None:
    counts = task().confusion([prediction(1, 1), prediction(1, None), prediction(0, 1), prediction(1, 1)])
    assert counts.tolist() == [[0, 1, 0], [0, 2, 1]]


def test_the_table_names_labels_and_keeps_likelihoods() -> None:
    table = task().table(
        [prediction(1, None, "i", (-3.0, -0.25)), Prediction("h", None, (-1.0, -2.0), gold=0, predicted=0)]
    )
    columns = ["id", "gold", "predicted", "text", "log_likelihood_negative", "log_likelihood_positive"]
    assert list(table.columns) == columns
    assert table["gold"].tolist() == ["positive", "negative"]
    assert table["predicted"].isna().tolist() == [True, False]
    assert table["text"].isna().tolist() == [False, True]
    assert table["log_likelihood_positive"].tolist() == [-0.25, -2.0]
