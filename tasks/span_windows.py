"""Questions for a model that cuts its answer out of the context: overlapping windows of question and context.

A context that is longer than the model reads comes in several windows, each behind the whole question, so nothing
is cut off. Takes the tokenizer from the caller and imports no model library.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sweeper.checks import ConfigError
from tasks.encoded import Encoded, EncodedExample, Limits
from tasks.prompting import BATCH, check_max_length, token_ids
from tasks.splits import ANSWERS, ID

OVERLAP = 1 / 3  # of the window's tokens: 128 of 384, as published for BERT
UNKNOWN = -1  # where nobody has said what the answer is


@dataclass(frozen=True)
class Window:
    """T tokens: [CLS], the question, a stretch of the context. A place is a token's number in the window."""

    tokens: np.ndarray  # [T]
    types: np.ndarray | None  # [T] token types, for models that have them
    characters: np.ndarray  # [T, 2] where a token begins and ends in the context; -1 for tokens that are not of it
    nowhere: int  # place of [CLS], which stands for no answer in this window
    start: int  # places of the first accepted answer's ends; `nowhere` unless all of it is in the window; UNKNOWN
    end: int


@dataclass(frozen=True)
class SpanExample(EncodedExample):
    context: str = ""
    windows: tuple[Window, ...] = ()


def encode_spans(rows: pd.DataFrame, columns: tuple[str, str], tokenizer: Any, limits: Limits) -> Encoded:
    """The windows of every row; `columns` are those of question and context.

    Raises:
        ConfigError: a question leaves no room for its context, an answer is not in its context, or the tokenizer has
            no token that stands for no answer.
    """
    check_max_length(limits.max_length, tokenizer)
    if tokenizer.cls_token_id is None:
        raise ConfigError("task.head", True, "question answering with a head needs a tokenizer with a [CLS] token",
                          "choose an encoder, or task.head=false")  # fmt: skip
    _check_room(rows, columns[0], tokenizer, limits.max_length)
    examples: list[EncodedExample] = []
    for first in range(0, len(rows), BATCH):
        examples += _encoded(rows.iloc[first : first + BATCH], columns, tokenizer, limits.max_length)
    return Encoded(examples, truncated=0, eos=-1, writes=False)


def _check_room(rows: pd.DataFrame, question: str, tokenizer: Any, max_length: int) -> None:
    if rows.empty:
        return
    lengths = list(map(len, token_ids(rows[question].tolist(), tokenizer)))
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    room = max_length - lengths[longest] - tokenizer.num_special_tokens_to_add(pair=True)
    if room <= _overlap(max_length):
        rule = (f"the question of {rows[ID].iloc[longest]} leaves {max(0, room)} tokens for its context, whose windows "
                f"overlap by {_overlap(max_length)}")  # fmt: skip
        raise ConfigError("task.max_length", max_length, rule, "raise task.max_length")


def _overlap(max_length: int) -> int:
    return int(max_length * OVERLAP)


def _encoded(rows: pd.DataFrame, columns: tuple[str, str], tokenizer: Any, max_length: int) -> Iterator[EncodedExample]:
    questions, contexts = (rows[column].tolist() for column in columns)
    answers = [json.loads(value) for value in rows[ANSWERS]] if ANSWERS in rows else [None] * len(rows)
    found = tokenizer(questions, contexts, truncation="only_second", max_length=max_length, verbose=False,
                      stride=_overlap(max_length), return_overflowing_tokens=True, return_offsets_mapping=True,
                      return_attention_mask=False)  # fmt: skip
    windows: list[list[Window]] = [[] for _ in questions]
    golds = [_gold(*row) for row in zip(rows[ID], contexts, answers, strict=True)]
    for number, owner in enumerate(found["overflow_to_sample_mapping"]):
        windows[owner].append(_window(found, number, golds[owner], int(tokenizer.cls_token_id)))
    for name, question, context, own, accepted in zip(
        rows[ID].tolist(), questions, contexts, windows, answers, strict=True
    ):
        references = tuple(answer["text"] for answer in accepted or ())
        yield SpanExample(
            name, [], [], None, references=references, question=question, context=context, windows=tuple(own)
        )


def _gold(name: str, context: str, answers: Sequence[dict[str, Any]] | None) -> tuple[int, int] | None:
    """Where the first accepted answer begins and ends, in characters: (0, 0) for no answer, None for an unknown one.

    Where nobody says where it begins, it is its first occurrence.
    """
    if not answers:
        return None if answers is None else (0, 0)
    text, start = answers[0]["text"], answers[0]["start"]
    if start is None:
        start = context.find(text)
    if start < 0 or context[start : start + len(text)] != text:
        raise ConfigError("task.data.label", name, f"its answer {text!r} is not where it should begin in its context",
                          "correct the row, or choose a model that writes its answer")  # fmt: skip
    return start, start + len(text)


def _window(found: Any, number: int, gold: tuple[int, int] | None, cls_token: int) -> Window:
    tokens = np.array(found["input_ids"][number], dtype=np.int32)
    types = found.get("token_type_ids")
    characters = np.array(found["offset_mapping"][number], dtype=np.int32)
    of_context = np.array([part == 1 for part in found.sequence_ids(number)])
    characters[~of_context] = -1
    nowhere = int((tokens == cls_token).argmax())
    start, end = _places(characters, of_context, gold, nowhere)
    return Window(
        tokens, None if types is None else np.array(types[number], dtype=np.uint8), characters, nowhere, start, end
    )


def _places(
    characters: np.ndarray, of_context: np.ndarray, gold: tuple[int, int] | None, nowhere: int
) -> tuple[int, int]:
    if gold is None:
        return UNKNOWN, UNKNOWN
    begin, end = gold
    (places,) = of_context.nonzero()
    starts, ends = characters[places, 0], characters[places, 1]
    if begin == end or not len(places) or begin < starts[0] or end > ends[-1]:
        return nowhere, nowhere
    first = int(np.searchsorted(starts, begin, side="right")) - 1  # the last token that begins no later
    last = int(np.searchsorted(ends, end, side="left"))  # the first that ends no earlier
    return int(places[first]), int(places[last])
