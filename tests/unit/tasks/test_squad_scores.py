from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import files
from tasks.squad_scores import Question, exact_match, f1, normalized, scores


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat's hat, an A-team!", "cats hat ateam"),
        ("theory of a\tthing", "theory of thing"),
        ("a", ""),
        ("U.S. $1,000", "us 1000"),
        ("  ", ""),
    ],
)
def test_normalisation(text: str, expected: str) -> None:
    assert normalized(text) == expected


@pytest.mark.parametrize(
    ("predicted", "accepted", "exact", "overlap"),
    [
        ("The France.", ["france"], 1, 1),
        ("in France", ["France"], 0, 2 / 3),
        ("in in France", ["in France in Europe"], 0, 6 / 7),
        ("Paris", ["France", "Paris, France"], 0, 2 / 3),
        ("", [], 1, 1),
        ("France", [], 0, 0),
        ("", ["France"], 0, 0),
        ("the", ["France"], 0, 0),
        ("", ["the"], 1, 1),  # an accepted answer without a word is none
    ],
)
def test_one_question(predicted: str, accepted: list[str], exact: float, overlap: float) -> None:
    assert exact_match(predicted, accepted) == exact
    assert f1(predicted, accepted) == pytest.approx(overlap)


def test_scores_are_also_given_apart_for_questions_with_and_without_an_answer() -> None:
    asked = [Question("b c", ["b"]), Question("c", ["d", "c"]), Question("", []), Question("x", [])]
    assert scores(asked) == pytest.approx({
        "exact_match": 2 / 4, "has_answer_exact_match": 1 / 2, "no_answer_exact_match": 1 / 2,
        "f1": (2 / 3 + 2) / 4, "has_answer_f1": (2 / 3 + 1) / 2, "no_answer_f1": 1 / 2,
    })  # fmt: skip


def test_parts_without_questions_are_left_out() -> None:
    assert set(scores([Question("c", ["c"])])) == {
        "exact_match", "f1", "has_answer_exact_match", "has_answer_f1"
    }  # fmt: skip


def test_a_question_whose_only_answer_has_no_word_is_one_with_an_answer() -> None:
    """The official script asks whether there is a gold answer before it normalises any."""
    assert scores([Question("", ["the"])]) == {
        "exact_match": 1, "has_answer_exact_match": 1, "f1": 1, "has_answer_f1": 1
    }  # fmt: skip


def test_the_best_threshold_by_hand() -> None:
    """Below 3, the right and the half right answer stand and the wrong one is taken back."""
    asked = [
        Question("x", ["x"], 1.0),
        Question("x y", ["x"], 2.0),
        Question("x", [], 3.0),
        Question("", [], 4.0),
    ]
    found = scores(asked)
    assert (found["exact_match"], found["best_exact_match"], found["best_exact_match_threshold"]) == (0.5, 0.75, 1.0)
    assert found["f1"] == pytest.approx((1 + 2 / 3 + 1) / 4)
    assert found["best_f1"] == pytest.approx((1 + 2 / 3 + 2) / 4)
    assert found["best_f1_threshold"] == 2.0


def test_where_no_answer_should_stand_the_threshold_is_below_all() -> None:
    found = scores([Question("x", [], -7.0), Question("x", [], -5.0)])
    assert found["best_f1"] == 1
    assert found["best_f1_threshold"] < -7


def test_a_span_that_was_declined_counts_at_the_thresholds_that_let_it_stand() -> None:
    """As in the official protocol, whose predictions are never empty where there are scores: na_probs."""
    asked = [Question("z", ["z"], -1.0, "z"), Question("", ["x"], 2.0, "x"), Question("", [], 3.0, "y")]
    found = scores(asked)
    assert found["exact_match"] == found["f1"] == pytest.approx(2 / 3)
    assert found["has_answer_f1"] == 0.5
    assert found["best_exact_match"] == found["best_f1"] == 1
    assert found["best_exact_match_threshold"] == found["best_f1_threshold"] == 2


WORDS = st.sampled_from(["x", "y", "x y", "the z"])
OFFERED = st.tuples(WORDS | st.just(""), st.lists(WORDS, max_size=2), st.floats(-9, 9, allow_subnormal=False))
ASKED = st.lists(OFFERED, min_size=1, max_size=8, unique_by=lambda own: own[2])


@given(ASKED, st.booleans())
def test_the_best_threshold_is_that_of_trying_all(asked: list[tuple[str, list[str], float]], is_head: bool) -> None:
    """A head offers a span for every question, and declines by its score; who writes declines by writing nothing."""
    questions = [
        Question("" if is_head and score > 0 else text, accepted, score, text if is_head else None)
        for text, accepted, score in asked
    ]
    found = scores(questions)
    for name, measure in (("exact_match", exact_match), ("f1", f1)):

        def at(limit: float, measure: Callable[[str, list[str]], float] = measure) -> float:
            answers = [(text if score <= limit else "", accepted) for text, accepted, score in asked]
            return sum(measure(*answer) for answer in answers) / len(answers)

        best = max(map(at, [-10.0, *(score for _, _, score in asked)]))
        assert found[f"best_{name}"] == pytest.approx(best)
        assert at(found[f"best_{name}_threshold"]) == pytest.approx(best)
        assert found[f"best_{name}"] >= found[name] - 1e-12
        assert 0 <= found[name] <= 1
    assert found["exact_match"] <= found["f1"] + 1e-12


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bert_single", (78.7417, 81.7753, 74.11, 80.18, 83.36)),
        ("bidaf_sa_elmo_single", (65.7037, 67.8765, 61.42, 65.77, 69.97)),
    ],
)
def test_published_predictions_have_their_published_scores(
    data_dir: Path, name: str, expected: tuple[float, ...]
) -> None:
    folder = data_dir / "squad"
    predictions = json.loads(gzip.decompress((folder / "predictions-dev-v2.0" / f"{name}.json.gz").read_bytes()))
    rows = files.read(folder / "dev-v2.0.json", "key")
    accepted = [[answer["text"] for answer in own] for own in rows["answers"]]
    asked = [Question(predictions[name], own) for name, own in zip(rows["id"], accepted, strict=True)]
    found = {key: 100 * value for key, value in scores(asked).items()}
    assert round(found["exact_match"], 4) == expected[0]
    assert round(found["f1"], 4) == expected[1]
    assert round(found["has_answer_exact_match"], 2) == expected[2]
    assert round(found["has_answer_f1"], 2) == expected[3]
    assert round(found["no_answer_exact_match"], 2) == round(found["no_answer_f1"], 2) == expected[4]
