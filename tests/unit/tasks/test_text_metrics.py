"""Each metric against its library asked directly, and against figures worked out by hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("sacrebleu", reason="needs the extra `text`")
import sacrebleu
from nltk.translate.meteor_score import meteor_score
from rouge_score.rouge_scorer import RougeScorer

from sweeper.checks import ConfigError
from tasks import wordnet
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


def test_bleu_is_sacrebleus() -> None:
    """Which wants one list for the first references, one for the second, ..., and equally many of each."""
    own = [references[:1] for references in REFERENCES]
    expected = sacrebleu.corpus_bleu(PREDICTIONS, [[references[0] for references in own]]).score
    assert Bleu().compute(predictions=PREDICTIONS, references=own)["bleu"] == pytest.approx(expected / 100)
    padded = [*REFERENCES[:1], REFERENCES[1] * 2, REFERENCES[2][:2]]
    ragged = [*REFERENCES[:1], REFERENCES[1], REFERENCES[2][:2]]
    expected = sacrebleu.corpus_bleu(PREDICTIONS, [list(stream) for stream in zip(*padded, strict=True)]).score
    assert Bleu().compute(predictions=PREDICTIONS, references=ragged)["bleu"] == pytest.approx(expected / 100)


def test_bleu_by_hand() -> None:
    """All but the first word is right, so of n-grams of each length all but the first."""
    found = Bleu().compute(predictions=["x b c d e f g"], references=[["a b c d e f g"]])["bleu"]
    assert found == pytest.approx((6 / 7 * 5 / 6 * 4 / 5 * 3 / 4) ** 0.25)


def test_rouge_is_rouge_scores_nearest_reference() -> None:
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    found = Rouge().compute(predictions=PREDICTIONS, references=REFERENCES)
    for kind in ("rouge1", "rouge2", "rougeL"):
        best = [max(scorer.score(reference, text)[kind].fmeasure for reference in own)
                for text, own in zip(PREDICTIONS, REFERENCES, strict=True)]  # fmt: skip
        assert found[kind] == pytest.approx(np.mean(best))


def test_rouge_by_hand() -> None:
    found = Rouge().compute(predictions=["b a c"], references=[["a b c d"]])
    assert found == pytest.approx({"rouge1": 2 * 3 / 7, "rouge2": 0.0, "rougeL": 2 * 2 / 7})


@pytest.fixture
def with_wordnet(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPER_DATA", str(data_dir))
    wordnet.reader.cache_clear()


@pytest.mark.usefixtures("with_wordnet")
def test_meteor_is_nltks() -> None:
    tokens = [["in", "France", ",", "of", "course"], ["nothing"]]
    found = Meteor().compute(predictions=PREDICTIONS[1:], references=[["in France"], ["everything", "nothing at all"]])
    nearest = [meteor_score([["in", "France"]], tokens[0], wordnet=wordnet.reader()),
               meteor_score([["nothing", "at", "all"]], tokens[1], wordnet=wordnet.reader())]  # fmt: skip
    assert found["meteor"] == pytest.approx(np.mean(nearest))


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
        wordnet.check(["bleu", "meteor"])
    wordnet.check(["bleu", "rouge"])
    assert os.listdir(tmp_path) == []


def test_a_missing_package_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(wordnet.PACKAGES, "bleu", "no_such_package")
    with pytest.raises(ConfigError, match=r"task\.metrics=bleu: needs the package no_such_package; pip install"):
        wordnet.check(["bleu"])


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
