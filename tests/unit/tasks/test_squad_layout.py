from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sweeper.checks import ConfigError
from sweeper.config import DataConfig, PromptConfig, TaskConfig
from tasks import files, sources, squad_layout

PARAGRAPH = {
    "context": " The Normans gave their name to Normandy, a region in France.",
    "qas": [
        {"id": "q1", "question": "Where is Normandy?", "is_impossible": False,
         "answers": [{"text": "France", "answer_start": 54}, {"text": "in France", "answer_start": 51}]},
        {"id": "q2", "question": "Who is the king?", "is_impossible": True, "answers": [],
         "plausible_answers": [{"text": "Normans", "answer_start": 5}]},
    ],
}  # fmt: skip
SQUAD = {"version": "v2.0", "data": [{"title": "Normans", "paragraphs": [PARAGRAPH]}, {"title": "X", "paragraphs": []}]}


def task(**data: Any) -> TaskConfig:
    return TaskConfig(
        type="question_answering",
        data=DataConfig(**({"text": "context", "label": "answers", "id": "id",
                            "files": {"train": ["train.json"], "test": ["test.json"]}} | data)),
        prompt=PromptConfig(user="{context} {question}", answer=" {answer}", no_answer="none"),
        selection_size=0,
    )  # fmt: skip


def write(folder: Path, content: object, ending: str = "json") -> None:
    for name in ("train", "test"):
        raw = json.dumps(content).encode()
        (folder / f"{name}.{ending}").write_bytes(gzip.compress(raw) if ending.endswith("gz") else raw)


def load(folder: Path, config: TaskConfig) -> pd.DataFrame:
    source = sources.resolve(config, str(folder), embedded_model=False)
    sources.check_columns(source, config)
    return sources.load(source, config).test


@pytest.mark.parametrize("ending", ["json", "json.gz"])
def test_the_nested_layout_is_read_as_rows(tmp_path: Path, ending: str) -> None:
    write(tmp_path, SQUAD, ending)
    path = tmp_path / f"train.{ending}"
    assert files.count(path, "key") == 2
    assert files.columns(path, "key") == ["id", "title", "context", "question", "answers"]
    assert [row["id"] for row in files.sample(path, "key", 5)] == ["q1", "q2"]
    assert files.read(path, "key")["title"].tolist() == ["Normans", "Normans"]
    rows = load(tmp_path, task())
    assert rows["id"].tolist() == ["q1", "q2"]
    assert json.loads(rows["answers"].iloc[1]) == []


def test_a_file_is_parsed_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed, rows = [], squad_layout.rows

    def counted(content: Any) -> list[dict[str, Any]]:
        parsed.append(content)
        return rows(content)

    monkeypatch.setattr(squad_layout, "rows", counted)
    write(tmp_path, SQUAD)
    path = tmp_path / "train.json"
    seen = [files.count(path, "key"), len(files.sample(path, "key", 5)), len(files.read(path, "key"))]
    assert (seen, len(files.columns(path, "key")), len(parsed)) == ([2, 2, 2], 5, 1)
    write(tmp_path, {"data": SQUAD["data"] * 2})
    assert files.count(path, "key") == 4
    assert len(parsed) == 2


def test_starts_are_counted_in_the_context_as_it_is_kept(tmp_path: Path) -> None:
    """The context loses the white space before it."""
    write(tmp_path, SQUAD)
    row = load(tmp_path, task()).iloc[0]
    for answer in json.loads(row["answers"]):
        assert row["context"][answer["start"] :].startswith(answer["text"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([{"text": " a b ", "answer_start": 3}], [("a b", 4)]),
        ({"text": ["a", "b"], "answer_start": [3, 7]}, [("a", 3), ("b", 7)]),
        ({"text": np.array(["a"]), "answer_start": np.array([3])}, [("a", 3)]),
        ({"text": [], "answer_start": []}, []),
        ({"text": ["a"]}, [("a", None)]),
        ({"text": "a", "answer_start": 1}, [("a", 1)]),
        ({"text": "a", "answer_start": 15.0}, [("a", 15)]),
        ({"text": np.array(["a"]), "answer_start": np.float32(2)}, [("a", 2)]),
        ({"text": ["a", "b"], "answer_start": None}, [("a", None), ("b", None)]),
        ({"text": ["a", "b"], "answer_start": [float("nan"), 3]}, [("a", None), ("b", 3)]),
        ([{"text": "a", "answer_start": float("nan")}], [("a", None)]),
        (np.array([{"text": "a", "answer_start": 2}]), [("a", 2)]),
        (["a", " b"], [("a", None), ("b", None)]),
        ([{"text": "a", "answer_start": -1}], [("a", None)]),
        ("a ", [("a", None)]),
        ("", []),
        ([], []),
        (None, []),
        (float("nan"), []),
    ],
)
def test_answers_are_read_in_every_published_shape(value: Any, expected: list[tuple[str, int | None]]) -> None:
    assert [(answer["text"], answer["start"]) for answer in squad_layout.accepted(value)] == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([""], "which is no text"),
        ([{"answer": "a"}], "which has no 'text'"),
        ({"texts": ["a"]}, "which has no 'text'"),
        ({"text": ["a"], "answer_start": [1, 2]}, "1 texts and 2 starts"),
        ({"text": None}, "holds the answer None, which is no text"),
        ({"text": 7, "answer_start": 1}, "holds the answer 7, which is no text"),
        ({"text": ["a"], "answer_start": [[1]]}, r"holds the start \[1\], which is no whole number"),
        ({"text": "a", "answer_start": {}}, r"holds the start \{\}, which is no whole number"),
        ([{"text": "a", "answer_start": 1.5}], "holds the start 1.5, which is no whole number"),
        ([{"text": "a", "answer_start": float("inf")}], "holds the start inf, which is no whole number"),
        (7, "which is no answer"),
    ],
)
def test_other_answers_are_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        squad_layout.accepted(value)


def test_a_bad_answer_is_named_by_its_row(tmp_path: Path) -> None:
    rows = [{"id": "1", "context": "a", "question": "b", "answers": ["a"]}]
    write(tmp_path, [*rows, {"id": "2", "context": "a", "question": "b", "answers": 7}])
    with pytest.raises(ConfigError, match=r"task\.data\.files\.train=.*: row 2: column 'answers' holds 7"):
        load(tmp_path, task())


def test_half_a_character_in_an_answer_is_named_by_its_row(tmp_path: Path) -> None:
    write(tmp_path, [{"id": "1", "context": "a", "question": "b", "answers": ["a \ud800"]}])
    with pytest.raises(ConfigError, match="row 1: column 'answers' holds half a character"):
        load(tmp_path, task())


def test_a_question_without_an_answer_needs_a_form_for_that(tmp_path: Path) -> None:
    write(tmp_path, SQUAD)
    config = task()
    config.prompt.no_answer = None
    with pytest.raises(ConfigError, match=r"row 2: column 'answers' has no answer; .*task\.prompt\.no_answer"):
        load(tmp_path, config)


@pytest.mark.parametrize("broken", ["context", "qas"])
def test_a_part_that_is_missing_is_an_error(tmp_path: Path, broken: str) -> None:
    paragraph = {key: value for key, value in PARAGRAPH.items() if key != broken}
    write(tmp_path, {"data": [{"paragraphs": [paragraph]}]})
    with pytest.raises(ConfigError, match=f"cannot be read: it is not in SQuAD's layout: KeyError '{broken}'"):
        files.read(tmp_path / "train.json", "key")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"question": "query"}, r"task\.data\.question=query: .* has no column 'query'"),
        ({"label": "answer"}, r"task\.data\.label=answer: .* did you mean 'answers'"),
        ({"text": "passage"}, r"task\.data\.text=passage: .* has no column 'passage'"),
    ],
)
def test_columns_are_checked_before_anything_is_read(tmp_path: Path, data: dict[str, str], message: str) -> None:
    write(tmp_path, SQUAD)
    config = task(**data)
    with pytest.raises(ConfigError, match=message):
        sources.check_columns(sources.resolve(config, str(tmp_path), embedded_model=False), config)


def test_one_question_with_two_sets_of_answers_is_one_text(tmp_path: Path) -> None:
    """So it cannot be on both sides of a split."""
    rows = [{"id": str(number), "context": "a", "question": "b", "answers": [str(number)]} for number in range(2)]
    rows += [{"id": str(number), "context": f"c{number}", "question": "b", "answers": ["a"]} for number in range(2, 6)]
    write(tmp_path, rows)
    config = task()
    config.selection_size = 4
    splits = sources.load(sources.resolve(config, str(tmp_path), embedded_model=False), config)
    assert sorted(splits.train["id"]) == ["0", "1"]
    assert splits.overlap == 5  # texts
