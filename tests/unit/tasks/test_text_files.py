from __future__ import annotations

import gzip
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.config import DataConfig, Source, TaskConfig
from tasks import files, hub, sources
from tasks.text_files import MARK, PASSAGE, from_lines, texts

PARAGRAPH = "A paragraph of one line and " + "many words " * 20


def without_space(text: str) -> str:
    return re.sub(r"\s+", "", text)


def test_a_mark_stands_between_texts() -> None:
    assert texts(f"One day.\n\nIt rained.\n{MARK}\nTwo cats.\n{MARK}\n\n") == ["One day.\n\nIt rained.", "Two cats."]


def test_paragraphs_are_joined_until_there_is_something_to_go_on() -> None:
    found = texts("\n \n".join([PARAGRAPH] * 11))
    assert [text.count("A paragraph") for text in found] == [5, 6]  # the rest goes to the last
    assert all(len(text) >= PASSAGE for text in found)
    assert found[0].count("\n\n") == 4


def test_without_a_blank_line_every_line_is_a_paragraph() -> None:
    assert [text.count("\n") for text in texts("\n".join([PARAGRAPH] * 10))] == [4, 4]


def test_a_short_file_is_one_text_and_an_empty_one_none() -> None:
    assert texts("\n\nA line.\n\nAnother.\n") == ["A line.\n\nAnother."]
    assert texts(" \n\n ") == []


@given(content=st.lists(st.sampled_from(["word " * 60, "\n", "\n\n", " \n \n", "a", MARK]), max_size=40).map("".join))
def test_nothing_but_white_space_is_left_out(content: str) -> None:
    assert without_space("".join(texts(content))) == without_space(content.replace(MARK, ""))


@pytest.mark.parametrize("name", ["stories.txt", "stories.txt.gz"])
def test_a_text_file_is_read_counted_and_sampled_as_rows(tmp_path: Path, name: str) -> None:
    content = MARK.join(f"Story {number}." for number in range(7)).encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert files.read(path, "key")["text"].tolist() == [f"Story {number}." for number in range(7)]
    assert files.count(path, "key") == 7
    assert files.columns(path, "key") == ["text"]
    assert files.sample(path, "key", 3) == [{"text": f"Story {number}."} for number in (0, 3, 6)]


def test_rows_that_are_lines_become_what_their_file_would_be() -> None:
    lines = ["", " = Title = \n", "", *[f"{PARAGRAPH}\n", ""] * 11]
    found = from_lines(pd.DataFrame({"text": lines}), "text")["text"].tolist()
    assert found == texts("".join(line if line.endswith("\n") else f"{line}\n" for line in lines))
    assert len(found) == 2


def test_rows_that_are_texts_stay_as_they_are() -> None:
    whole = pd.DataFrame({"text": ["a text", "another"], "section": ["x", "y"]})
    assert from_lines(whole, "text") is whole


def test_the_hubs_lines_are_read_as_the_file_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = pd.DataFrame({"text": ["", " = Title = \n", "", *[f"{PARAGRAPH}\n", ""] * 20]})
    monkeypatch.setattr(hub, "read", lambda *_: lines)
    data = DataConfig(hub_id="Salesforce/wikitext", text="text")
    task = TaskConfig(type="language_modeling", data=data, selection_size=1)
    splits = sources.load(sources.DataSource(Source.HUB, "the hub", "asked for", hub_id=data.hub_id), task)
    assert splits.test["text"].tolist() == texts("".join(line or "\n" for line in lines["text"]))
    assert len(splits.test) == 4
