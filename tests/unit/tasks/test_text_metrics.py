"""Each metric against a second reckoning: another library's, a plain count, or figures worked out by hand."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("sacrebleu", reason="needs the extra `text`")
from nltk.translate.bleu_score import corpus_bleu

from sweeper.checks import ConfigError
from tasks import score_packages
from tasks.text_metrics import Bleu, LabelScores, Meteor, Rouge, SquadV2, text_scores

PREDICTIONS = ["the cat sat on the mat today", "in France, of course", "nothing"]
REFERENCES = [
    ["a cat sat on the mat today", "there is a cat on the mat"],
    ["in France"],
    ["everything", "x", "no thing"],
]


def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", tmp_path / "metrics")
    assert Rouge().compute(predictions=["a"], references=[["a"]])["rouge1"] == 1
    assert list(tmp_path.iterdir()) == []


def test_squad_takes_questions_without_references() -> None:
    found = SquadV2().compute(predictions=["", "x"], references=[[], ["x"]], no_answer_scores=[1.0, 0.0])
    assert found["exact_match"] == found["no_answer_f1"] == found["best_f1"] == 1


SENTENCES = st.lists(st.sampled_from("abc"), min_size=4, max_size=9).map(" ".join)  # every n-gram order is there
CORPORA = st.lists(st.tuples(SENTENCES, st.lists(SENTENCES, min_size=1, max_size=3)), min_size=1, max_size=4)


@given(CORPORA)
def test_bleu_is_that_of_another_library(corpus: list[tuple[str, list[str]]]) -> None:
    """nltk's, of the same tokens; neither smooths where n-grams of every length match."""
    corpus = [*corpus, ("a b c d e", ["a b c d f"])]
    tokens = [([own.split() for own in references], text.split()) for text, references in corpus]
    expected = corpus_bleu(*map(list, zip(*tokens, strict=True)))
    predictions, references = map(list, zip(*corpus, strict=True))
    assert Bleu().compute(predictions=predictions, references=references)["bleu"] == pytest.approx(expected)


def test_bleu_by_hand() -> None:
    """All but the first word is right, so of n-grams of each length all but the first."""
    found = Bleu().compute(predictions=["x b c d e f g"], references=[["a b c d e f g"]])["bleu"]
    assert found == pytest.approx((6 / 7 * 5 / 6 * 4 / 5 * 3 / 4) ** 0.25)


def common(left: list[str], right: list[str]) -> int:
    """Length of the longest common subsequence."""
    if not left or not right:
        return 0
    if left[0] == right[0]:
        return 1 + common(left[1:], right[1:])
    return max(common(left[1:], right), common(left, right[1:]))


def rouge(text: str, reference: str) -> dict[str, float]:
    mine, gold = text.split(), reference.split()
    grams = {f"rouge{n}": [Counter(zip(*(side[first:] for first in range(n)), strict=False)) for side in (mine, gold)]
             for n in (1, 2)}  # fmt: skip
    shared = {name: (ours & theirs).total() for name, (ours, theirs) in grams.items()}
    both = {name: ours.total() + theirs.total() for name, (ours, theirs) in grams.items()}
    shared["rougeL"], both["rougeL"] = common(mine, gold), len(mine) + len(gold)
    return {name: 2 * shared[name] / both[name] if both[name] else 0.0 for name in shared}  # F of the two shares


SHORT = st.lists(st.sampled_from("abc"), max_size=6).map(" ".join)


@given(st.lists(st.tuples(SHORT, st.lists(SHORT, min_size=1, max_size=3)), min_size=1, max_size=3))
def test_rouge_is_counted_with_the_nearest_reference(corpus: list[tuple[str, list[str]]]) -> None:
    predictions, references = map(list, zip(*corpus, strict=True))
    found = Rouge().compute(predictions=predictions, references=references)
    for kind in ("rouge1", "rouge2", "rougeL"):
        best = [max(rouge(text, reference)[kind] for reference in own) for text, own in corpus]
        assert found[kind] == pytest.approx(np.mean(best))


def test_rouge_by_hand() -> None:
    found = Rouge().compute(predictions=["b a c"], references=[["a b c d"]])
    assert found == pytest.approx({"rouge1": 2 * 3 / 7, "rouge2": 0.0, "rougeL": 2 * 2 / 7})


@pytest.fixture
def with_wordnet(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPER_DATA", str(data_dir))
    score_packages.wordnet.cache_clear()


class NoWords:
    """A WordNet without entries."""

    def synsets(self, word: str) -> list[str]:
        return []


def meteor(matches: int, chunks: int, length: int, gold: int) -> float:
    """https://aclanthology.org/W05-0909: F that weighs recall nine times, less half the cube of chunks per match."""
    precision, recall = matches / length, matches / gold
    return 10 * precision * recall / (recall + 9 * precision) * (1 - 0.5 * (chunks / matches) ** 3)


@pytest.mark.parametrize(
    ("text", "references", "expected"),
    [
        ("a cat sat", ["a cat sat"], meteor(3, 1, 3, 3)),
        ("a cat sat", ["sat a cat"], meteor(3, 2, 3, 3)),
        ("A cat", ["the cat ran off"], meteor(1, 1, 2, 4)),
        ("cats run", ["a cat runs"], meteor(2, 1, 2, 3)),  # stems
        ("in France, of course", ["in France"], meteor(2, 1, 5, 2)),  # the comma is a token
        ("nothing", ["everything", "nothing at all"], meteor(1, 1, 1, 3)),  # the nearest reference
        ("film", ["movie"], 0.0),
    ],
)
def test_meteor_by_hand(monkeypatch: pytest.MonkeyPatch, text: str, references: list[str], expected: float) -> None:
    monkeypatch.setattr(score_packages, "wordnet", NoWords)
    assert Meteor().compute(predictions=[text], references=[references])["meteor"] == pytest.approx(expected)
    pair = Meteor().compute(predictions=[text, "x"], references=[references, ["y"]])
    assert pair["meteor"] == pytest.approx(expected / 2)


@pytest.mark.usefixtures("with_wordnet")
def test_meteor_knows_stems_and_synonyms() -> None:
    """The example of nltk's documentation, and a synonym. One match: precision and recall 1, half off for one chunk."""
    prediction = "It is a guide to action which ensures that the military always obeys the commands of the party"
    reference = "It is a guide to action that ensures that the military will forever heed Party commands"
    found = Meteor().compute(predictions=[prediction], references=[[reference]])
    assert round(found["meteor"], 4) == 0.6944
    assert Meteor().compute(predictions=["pic"], references=[["film"]])["meteor"] == pytest.approx(0.5)
    assert Meteor().compute(predictions=["cat"], references=[["film"]])["meteor"] == 0


def test_meteor_without_wordnet_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import nltk.data

    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    monkeypatch.setenv("SWEEPER_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match=r"task\.metrics=meteor: needs the WordNet data .*; .*NLTK_DATA"):
        score_packages.check(["bleu", "meteor"])
    score_packages.check(["bleu", "rouge"])
    assert os.listdir(tmp_path) == []


def test_a_missing_package_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(score_packages.PACKAGES, "bleu", "no_such_package")
    with pytest.raises(ConfigError, match=r"task\.metrics=bleu: needs the package no_such_package; pip install"):
        score_packages.check(["bleu"])


def test_families_are_computed_together() -> None:
    assert set(text_scores(["bleu", "rouge"], PREDICTIONS, REFERENCES)) == {"bleu", "rouge1", "rouge2", "rougeL"}
    assert text_scores([], PREDICTIONS, REFERENCES) == {}


PAIRS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=20)


@given(PAIRS)
def test_scores_of_labels_are_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    gold, predicted = ([pair[side] for pair in pairs] for side in (0, 1))
    found = LabelScores().compute(predictions=predicted, references=gold, num_labels=3)
    assert found["accuracy"] == pytest.approx(np.mean([left == right for left, right in pairs]))
    for average in ("macro", "weighted"):
        options = {"labels": [0, 1, 2], "average": average, "zero_division": 0}
        assert found[f"f1_{average}"] == pytest.approx(sklearn.metrics.f1_score(gold, predicted, **options))
        assert found[f"recall_{average}"] == pytest.approx(sklearn.metrics.recall_score(gold, predicted, **options))
        expected = sklearn.metrics.precision_score(gold, predicted, **options)
        assert found[f"precision_{average}"] == pytest.approx(expected)
