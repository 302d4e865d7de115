"""What a question-answering task lacks is said before anything is imported that takes long, and nothing is written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.checks import ConfigError
from sweeper.search.study import Sweep

MakeSweep = Callable[..., Sweep]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Overrides that name a small file in SQuAD's layout."""
    asked = [{"id": str(number), "question": f"q{number}?", "answers": []} for number in range(8)]
    content = {"version": "v2.0", "data": [{"title": "T", "paragraphs": [{"context": "c", "qas": asked}]}]}
    (tmp_path / "small.json").write_text(json.dumps(content), encoding="utf-8")
    names = "task.data.files={train:[small.json],test:[small.json]}"
    return [
        "task=squad_v2",
        f"data_dir={tmp_path}",
        names,
        "task.data.split_by=null",
        "task.selection_size=2",
        "task.train_size=4",
    ]


def test_a_sweep_over_squads_layout_composes(make_sweep: MakeSweep, files: list[str]) -> None:
    sweep = make_sweep(*files)
    assert sweep.base.task.type == "question_answering"
    assert sweep.base.task.prompt.no_answer == "unanswerable"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "task.prompt.answer=yes",
            "task.prompt.answer=yes: a question's answer holds {answer} once and no other field",
        ),
        ("task.prompt.no_answer=''", "task.prompt.no_answer='': must not be empty"),
        ("task.data.question=query", "task.data.question=query: "),
        ("task.data.label=answer", "did you mean 'answers'?"),
        ("task.metrics=[blue]", "task.metrics=blue: task.type=question_answering can add bleu, meteor, rouge"),
        ("task.test_size=9", "task.test_size=9: larger than the data"),
    ],
)
def test_what_does_not_fit_is_refused(make_sweep: MakeSweep, files: list[str], override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_sweep(*files, override)


def test_meteor_needs_wordnet(
    make_sweep: MakeSweep, files: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nltk_data = pytest.importorskip("nltk.data", reason="needs the extra `text`")
    monkeypatch.setattr(nltk_data, "path", [])
    monkeypatch.setenv("SWEEPER_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match=r"task\.metrics=meteor: needs the WordNet data"):
        make_sweep(*files, "task.metrics=[bleu,meteor]")
