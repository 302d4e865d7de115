from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from sweeper.checks import ConfigError
from tasks.encoded import Limits
from tasks.span_windows import UNKNOWN, SpanExample, encode_spans

CONTEXT = "w0 w1 w2 w3 w4 w5, w6 w7 w8 w9 w10 w11 w12 w13 w14 w15"
Start = int | None


def tokenizer(*, cls: str | None = "[CLS]") -> Any:
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "q", "?", ",", *(f"w{number}" for number in range(30))]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]"), behavior="removed", invert=True)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", cls_token=cls, sep_token="[SEP]", unk_token="[UNK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


TOKENIZER = tokenizer()


def encoded(
    *answers: list[tuple[str, Start]] | None, question: str = "q ?", context: str = CONTEXT, max_length: int = 14
) -> list[SpanExample]:
    kept = [json.dumps([{"text": text, "start": start} for text, start in own or []]) for own in answers]
    rows = pd.DataFrame({"id": [f"q{number}" for number in range(len(answers))]}).assign(
        question=question, context=context, answers=kept
    )
    if answers[0] is None:
        rows = rows.drop(columns="answers")
    found = encode_spans(rows, ("question", "context"), TOKENIZER, Limits(max_length)).examples
    examples = [example for example in found if isinstance(example, SpanExample)]
    assert len(examples) == len(answers)
    return examples


def text_of(example: SpanExample, number: int) -> str:
    window = example.windows[number]
    return example.context[window.characters[window.start, 0] : window.characters[window.end, 1]]


def test_windows_hold_the_question_and_overlap() -> None:
    (example,) = encoded([("w3 w4", 9)])
    starts = [window.characters[window.characters[:, 0] >= 0][0, 0] for window in example.windows]
    assert len(starts) > 1
    assert starts == sorted(starts)
    whole = set[int]()
    for before, after in zip(example.windows, example.windows[1:], strict=False):
        own, next_own = (set(window.characters[:, 0]) - {-1} for window in (before, after))
        assert len(own & next_own) == 14 // 3
        whole |= own | next_own
    assert len(whole) == 17  # every token of the context is in some window
    for window in example.windows:
        assert len(window.tokens) <= 14
        assert window.tokens[:4].tolist() == [1, 4, 5, 2]
        assert window.types is not None
        assert window.types.tolist() == [0] * 4 + [1] * (len(window.tokens) - 4)
        assert window.nowhere == 0


def test_the_gold_span_is_marked_where_it_is_and_nowhere_else() -> None:
    (example,) = encoded([("w5, w6", CONTEXT.index("w5"))])
    marked = [number for number, window in enumerate(example.windows) if window.start != window.nowhere]
    assert marked
    assert len(marked) < len(example.windows)
    assert {text_of(example, number) for number in marked} == {"w5, w6"}
    assert all(window.end == window.nowhere for window in example.windows if window.start == window.nowhere)


def test_an_unanswerable_question_points_nowhere_and_an_unknown_one_is_unknown() -> None:
    (example,) = encoded([])
    assert {(window.start, window.end) for window in example.windows} == {(0, 0)}
    (example,) = encoded(None)
    assert {(window.start, window.end) for window in example.windows} == {(UNKNOWN, UNKNOWN)}
    assert example.references == ()


@given(st.integers(0, 15), st.integers(0, 3), st.integers(12, 40))
def test_every_answer_that_a_window_can_hold_is_marked_in_one(first: int, more: int, max_length: int) -> None:
    words = CONTEXT.split(" ")
    text = " ".join(words[first : first + more + 1]).rstrip(",")
    start = len(" ".join([*words[:first], ""]))
    (example,) = encoded([(text, start)], max_length=max_length)
    marked = [number for number, window in enumerate(example.windows) if window.start != window.nowhere]
    assert all(text_of(example, number) == text for number in marked)
    longest = len(TOKENIZER(text, add_special_tokens=False)["input_ids"])
    assert marked or longest > max_length // 3


def test_part_of_a_word_marks_the_whole_word() -> None:
    (example,) = encoded([("15", CONTEXT.index("15"))])
    assert {text_of(example, number) for number, window in enumerate(example.windows) if window.start} == {"w15"}


def test_an_answer_without_a_start_is_its_first_occurrence() -> None:
    (example,) = encoded([("w1", None)])
    assert text_of(example, 0) == "w1"
    assert example.references == ("w1",)


@pytest.mark.parametrize("answer", [("w1", 4), ("w99", None), ("w15", 60)])
def test_an_answer_that_is_not_in_its_context_is_named(answer: tuple[str, Start]) -> None:
    with pytest.raises(ConfigError, match=r"task\.data\.label=q1: its answer 'w\d+' is not where it should begin"):
        encoded([], [answer])


def test_a_question_that_leaves_no_room_is_named() -> None:
    with pytest.raises(ConfigError, match=r"task\.max_length=14: the question of q0 leaves 1 tokens for its context"):
        encoded([], question=" ".join(["q"] * 10))


def test_a_tokenizer_without_a_sign_for_no_answer_is_refused() -> None:
    rows = pd.DataFrame({"id": ["1"], "question": ["q"], "context": ["w1"]})
    with pytest.raises(ConfigError, match=r"task\.head=True: .* needs a tokenizer with a \[CLS\] token"):
        encode_spans(rows, ("question", "context"), tokenizer(cls=None), Limits(14))


def test_a_tokenizer_without_token_types_gives_none() -> None:
    made = tokenizer()
    made.model_input_names = ["input_ids", "attention_mask"]
    rows = pd.DataFrame({"id": ["1"], "question": ["q"], "context": ["w1"]})
    (example,) = encode_spans(rows, ("question", "context"), made, Limits(14)).examples
    assert isinstance(example, SpanExample)
    assert [window.types for window in example.windows] == [None]


def test_many_rows_keep_their_order() -> None:
    examples = encoded(*([[(f"w{number % 16}", None)] for number in range(1100)]))
    assert [example.id for example in examples] == [f"q{number}" for number in range(1100)]
    assert all(text_of(example, int(np.argmax([window.start > 0 for window in example.windows]))) == f"w{number % 16}"
               for number, example in enumerate(examples))  # fmt: skip
