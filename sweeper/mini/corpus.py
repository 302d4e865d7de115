"""The text that `mini` is pretrained on: where it comes from, how it is cleaned, what is held out.

Knows nothing of tokens or models. No label is ever read: of IMDb only the reviews that have none are used.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

HELD_OUT_REVIEWS = 500
HELD_OUT_PARAGRAPHS = 200
TREEBANK_SHARE = 0.5  # of the reviews and paragraphs; the rest keeps ordinary spacing
PARAGRAPHS = 6000  # about a third of SQuAD's: enough for plain prose, and nine tenths of the text stay reviews

_LINE_BREAKS = re.compile(r"\s*(?:<br\s*/?>\s*)+|\s*\n\s*", re.IGNORECASE)
_SPACES = re.compile(r"[^\S\n]+")
_SENTENCE_END = re.compile(r"(?<=[.!?])[^\S\n]+|(?<=[.!?][\"')])[^\S\n]+")
_BOOK_BLANKS = re.compile(r"\n\s*\n")
_BOOK_MARKS = re.compile(
    r"\*\*\* ?(?:START|END) OF[^\n]*|\*END\*?THE SMALL PRINT[^\n]*|End of (?:The )?Project Gutenberg[^\n]*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Sources:
    """Raw documents, before cleaning."""

    reviews: list[str]
    paragraphs: list[str]
    books: list[str]


@dataclass(frozen=True)
class Corpus:
    """Documents in training order, the reviews among them as written, and documents that training never sees."""

    train: list[str]
    reviews: list[str]
    held_out: dict[str, list[str]]


def build_corpus(sources: Sources, *, seed: int) -> Corpus:
    """Removes repeats, holds some documents out, gives half of the rest Treebank spacing, and shuffles."""
    rng = random.Random(seed)
    reviews = _distinct_shuffled(sources.reviews, rng)
    paragraphs = _distinct_shuffled(sources.paragraphs, rng)
    held_out_reviews = reviews[:HELD_OUT_REVIEWS]
    held_out = {
        "reviews": held_out_reviews,
        "paragraphs": paragraphs[:HELD_OUT_PARAGRAPHS],
        "reviews, Treebank spacing": [treebank_style(text) for text in held_out_reviews],
    }
    kept = reviews[HELD_OUT_REVIEWS:] + paragraphs[HELD_OUT_PARAGRAPHS:][:PARAGRAPHS]
    train = [treebank_style(text) if rng.random() < TREEBANK_SHARE else text for text in kept]
    train += [page for book in sources.books for page in book_pages(book)]
    rng.shuffle(train)
    return Corpus(train, reviews[HELD_OUT_REVIEWS:], held_out)


def clean(text: str) -> str:
    """HTML line breaks become newlines; runs of spaces become one space."""
    return _SPACES.sub(" ", _LINE_BREAKS.sub("\n", text)).strip()


def treebank_style(text: str) -> str:
    """Spaced as in the Penn Treebank (`do n't`, `it 's good .`), as many academic data sets are; lines stay lines."""
    from nltk.tokenize import TreebankWordTokenizer

    tokenize = TreebankWordTokenizer().tokenize
    lines = (
        " ".join(token for sentence in _SENTENCE_END.split(line) for token in tokenize(sentence))
        for line in text.split("\n")
    )
    return "\n".join(lines)


def sentences(text: str) -> list[str]:
    """Cut after a full stop, an exclamation or a question mark, and at line breaks."""
    return [part for line in text.split("\n") for part in _SENTENCE_END.split(line) if part]


def book_paragraphs(text: str) -> list[str]:
    """The paragraphs of a Project Gutenberg file, without its licence header and trailer."""
    body = max(_BOOK_MARKS.split(text.replace("\r\n", "\n")), key=len)
    joined = (" ".join(paragraph.split()) for paragraph in _BOOK_BLANKS.split(body))
    return [paragraph for paragraph in joined if paragraph]


def book_pages(text: str, *, characters: int = 2000) -> list[str]:
    """A book's paragraphs joined to documents of at least `characters`, the last one excepted."""
    pages: list[str] = []
    page: list[str] = []
    for paragraph in book_paragraphs(text):
        page.append(paragraph)
        if len("\n".join(page)) >= characters:
            pages.append("\n".join(page))
            page = []
    return [*pages, "\n".join(page)] if page else pages


def read_folder(folder: Path) -> Sources:
    """Reads `imdb/unsup.parquet`, `squad/train-v1.1.json.gz` and every `science_text/*.txt` below `folder`."""
    import pandas

    reviews_file = folder / "imdb" / "unsup.parquet"
    squad_file = folder / "squad" / "train-v1.1.json.gz"
    for file in (reviews_file, squad_file):
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing; leave out --data to read the same text from the hub")
    squad = json.loads(gzip.decompress(squad_file.read_bytes()))
    return Sources(
        reviews=pandas.read_parquet(reviews_file, columns=["text"])["text"].tolist(),
        paragraphs=[paragraph["context"] for article in squad["data"] for paragraph in article["paragraphs"]],
        books=[_decode(file.read_bytes()) for file in sorted((folder / "science_text").glob("*.txt"))],
    )


def read_hub() -> Sources:
    """The same reviews and paragraphs from the Hugging Face hub, without the books."""
    from datasets import load_dataset

    reviews = load_dataset("stanfordnlp/imdb", split="unsupervised")
    squad = load_dataset("rajpurkar/squad", split="train")  # one row per question: a paragraph comes several times
    return Sources(reviews=list(reviews["text"]), paragraphs=list(squad["context"]), books=[])


def _distinct_shuffled(texts: Iterable[str], rng: random.Random) -> list[str]:
    result = list(dict.fromkeys(map(clean, texts)))
    rng.shuffle(result)
    return result


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:  # one of the books says ASCII and is latin-1
        return raw.decode("latin-1")
