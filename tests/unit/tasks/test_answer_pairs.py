from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from sweeper.checks import ConfigError
from tasks.answer_pairs import Pair, parse, prompt, read_pairs, write_pairs
from tasks.chunks import Chunk
from tasks.document_set import SetAside
from tasks.task import Prompt

CHUNKS = [Chunk(f"Text {name}.", "a.pdf", f"a.pdf, page {name}") for name in "123"]
PAIRS = [{"question": " Why? ", "answer": "Because. "}, {"question": "How?", "answer": "So."}]
GOOD = json.dumps(PAIRS)


class Scripted:
    """Gives each chunk its text of each attempt, and remembers what it was asked."""

    def __init__(self, **texts: Sequence[str]) -> None:
        self.texts, self.asked = texts, list[tuple[int, list[str]]]()

    def __call__(self, prompts: Sequence[Prompt], *, attempt: int) -> list[str]:
        names = [next(name for name in self.texts if f"Text {name[1]}." in asked.user) for asked in prompts]
        self.asked.append((attempt, names))
        return [self.texts[name][attempt] for name in names]


def run(writer: Scripted, retries: int) -> tuple[list[Pair], list[SetAside]]:
    steps = list(write_pairs(CHUNKS, writer, count=2, retries=retries))
    return [pair for pairs, _ in steps for pair in pairs], [lost for _, aside in steps for lost in aside]


@pytest.mark.parametrize(
    "text",
    [GOOD, f"\n{GOOD}\n", f"```json\n{GOOD}\n```", f"Here they are:\n```\n{GOOD}\n```\nEnjoy!", f"Sure! {GOOD}."],
)
def test_an_array_of_pairs_is_read_out_of_what_stands_around_it(text: str) -> None:
    assert parse(text) == [("Why?", "Because."), ("How?", "So.")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "no JSON"), ("Once upon a time", "no JSON"), (GOOD[:-5], "no JSON"), ("[]", "no array with a pair"),
     ('{"question": "a", "answer": "b"}', "no array"), ("3", "no array"),
     ('["a", "b"]', "no object of a question and an answer"), ('[{"question": "a"}]', "no object of a question"),
     ('[{"question": "a", "answer": 3}]', "is no text"), ('[{"question": " ", "answer": "b"}]', "empty question"),
     ('[{"question": "a", "answer": ""}]', "empty answer"), ('[{"question": "a", "answer": "a"}]', "repeats"),
     (f'{GOOD[:-1]}, {{"question": "a"}}]', "no object of a question")],
)  # fmt: skip
def test_anything_else_is_malformed_and_says_how(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse(text)


def test_the_prompt_holds_the_text_as_it_is_and_the_number_of_pairs() -> None:
    asked = prompt(Chunk("a {braced} text", "d", "s"), 3)
    assert asked.user.endswith("Text:\na {braced} text")
    assert "write 3 questions" in asked.user
    assert '[{"question": "...", "answer": "..."}]' in asked.user


def test_only_what_was_malformed_is_asked_for_again() -> None:
    writer = Scripted(_1=[GOOD], _2=["no", "no", GOOD], _3=["no", GOOD])
    pairs, aside = run(writer, retries=2)
    assert writer.asked == [(0, ["_1", "_2", "_3"]), (1, ["_2", "_3"]), (2, ["_2"])]
    assert [pair.section[-1] for pair in pairs] == ["1", "1", "3", "3", "2", "2"]
    assert pairs[0] == Pair("Why?", "Because.", "Text 1.", "a.pdf", "a.pdf, page 1")
    assert aside == []


def test_what_stays_malformed_is_set_aside_with_what_was_written_last() -> None:
    pairs, aside = run(Scripted(_1=[GOOD], _2=["no", "never"], _3=["no", GOOD]), retries=1)
    assert len(pairs) == 4
    (lost,) = aside
    assert (lost.reason, lost.section, lost.text) == ("no JSON", "a.pdf, page 2", "never")
    assert lost.detail.startswith("Expecting value: ")


def test_without_retries_each_chunk_is_asked_once() -> None:
    writer = Scripted(_1=["no"], _2=[GOOD], _3=["no"])
    assert [len(found) for found in run(writer, retries=0)] == [2, 2]
    assert len(writer.asked) == 1


def test_a_pair_is_a_row_with_a_list_of_accepted_answers() -> None:
    row = Pair("Why?", "So.", "Text.", "d", "s").row()
    assert row == {"question": "Why?", "context": "Text.", "answers": ["So."], "document": "d", "section": "s"}


def test_ready_pairs_are_read_checked_and_placed(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(
        'question,answer,context\nWhy?,"So, then.",One\nHow?, ,One\n When? ,Now,\nWho?,Me,One\nWhat?\nA, b?,c,d\n',
        "utf-8-sig",
    )
    pairs, aside = read_pairs(path)
    assert pairs == [
        Pair("Why?", "So, then.", "One", "pairs.csv", "pairs.csv, row 1"),
        Pair("When?", "Now", "", "pairs.csv", "pairs.csv, row 3"),
        Pair("Who?", "Me", "One", "pairs.csv", "pairs.csv, row 1"),  # about the same context
    ]
    assert [lost.reason for lost in aside] == ["empty answer", "empty answer", "more values than columns"]


def test_ready_pairs_may_name_their_document_and_section(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("section,document,answer,question\npage 3,opticks.pdf,So.,Why?\n")
    assert read_pairs(tmp_path / "p.csv")[0] == [Pair("Why?", "So.", "", "opticks.pdf", "opticks.pdf, page 3")]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read as CSV"), (b"question,reply\na,b\n", "has no column 'answer', only question, reply"),
     (b"question,answer,question\na,b,c\n", "has more than one column 'question'; rename the others in its header"),
     (b"", "has no column 'question', only none"), (b"question,answer\n\xff,b\n", "cannot be read as CSV"),
     (b'question,answer\n"a,b\n', "cannot be read as CSV")],
)  # fmt: skip
def test_a_file_that_is_no_csv_of_pairs_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "p.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"pairs=.*p.csv: .*{message}"):
        read_pairs(path)
