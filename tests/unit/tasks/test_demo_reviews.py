from __future__ import annotations

from itertools import pairwise

import pandas as pd
import pytest

from tasks.demo_reviews import DEMO_SIZES, MAX_WORDS, MIN_WORDS, RULES, generate, splits
from tasks.splits import digest


@pytest.fixture(scope="module")
def rows() -> dict[str, pd.DataFrame]:
    return splits()


def test_sizes_are_as_declared_and_all_sentences_differ(rows: dict[str, pd.DataFrame]) -> None:
    assert {name: len(frame) for name, frame in rows.items()} == DEMO_SIZES
    assert pd.concat(rows.values())["sentence"].is_unique


def test_sentences_have_the_shape_of_sst2(rows: dict[str, pd.DataFrame]) -> None:
    for sentence in rows["train"]["sentence"]:
        assert sentence == sentence.lower() == " ".join(sentence.split())
        assert MIN_WORDS <= len(sentence.split()) <= MAX_WORDS
        assert not set(sentence) & set("[]+|")


def test_articles_fit_the_word_after_them(rows: dict[str, pd.DataFrame]) -> None:
    words = [word for sentence in rows["train"]["sentence"] for word in [*sentence.split(), "."]]
    pairs = set(pairwise(words))
    assert not {pair for pair in pairs if pair[0] == "a" and pair[1][0] in "aeiou"}
    assert not {pair for pair in pairs if pair[0] == "an" and pair[1][0] not in "aeiou"}


def test_labels_are_balanced(rows: dict[str, pd.DataFrame]) -> None:
    assert 0.48 < rows["train"]["label"].mean() < 0.52


def test_words_of_judgement_stand_on_both_sides(rows: dict[str, pd.DataFrame]) -> None:
    good = rows["train"][rows["train"]["sentence"].str.contains(r"\bgood\b")]
    assert 0.6 < good["label"].mean() < 0.95


def test_no_word_of_judgement_has_both_polarities() -> None:
    assert not set(RULES["adj/pos"].split()) & set(RULES["adj/neg"].split())


def test_the_same_seed_gives_the_same_rows_and_the_first_rows_stay(rows: dict[str, pd.DataFrame]) -> None:
    pd.testing.assert_frame_equal(generate(0, 50), rows["train"].head(50))
    assert not generate(1, 50).equals(generate(0, 50))


def test_the_embedded_data_never_changes_unnoticed(rows: dict[str, pd.DataFrame]) -> None:
    assert digest(rows.values())[:16] == "0d0cdf0bbb5c760f"
