"""A task's data set as prompt and answer, in Parquet files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from huggingface_hub import constants

from sweeper.__main__ import open_hydra
from tasks import prepare

DEMO = ["task=sst2", "task.data.source=demo", "task.selection_size=10", "task.test_size=8"]
SMALL = [*DEMO, "task.train_size=40"]


def written(out: Path) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    frames = {path.stem: pd.read_parquet(path) for path in sorted(out.glob("*.parquet"))}
    return frames, json.loads((out / "dataset.json").read_text(encoding="utf-8"))


def test_every_split_as_prompt_answer_and_both(tmp_path: Path) -> None:
    assert prepare.main([*SMALL, f"out={tmp_path / 'new'}"]) == 0
    frames, what = written(tmp_path / "new")
    assert {split: len(frame) for split, frame in frames.items()} == {"train": 40, "selection": 10, "test": 8}
    assert what["rows"] == {"train": 40, "selection": 10, "test": 8}
    assert what["source"] == "embedded demo reviews, generated"
    assert what["digest"].startswith("sha256:")
    assert (what["labels"], what["model"]) == (["negative", "positive"], None)
    for frame in frames.values():
        assert list(frame.columns) == ["id", "prompt", "answer", "text", "label"]
        assert frame["text"].equals(frame["prompt"] + frame["answer"])
        assert frame["answer"].equals(frame["label"].map({0: " negative", 1: " positive"}).astype("str"))
        assert frame["prompt"].str.fullmatch(r"You are a helpful(?s:.*)\nSentence: .* \nSentiment:").all()
    ids = set(frames["train"]["id"]) & set(frames["selection"]["id"])
    assert not ids


SCALED = """# @package _global_
defaults:
  - override /task: sst2
task:
  data:
    source: demo
  selection_size: 10
  test_size: 8
scales:
  small:
    - task.train_size=40
    - train.epochs=1,2
    - peft=lora,ia3
  axis:
    - task.train_size=20,40
"""


@pytest.fixture
def scaled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for results, and `experiment=sized`."""
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "sized.yaml").write_text(SCALED)
    monkeypatch.setattr(prepare, "open_hydra", lambda _: open_hydra(str(tmp_path / "conf")))
    return tmp_path / "new"


@pytest.mark.parametrize(
    ("words", "rows"),
    [(["scale=small"], 40), (["scale=small", "task.train_size=30"], 30), (["scale=axis", "task.train_size=20"], 20)],
)
def test_a_scale_is_as_large_as_in_a_run(scaled: Path, words: list[str], rows: int) -> None:
    """What it sweeps beside the task's keys tells nothing of the data."""
    assert prepare.main(["experiment=sized", *words, f"out={scaled}"]) == 0
    assert written(scaled)[1]["rows"] == {"train": rows, "selection": 10, "test": 8}


@pytest.mark.parametrize(
    ("words", "message"),
    [(["experiment=sized", "scale=axis"], "task.train_size=20,40: a data set is made with one value; give one of"),
     (["experiment=sized", "train.epochs=1,2"], "train.epochs=1,2: a data set is made with one value; give one of"),
     (["experiment=sized", "scale=smal"], "scale=smal: experiment=sized has full, small, axis; did you mean 'small'?"),
     (["task=sst2", "scale=small"], "scale=small: only an experiment says what it means; give experiment=<name>")],
)  # fmt: skip
def test_a_scale_that_tells_no_one_size_is_one_line(
    scaled: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert prepare.main([*words, f"out={scaled}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")
    assert not scaled.exists()


def test_a_model_gives_its_chat_template(tmp_path: Path) -> None:
    """Of the embedded model's tokenizer with a template of our own."""
    model = tmp_path / "model"
    mini = Path(prepare.__file__).parents[1] / "sweeper" / "mini"
    model.mkdir()
    for path in mini.glob("*.json"):
        (model / path.name).write_bytes(path.read_bytes())
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}<assistant>"
    (model / "chat_template.jinja").write_text(template)
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "test"):
        rows = [f"{word} film {number}\t{number % 2}" for number in range(20) for word in ("a", "the")]
        (data / f"{split}.tsv").write_text("\n".join(["sentence\tlabel", *rows]))
    words = ["task=sst2", "task.data.files={train: [train.tsv], test: [test.tsv]}", "task.selection_size=4",
             f"data_dir={data}", f"model.path={model}", f"out={tmp_path / 'new'}"]  # fmt: skip
    assert prepare.main(words) == 0
    frames, what = written(tmp_path / "new")
    assert what["model"] == "mini"
    assert frames["test"]["prompt"].str.startswith("<system>You are").all()
    assert frames["test"]["prompt"].str.endswith("Sentiment:</user><assistant>").all()


def test_questions_have_their_first_answer_or_the_no_answer_form(tmp_path: Path) -> None:
    rows = [
        {"context": f"The film {number} is good.", "question": "How is it?",
         "answers": {"text": ["good", "fine"] if number % 2 else [], "answer_start": [15, -1] if number % 2 else []}}
        for number in range(12)
    ]  # fmt: skip
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    words = ["task=squad_v2", "task.data.files={train: [train.jsonl], test: [test.jsonl]}", "task.selection_size=4",
             "task.data.test_share=null", "task.data.split_by=null", "task.data.id=null", "task.train_size=full",
             f"data_dir={tmp_path}", f"out={tmp_path / 'new'}"]  # fmt: skip
    assert prepare.main(words) == 0
    frames, what = written(tmp_path / "new")
    test = frames["test"]
    assert set(test["answer"]) == {" good", f" {what['prompt']['no_answer']}"}
    assert test["prompt"].str.contains("How is it?").all()
    assert "label" not in test


@pytest.mark.parametrize("out", [".", "new", "link"])
def test_an_empty_folder_that_is_there_is_written_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    """Not put in place of: a shell that stands in it would see nothing."""
    (tmp_path / "new").mkdir()
    (tmp_path / "link").symlink_to("new")
    inode = (tmp_path / "new").stat().st_ino
    monkeypatch.chdir(tmp_path / "new" if out == "." else tmp_path)
    assert prepare.main([*SMALL, f"out={out}"]) == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "dataset.json", "selection.parquet", "test.parquet", "train.parquet",
    ]  # fmt: skip
    assert (tmp_path / "new").stat().st_ino == inode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "new"]


def test_files_that_cannot_all_be_written_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "description", lambda *_, **__: object())  # no JSON
    with pytest.raises(TypeError):
        prepare.main([*SMALL, f"out={tmp_path}"])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    assert prepare.main([*SMALL, f"out={tmp_path}"]) == 2
    assert capsys.readouterr().err == f"error: out={tmp_path}: is not empty; name a new folder\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task=sst3"], "error: task=sst3: no such choice; did you mean 'sst2'?"),
        (["task.train_size=99999999"], "error: task.train_size=99999999: larger than the data"),
        (["private=true"], "error: private=true: says how push makes a data set; push=me/my-name, say"),
        (["push=me/prompts"], "error: push=me/prompts: HF_HUB_OFFLINE is set, so the hub may not be asked"),
    ],
)
def test_bad_input_is_told_in_one_line_and_writes_nothing(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare.main([*DEMO[1:], f"out={tmp_path / 'new'}", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("words", "private"), [([], False), (["private=true"], True)])
def test_the_same_files_are_pushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], private: bool
) -> None:
    pushed: dict[str, Any] = {}

    def push(self: datasets.DatasetDict, repo: str, *, private: bool) -> None:
        pushed[repo] = {split: len(rows) for split, rows in self.items()} | {"private": private}

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.DatasetDict, "push_to_hub", push)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    assert prepare.main([*SMALL, f"out={tmp_path / 'new'}", "push=me/prompts", *words]) == 0
    assert pushed == {"me/prompts": {"train": 40, "selection": 10, "test": 8, "private": private}}
