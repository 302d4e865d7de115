"""Question-answer pairs of a text: asked of a chat model as JSON, or read from a CSV file; checked alike.

Knows no model: a writer takes prompts and gives texts.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from sweeper.checks import ConfigError
from tasks.chunks import Chunk
from tasks.document_set import SetAside
from tasks.task import Prompt

SYSTEM = "You write questions and answers for an examination. You answer with JSON and nothing else."
USER = """Read the text and write {count} questions that it answers, each with its answer.
A question can be understood without the text. An answer is short and says only what the text says.
Answer with a JSON array of {count} objects: [{{"question": "...", "answer": "..."}}]

Text:
{text}"""
COLUMNS = ("question", "answer", "context", "document", "section")  # of a file of pairs; it needs the first two
TOO_MANY = "more values than columns"  # a comma without quotes, behind which every value is shifted
FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)


class Writer(Protocol):
    def __call__(self, prompts: Sequence[Prompt], *, attempt: int) -> list[str]:
        """One text per prompt; another text in every attempt (0, 1, ...)."""


@dataclass(frozen=True)
class Pair:
    question: str
    answer: str
    context: str  # "" where a file gave none
    document: str
    section: str

    @property
    def key(self) -> tuple[str, ...]:
        return (self.question, self.answer)

    def row(self) -> dict[str, Any]:
        """As the data files have it: every accepted answer, of which there is one."""
        values = asdict(self)
        return {"question": values.pop("question"), "context": values.pop("context"),
                "answers": [values.pop("answer")], **values}  # fmt: skip


def prompt(chunk: Chunk, count: int) -> Prompt:
    return Prompt(SYSTEM, USER.format(count=count, text=chunk.text))


def write_pairs(
    chunks: Sequence[Chunk], writer: Writer, *, count: int, retries: int
) -> Iterator[tuple[list[Pair], list[SetAside]]]:
    """After each attempt, the pairs that it brought, and after the last what no attempt made well-formed."""
    left = list(chunks)
    for attempt in range(retries + 1):
        texts = writer([prompt(chunk, count) for chunk in left], attempt=attempt)
        pairs: list[Pair] = []
        malformed: list[tuple[Chunk, SetAside]] = []
        for chunk, text in zip(left, texts, strict=True):
            try:
                found = parse(text)
            except ValueError as error:
                reason, _, detail = str(error).partition(": ")
                malformed.append((chunk, SetAside(reason, chunk.document, chunk.section, text, detail)))
            else:
                pairs += [Pair(question, answer, chunk.text, chunk.document, chunk.section)
                          for question, answer in found]  # fmt: skip
        left = [chunk for chunk, _ in malformed]
        yield pairs, [lost for _, lost in malformed] if attempt == retries else []
        if not left:
            return


def parse(text: str) -> list[tuple[str, str]]:
    """Questions and answers. The array may stand in a Markdown fence, or between other words.

    Raises:
        ValueError: says what is wrong with the text, in one of a few phrases, `: ` and the details of it.
    """
    fenced = FENCE.search(text)
    inner = fenced[1] if fenced else text
    try:
        found = json.loads(inner[max(0, inner.find("[")) : inner.rfind("]") + 1] or inner)
    except ValueError as error:
        raise ValueError(f"no JSON: {error}") from error
    if not isinstance(found, list) or not found:
        raise ValueError("no array with a pair in it")
    return [_checked(entry) for entry in found]


def _checked(entry: Any) -> tuple[str, str]:
    if not isinstance(entry, dict) or not {"question", "answer"} <= set(entry):
        raise ValueError("an entry is no object of a question and an answer")
    question, answer = entry["question"], entry["answer"]
    if not isinstance(question, str) or not isinstance(answer, str):
        raise ValueError("a question or an answer is no text")
    if reason := wrong(question, answer):
        raise ValueError(reason)
    return question.strip(), answer.strip()


def wrong(question: str, answer: str) -> str:
    """What makes the two no pair; nothing where they are one."""
    if not question.strip():
        return "empty question"
    if not answer.strip():
        return "empty answer"
    return "answer repeats the question" if question.strip() == answer.strip() else ""


def read_pairs(path: Path) -> tuple[list[Pair], list[SetAside]]:
    """Of a CSV file with the columns `question` and `answer`, and maybe `context`, `document`, `section`.

    Where it names no document, rows of one context belong together, and a row without one stands alone.

    Raises:
        ConfigError: no such file, no CSV, one of the first two columns is missing, or one of all is there twice.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restkey=TOO_MANY, strict=True)
            columns, rows = list(reader.fieldnames or []), list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError("pairs", path, f"cannot be read as CSV: {' '.join(str(error).split())}") from None
    for column in COLUMNS:
        if columns.count(column) > 1:
            raise ConfigError("pairs", path, f"has more than one column {column!r}", "rename the others in its header")
        if column in COLUMNS[:2] and column not in columns:
            there = f"has no column {column!r}, only {', '.join(columns) or 'none'}"
            raise ConfigError("pairs", path, there, "rename the column in its header")
    first: dict[str, int] = {}  # the row in which a context comes first
    pairs, aside = [], []
    for number, row in enumerate(rows, start=1):
        context = (row.get("context") or "").strip()
        pair = _pair(row, path.name, f"row {first.setdefault(context, number) if context else number}")
        if reason := TOO_MANY if TOO_MANY in row else wrong(pair.question, pair.answer):
            aside.append(SetAside(reason, pair.document, pair.section, json.dumps(row, ensure_ascii=False)))
        else:
            pairs.append(pair)
    return pairs, aside


def _pair(row: Mapping[str, Any], file: str, place: str) -> Pair:
    """`file` and `place` stand in for a document and section that are not given; a short row lacks its last values."""
    given = {name: (row.get(name) or "").strip() for name in COLUMNS}
    document = given["document"] or file
    section = (given["section"] or place).removeprefix(f"{document}, ")  # which `build` puts before it
    return Pair(given["question"], given["answer"], given["context"], document, f"{document}, {section}")
