from __future__ import annotations

import gzip
import json
from pathlib import Path

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.mini.corpus import (
    HELD_OUT_PARAGRAPHS,
    HELD_OUT_REVIEWS,
    PARAGRAPHS,
    Sources,
    book_pages,
    book_paragraphs,
    build_corpus,
    clean,
    read_folder,
    treebank_style,
)

BOOK = (
    "The Project Gutenberg EBook of Candles\r\n\r\n"
    "*** START OF THIS PROJECT GUTENBERG EBOOK CANDLES ***\r\n\r\n"
    "A candle burns\r\nwith a flame.\r\n\r\n\r\nWhy does it burn?\r\n\r\n"
    "*** END OF THIS PROJECT GUTENBERG EBOOK CANDLES ***\r\nLicence."
)


def sources(reviews: int = HELD_OUT_REVIEWS + 40, paragraphs: int = HELD_OUT_PARAGRAPHS + 10) -> Sources:
    return Sources(
        reviews=[f"Review {number}: I didn't like it." for number in range(reviews)],
        paragraphs=[f"Paragraph {number} isn't long." for number in range(paragraphs)],
        books=[BOOK],
    )


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("Good.<br /><br />Very  good.", "Good.\nVery good."),
        ("One <BR> two<br/>three", "One\ntwo\nthree"),
        ("  tabs\tand \n\n lines ", "tabs and\nlines"),
        ("<b>kept</b>", "<b>kept</b>"),
    ],
)
def test_clean(raw: str, cleaned: str) -> None:
    assert clean(raw) == cleaned


@given(st.text(alphabet="ab <br/>\n\t"))
def test_clean_leaves_no_second_space_and_no_empty_line(raw: str) -> None:
    cleaned = clean(raw)
    assert "  " not in cleaned
    assert "\n\n" not in cleaned
    assert cleaned == cleaned.strip()


@pytest.mark.parametrize(
    ("plain", "treebank"),
    [
        ("It's charming, isn't it?", "It 's charming , is n't it ?"),
        ("Too long. I can't wait!", "Too long . I ca n't wait !"),
        ("He said (twice) no.\nNew line.", "He said ( twice ) no .\nNew line ."),
    ],
)
def test_treebank_style(plain: str, treebank: str) -> None:
    pytest.importorskip("nltk")
    assert treebank_style(plain) == treebank


def test_a_book_loses_its_licence_and_its_line_ends() -> None:
    assert book_paragraphs(BOOK) == ["A candle burns with a flame.", "Why does it burn?"]


def test_book_pages_hold_every_paragraph_once() -> None:
    assert book_pages(BOOK) == ["A candle burns with a flame.\nWhy does it burn?"]
    assert book_pages(BOOK, characters=5) == book_paragraphs(BOOK)


def test_held_out_documents_are_never_trained_on() -> None:
    pytest.importorskip("nltk")
    corpus = build_corpus(sources(), seed=0)
    trained = set(corpus.train)
    for texts in corpus.held_out.values():
        assert trained.isdisjoint(texts)
    for text in corpus.held_out["reviews"]:
        assert treebank_style(text) not in trained


def test_every_other_document_is_trained_on_once() -> None:
    pytest.importorskip("nltk")
    corpus = build_corpus(sources(), seed=0)
    assert len(corpus.train) == len(set(corpus.train)) == 40 + 10 + 1
    assert [len(texts) for texts in corpus.held_out.values()] == [
        HELD_OUT_REVIEWS,
        HELD_OUT_PARAGRAPHS,
        HELD_OUT_REVIEWS,
    ]


def test_repeats_are_removed_before_the_split() -> None:
    pytest.importorskip("nltk")
    once, raw = build_corpus(sources(), seed=0), sources()
    twice = build_corpus(Sources(raw.reviews * 2, raw.paragraphs * 2, raw.books), seed=0)
    assert once == twice


def test_paragraphs_are_capped() -> None:
    pytest.importorskip("nltk")
    corpus = build_corpus(sources(HELD_OUT_REVIEWS, HELD_OUT_PARAGRAPHS + PARAGRAPHS + 5), seed=0)
    assert len(corpus.train) == PARAGRAPHS + 1


def test_the_seed_decides_everything() -> None:
    pytest.importorskip("nltk")
    assert build_corpus(sources(), seed=1) == build_corpus(sources(), seed=1)
    assert build_corpus(sources(), seed=1).held_out != build_corpus(sources(), seed=2).held_out


def test_some_documents_get_treebank_spacing() -> None:
    pytest.importorskip("nltk")
    train = build_corpus(sources(), seed=0).train
    respaced = sum(" n't " in text for text in train)
    assert 10 < respaced < 40


def test_read_folder(tmp_path: Path) -> None:
    for name in ("imdb", "squad", "science_text"):
        (tmp_path / name).mkdir()
    pandas.DataFrame({"text": ["Fine.", "Bad."], "id": [0, 1]}).to_parquet(tmp_path / "imdb" / "unsup.parquet")
    squad = {"data": [{"paragraphs": [{"context": "Oslo."}, {"context": "Rome."}]}]}
    (tmp_path / "squad" / "train-v1.1.json.gz").write_bytes(gzip.compress(json.dumps(squad).encode()))
    (tmp_path / "science_text" / "b.txt").write_bytes("Flamme: é".encode("latin-1"))
    (tmp_path / "science_text" / "a.txt").write_bytes("Licht: é".encode())
    assert read_folder(tmp_path) == Sources(["Fine.", "Bad."], ["Oslo.", "Rome."], ["Licht: é", "Flamme: é"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"unsup\.parquet is missing; leave out --data"):
        read_folder(tmp_path)
