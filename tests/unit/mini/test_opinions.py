from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.mini.opinions import INSTRUCTIONS, LONGEST_PIECE, OPINION_WORDS, framed, opinion_words, opinions, piece

REVIEW = "We saw it on Friday. The plot is dull and the jokes are lame! Our seats were fine. It was awful."


def said(review: str) -> list[str]:
    pytest.importorskip("nltk")
    return [one.words for one in opinions(review, random.Random(0))]


def test_the_words_come_from_the_other_sentences_the_nearest_first() -> None:
    assert said(REVIEW) == [" dull , lame , awful", " awful", " awful , dull , lame", " dull , lame"]


def test_a_word_of_the_sentence_itself_is_never_asked() -> None:
    assert said("A dull film. Dull and awful.") == [" awful"]


def test_sentences_far_from_every_opinion_are_left_out() -> None:
    assert len(said("It was awful. " + "We went home then. " * 9)) == 3


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("it was great fun", ["great", "fun"]),
        ("it was not at all great", []),
        ("it is n't funny , but it is moving", ["moving"]),
        ("no one in it can act , awful", ["awful"]),
    ],
)
def test_denied_words_are_no_opinion(line: str, words: list[str]) -> None:
    assert opinion_words(line.split()) == words


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=2, max_size=99), st.randoms())
def test_a_piece_is_some_words_in_a_row(line: list[str], rng: random.Random) -> None:
    cut = piece(line, rng)
    assert 2 <= len(cut) <= LONGEST_PIECE
    assert any(line[start : start + len(cut)] == cut for start in range(len(line)))


@given(st.randoms())
def test_every_frame_ends_where_the_answer_begins(rng: random.Random) -> None:
    text = framed("good stuff", rng)
    assert text.lower().endswith("good stuff \nsentiment:")
    before = text.partition("good stuff")[0]
    assert before in ("", "Sentence: ") or before.removesuffix("\nSentence: ") in INSTRUCTIONS


def test_the_labels_of_no_task_are_asked_for() -> None:
    assert OPINION_WORDS.isdisjoint({"positive", "negative", "good"})
