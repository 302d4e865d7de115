"""What a task makes of its rows for a model: token ids, and what the model's answers are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeper.config import PromptStyle


@dataclass(frozen=True)
class Limits:
    max_length: int  # tokens of one example, its answer included; of one block of running text
    too_long: str = "error"  # or "truncate": the text loses its end, an answer at most what could never be written
    style: PromptStyle = PromptStyle.AUTO
    max_new_tokens: int = 10


@dataclass(frozen=True)
class EncodedExample:
    id: str
    prompt: list[int]
    answer: list[int]  # what training reads after it, the end-of-sequence token included; empty for a head
    label: int | None  # class number; None where it is not known, or the task has none
    candidates: Sequence[Sequence[int]] = ()  # answers whose likelihood is measured, without the end-of-sequence token
    references: tuple[str, ...] = ()  # accepted answers of a question; empty where it has none
    question: str = ""  # as a person asked it
    block: str = ""  # of running text, as it stands there


@dataclass(frozen=True)
class Encoded:
    examples: list[EncodedExample]
    truncated: int  # examples whose text lost its end
    eos: int  # -1 for a head
    writes: bool = True  # whether an answer is written at evaluation; running text is only measured
