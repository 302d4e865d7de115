"""SQuAD's nested JSON (version, data, paragraphs, qas) as flat rows, and accepted answers in every published shape.

An answer is `{"text": ..., "start": ...}`: where it begins in its context, in characters, or null where nobody says.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

# One question of SQuAD 2.0 becomes the row
#   id "56ddde6b9a695914005b9628", title "Normans", context "The Normans (Norman: Nourmands; ...",
#   question "In what country is Normandy located?", answers [{"text": "France", "answer_start": 159}, ...]

Answer = dict[str, Any]


def is_squad(content: object) -> bool:
    articles = content.get("data") if isinstance(content, Mapping) else None
    return isinstance(articles, list) and all(isinstance(item, dict) and "paragraphs" in item for item in articles)


def rows(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per question. Raises ValueError where a part of the layout is missing."""
    try:
        return list(_rows(content))
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is not in SQuAD's layout: {type(error).__name__} {error}") from None


def _rows(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for article in content["data"]:
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                yield {
                    "id": asked["id"],
                    "title": article.get("title", ""),
                    "context": paragraph["context"],
                    "question": asked["question"],
                    "answers": asked.get("answers", []),
                }


def accepted(value: Any) -> list[Answer]:
    """The accepted answers of one question; none where it has no answer.

    `value` is a list of `{"text", "answer_start"}` (SQuAD's files), `{"text": [...], "answer_start": [...]}` (the
    hub's), a list of texts, or one text. An empty text or null alone is no answer.

    Raises:
        ValueError: it is none of these, or one of several answers is empty.
    """
    if hasattr(value, "tolist"):  # an array of numpy, as Parquet gives lists
        value = value.tolist()
    if _is_missing(value):
        return []
    if isinstance(value, str):
        return [_answer(value, None)] if value.strip() else []
    if isinstance(value, Mapping):
        return _columns(value)
    if isinstance(value, Sequence):
        return [_answer(item, None) if isinstance(item, str) else _item(item) for item in value]
    raise ValueError(f"holds {value!r}, which is no answer")


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _columns(value: Mapping[str, Any]) -> list[Answer]:
    if "text" not in value:
        raise ValueError(f"holds {dict(value)!r}, which has no 'text'")
    texts, starts = _listed(value["text"]), value.get("answer_start")
    starts = [None] * len(texts) if _is_missing(starts) else _listed(starts)
    if len(starts) != len(texts):
        raise ValueError(f"holds {len(texts)} texts and {len(starts)} starts")
    return [_answer(text, start) for text, start in zip(texts, starts, strict=True)]


def _listed(value: Any) -> list[Any]:
    if hasattr(value, "tolist"):
        value = value.tolist()
    return list(value) if isinstance(value, list | tuple) else [value]


def _item(item: Any) -> Answer:
    if not isinstance(item, Mapping) or "text" not in item:
        raise ValueError(f"holds {item!r}, which has no 'text'")
    return _answer(item["text"], item.get("answer_start"))


def _answer(text: Any, start: Any) -> Answer:
    """White space around a text goes, and its start with it."""
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"holds the answer {text!r}, which is no text")
    start = _start(start)
    return {"text": text.strip(), "start": None if start is None else start + len(text) - len(text.lstrip())}


def _start(value: Any) -> int | None:
    """15 for 15 and 15.0. Below zero is the published sign for unknown."""
    if _is_missing(value):
        return None
    number = float(value) if isinstance(value, Real) else math.nan
    if not number.is_integer():
        raise ValueError(f"holds the start {value!r}, which is no whole number")
    return int(number) if number >= 0 else None
