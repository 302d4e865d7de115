"""`python -m tasks.documents`: what it refuses, what it writes, and what a writer brings."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from tasks import documents, sources
from tasks.documents import Writing, main
from tasks.task import Prompt
from tests.unit.tasks.test_document_text import pdf

SENTENCE = "In experiment number {} the light was bent by {} degrees in prism {}."


class FakeWriter:
    """Two pairs about every chunk but the ones that speak of prism 3, where it writes no JSON."""

    def __call__(self, prompts: Sequence[Prompt], *, attempt: int) -> list[str]:
        return [self.answer(asked.user.partition("Text:\n")[2]) for asked in prompts]

    def answer(self, text: str) -> str:
        asked = [f"What was seen when {text[:60]}?", f"How far along is {text[-60:]}?"]
        pairs = [{"question": question, "answer": "Light."} for question in asked]
        return "I cannot say." if "prism 3" in text else json.dumps(pairs)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four text files, a PDF, a scanned one."""
    books = tmp_path / "books"
    books.mkdir()
    for name in range(4):
        lines = [SENTENCE.format(f"{name}-{number}", number * 7 % 90, name) for number in range(30)]
        (books / f"book{name}.txt").write_text("\n\n".join(lines), "utf-8")
    pdf(books / "paper.pdf", "A paper about candles.", "Its second page is about lamps.")
    pdf(books / "scan.pdf", "")
    return tmp_path


def build(folder: Path, *words: str) -> int:
    return main(["build", f"input={folder / 'books'}", f"out={folder / 'documents'}", "chunk_tokens=64",
                 "min_chunk_tokens=0", "test_share=0.26", "near_duplicate=0.95", *words])  # fmt: skip


def frame(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(folder / "documents" / f"{name}.parquet")


def test_build_writes_text_that_the_task_reads(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(folder) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"set aside: {folder / 'books' / 'scan.pdf'} has no text layer: scanned pages want OCR first"
    train, test = frame(folder, "text/train"), frame(folder, "text/test")
    assert f"{len(train)} rows to train on, {len(test)} to test on (" in said[1]
    assert said[1].endswith("set aside: 1 unreadable")
    assert not set(train["document"]) & set(test["document"])
    assert len(set(train["document"]) | set(test["document"])) == 5
    manifest = json.loads((folder / "documents" / "text" / "manifest.json").read_text("utf-8"))
    assert manifest["settings"]["chunk_tokens"] == "64"
    assert manifest["settings"]["overlap_tokens"] == "32"
    assert [len(source["sha256"]) for source in manifest["sources"]] == [64] * 6
    assert not (folder / "documents" / "pairs").exists()
    config = documents.Composer(documents.open_hydra(None).config_loader, documents.CONFIG_NAME,
                                ["task=domain_text", "task.selection_size=30"]).composition({}).config({})  # fmt: skip
    source = sources.resolve(config.task, str(folder), embedded_model=False)
    splits = sources.load(source, config.task)
    assert len(splits.train) + len(splits.selection) == len(train)
    assert len(splits.test) == len(test)


def test_the_same_documents_make_the_same_files(folder: Path) -> None:
    build(folder)
    first = [frame(folder, f"text/{split}") for split in ("train", "test")]
    assert main(["build", f"input={folder / 'books'}", f"out={folder / 'again'}", "chunk_tokens=64",
                 "min_chunk_tokens=0", "test_share=0.26", "near_duplicate=0.95"]) == 0  # fmt: skip
    for own, split in zip(first, ("train", "test"), strict=True):
        pd.testing.assert_frame_equal(own, pd.read_parquet(folder / "again" / "text" / f"{split}.parquet"))


def test_a_writer_brings_pairs_about_the_chunks_of_each_side(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Writing, "writer", lambda self, found: FakeWriter())
    monkeypatch.setattr(documents, "PORTION", 7)
    assert build(folder, "writer=mini", "retries=1") == 0
    text = {split: frame(folder, f"text/{split}") for split in ("train", "test")}
    pairs = {split: frame(folder, f"pairs/{split}") for split in ("train", "test")}
    for split in ("train", "test"):
        assert set(pairs[split]["context"]) <= set(text[split]["text"])
        assert set(pairs[split]["answers"].map(tuple)) == {("Light.",)}
    manifest = json.loads((folder / "documents" / "pairs" / "manifest.json").read_text("utf-8"))
    silent = sum(own["text"].str.contains("prism 3").sum() for own in text.values())
    assert manifest["counts"]["set_aside"]["no JSON"] == silent > 0
    asked = sum(map(len, text.values())) - silent
    assert sum(map(len, pairs.values())) + manifest["counts"]["set_aside"].get("near duplicate", 0) == 2 * asked


class Stopping(FakeWriter):
    """Is stopped at its third portion."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, prompts: Sequence[Prompt], *, attempt: int) -> list[str]:
        self.asked += attempt == 0
        if self.asked == 3:
            raise KeyboardInterrupt
        return super().__call__(prompts, attempt=attempt)


class Counting(FakeWriter):
    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, prompts: Sequence[Prompt], *, attempt: int) -> list[str]:
        self.asked += len(prompts) if attempt == 0 else 0
        return super().__call__(prompts, attempt=attempt)


def writes(monkeypatch: pytest.MonkeyPatch, writer: FakeWriter) -> None:
    monkeypatch.setattr(Writing, "writer", lambda self, found: writer)
    monkeypatch.setattr(documents, "PORTION", 7)


def test_a_build_that_stopped_goes_on_where_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    writes(monkeypatch, Stopping())
    assert build(folder, "writer=mini", "retries=1") == 130
    written = folder / "documents" / "pairs"
    assert sorted(path.name for path in written.parent.iterdir()) == ["pairs", "text"]
    assert [path.name for path in written.iterdir()] == ["pairs.jsonl.partial"]
    with (written / "pairs.jsonl.partial").open("a") as file:
        file.write('{"chunks": 7, "pairs": [{"question": "Wh')  # as a crash may leave it
    text = frame(folder, "text/train")
    capsys.readouterr()
    writer = Counting()
    writes(monkeypatch, writer)
    assert build(folder, "writer=mini", "retries=1") == 0
    assert "goes on: 14 of " in capsys.readouterr().out
    assert writer.asked == len(text) + len(frame(folder, "text/test")) - 14
    assert sorted(path.name for path in written.iterdir()) == [
        "manifest.json", "set_aside.jsonl", "test.parquet", "train.parquet",
    ]  # fmt: skip
    found = {split: frame(folder, f"pairs/{split}") for split in ("train", "test")}
    (folder / "documents").rename(folder / "stopped")
    assert build(folder, "writer=mini", "retries=1") == 0
    for split in ("train", "test"):
        pd.testing.assert_frame_equal(found[split], frame(folder, f"pairs/{split}"))


@pytest.mark.parametrize(
    ("number", "line", "fix"),
    [(1, "{", "delete it: what"), (1, "[]", "delete it: what"), (2, "\0\0\0", "delete it from this line on (keep 1): "),
     (3, '{"chunks": 7}', "delete it from this line on (keep 2): "), (3, "{\xff", "delete it from this line on"),
     (3, '{"first": 0, "chunks": 7, "pairs": [], "aside": []}', "delete it from this line on (keep 2): ")],
)  # fmt: skip
def test_a_damaged_line_of_what_was_written_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, line: str, fix: str
) -> None:
    writes(monkeypatch, Stopping())
    assert build(folder, "writer=mini") == 130
    path = folder / "documents" / "pairs" / "pairs.jsonl.partial"
    lines = path.read_bytes().splitlines()
    lines[number - 1] = line.encode("latin-1")
    damaged = b"".join(own + b"\n" for own in lines) + b"cut off"
    path.write_bytes(damaged)
    capsys.readouterr()
    assert build(folder, "writer=mini") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: out={path}: line {number} is damaged; {fix}")
    assert error.count("\n") == 1
    assert path.read_bytes() == damaged
    path.write_bytes(b"".join(own + b"\n" for own in lines[: number - 1]))  # as the line says
    writes(monkeypatch, writer := Counting())
    assert build(folder, "writer=mini") == 0
    texts = len(frame(folder, "text/train")) + len(frame(folder, "text/test"))
    assert writer.asked == texts - 7 * max(0, number - 2)


@pytest.mark.parametrize("verb", ["build", "import"])
def test_one_command_at_a_time_works_in_a_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    """The second is refused while the first has its writer write."""
    out = folder / "documents"
    pairs = [f"What of the year {number * number}?,Peace {number},," for number in range(1600, 1620)]
    second = partial(build, folder, "writer=mini") if verb == "build" else partial(imported, folder, *pairs)
    codes: list[int] = []

    class Interrupted(FakeWriter):
        def __call__(self, prompts: Sequence[Prompt], *, attempt: int) -> list[str]:
            codes.append(second())
            return super().__call__(prompts, attempt=attempt)

    writes(monkeypatch, Interrupted())
    assert build(folder, "writer=mini", "retries=0") == 0
    assert len(codes) > 2
    assert set(codes) == {2}
    errors = set(capsys.readouterr().err.splitlines())
    assert errors == {f"error: out={out}: process {os.getpid()} on {socket.gethostname()} writes there; "
                      "wait for it, stop it, or name another folder"}  # fmt: skip
    assert sorted(path.name for path in out.iterdir()) == ["pairs", "text"]


@pytest.mark.parametrize("verb", ["build", "import"])
@pytest.mark.parametrize(
    ("out", "rule"),
    [("file", "file is a file; name a folder"), ("file/documents", "file is a file; name a folder"),
     ("there", "there/{} is a file; name a folder"), ("/proc/documents", "No such file or directory; name another")],
)  # fmt: skip
def test_a_folder_that_cannot_be_is_told_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verb: str, out: str, rule: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "pairs").touch()
    monkeypatch.chdir(tmp_path)
    assert main([verb, f"{'input' if verb == 'build' else 'pairs'}=nowhere", f"out={out}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: out={out}: ")
    assert rule.format("pairs") in error
    assert error.count("\n") == 1


def test_a_build_that_stopped_does_not_go_on_with_other_weights(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = folder / "writer"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama"}')
    (model / "model.safetensors").write_text("one")
    words = ("writer=llama_2_7b_chat", f"writer.path={model}", "model=mini")
    writes(monkeypatch, Stopping())
    assert build(folder, *words) == 130
    (model / "model.safetensors").write_text("other")
    writes(monkeypatch, FakeWriter())
    assert build(folder, *words) == 2
    assert "pairs.jsonl.partial: was begun with model.digest=" in capsys.readouterr().err
    (model / "model.safetensors").write_text("one")
    assert build(folder, *words) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [(["retries=2"], "pairs.jsonl.partial: was begun with retries=1, now 2; give the same again, or delete it"),
     (["retries=1", "writer.peft=qlora"], "was begun with writer.peft=none, now qlora"),
     (["retries=1", "chunk_tokens=80"], "holds text/ made with chunk_tokens=64, now 80; give the same again")],
)  # fmt: skip
def test_a_build_that_stopped_goes_on_with_its_own_settings_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    writes(monkeypatch, Stopping())
    assert build(folder, "writer=mini", "retries=1") == 130
    begun = (folder / "documents" / "pairs" / "pairs.jsonl.partial").read_text()
    assert build(folder, "writer=mini", *words) == 2
    assert message in capsys.readouterr().err
    assert (folder / "documents" / "pairs" / "pairs.jsonl.partial").read_text() == begun


def test_a_text_that_is_there_can_be_asked_about_later_and_nothing_is_overwritten(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    writes(monkeypatch, FakeWriter())
    assert build(folder) == 0
    text = folder / "documents" / "text" / "train.parquet"
    before = text.stat().st_mtime_ns
    assert build(folder, "writer=mini") == 0
    assert text.stat().st_mtime_ns == before
    assert set(frame(folder, "pairs/test")["document"]) <= set(frame(folder, "text/test")["document"])
    capsys.readouterr()
    for words, name in ((["writer=mini"], "pairs"), ([], "text")):
        assert build(folder, *words) == 2
        assert f"holds {name}/manifest.json already" in capsys.readouterr().err


def test_imported_questions_are_on_the_side_of_their_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(folder) == 0
    capsys.readouterr()
    sides = {side: sorted(set(frame(folder, f"text/{side}")["document"])) for side in ("train", "test")}
    lines = [f"What is said of number {number} in {name}?,Something {number},{name}"
             for name in sides["train"] + sides["test"] for number in range(0, 60, 7)]  # fmt: skip
    lines += [f"Who was king in the year {1500 + 13 * number}?,King {number}," for number in range(20)]
    (folder / "pairs.csv").write_text("\n".join(["question,answer,document", *lines]))
    assert main(["import", f"pairs={folder / 'pairs.csv'}", f"out={folder / 'documents'}", "near_duplicate=0.99",
                 "test_share=0.2"]) == 0  # fmt: skip
    assert "(as the text is split; 20 rows are about none of its parts, 4 sections of theirs" in capsys.readouterr().out
    for side, count in (("train", 16), ("test", 4)):
        imported = frame(folder, f"pairs/{side}")["document"]
        assert sorted(set(imported) - {"pairs.csv"}) == sides[side]
        assert (imported == "pairs.csv").sum() == count


def imported(folder: Path, *rows: str) -> int:
    (folder / "pairs.csv").write_text("\n".join(["question,answer,document,section", *rows]))
    return main(["import", f"pairs={folder / 'pairs.csv'}", f"out={folder / 'documents'}", "near_duplicate=0.99"])


def test_imported_questions_about_a_document_of_both_sides_must_name_its_section(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(folder, "split=section") == 0
    sides = {side: set(frame(folder, f"text/{side}")["section"]) for side in ("train", "test")}
    places = [name.replace(", ", ",") for name in sides["train"] | sides["test"]]
    rows = [f'"Who wrote {place}?",Somebody,{place}' for place in places]
    assert imported(folder, *rows, "Whose book is it?,Mine,book0.txt,") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: section=book0.txt, row {len(rows) + 1}: the text holds sections of book0.txt out")
    assert "'Whose book is it?'" in error
    assert error.count("\n") == 1
    assert not (folder / "documents" / "pairs").exists()
    assert imported(folder, *rows) == 0
    assert {side: set(frame(folder, f"pairs/{side}")["section"]) for side in sides} == sides


@pytest.mark.parametrize(("there", "missing"), [("train", "test"), ("test", "train")])
def test_imported_questions_that_are_all_on_one_side_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], there: str, missing: str
) -> None:
    assert build(folder) == 0
    names = sorted(set(frame(folder, f"text/{there}")["document"]))
    rows = [f"What is said of number {number} in {name}?,Something {number},{name}," for name in names
            for number in range(3)]  # fmt: skip
    assert imported(folder, *rows) == 2
    error = capsys.readouterr().err
    rule = f"none of its {len(rows)} pairs is for the {missing} split (set aside: none)"
    assert f"pairs.csv: {rule}; add pairs about documents" in error
    assert error.count("\n") == 1
    assert not (folder / "documents" / "pairs").exists()


def test_a_file_without_a_whole_pair_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert imported(folder, "Why?,,,", ",Because.,,", "Who?,Smith, John,,,", "When?,1,2,3,4") == 2
    told = "none of its 0 pairs is for the train split (set aside: 1 empty answer, 1 empty question, 2 more values than"
    assert f"pairs.csv: {told} columns); add" in capsys.readouterr().err
    assert imported(folder, "Who?,Smith, John,,,", "When?,Now,,") == 2
    assert "can be held out for it (set aside: 1 more values than columns); give" in capsys.readouterr().err
    assert not (folder / "documents").exists()


class SilentAbout(FakeWriter):
    """Writes no JSON about the chunks of the held-out documents."""

    def __init__(self, texts: set[str]) -> None:
        self.texts = texts

    def answer(self, text: str) -> str:
        return "I cannot say." if text in self.texts else super().answer(text)


def test_a_writer_without_pairs_to_test_on_is_told_what_a_task_needs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(folder) == 0
    writes(monkeypatch, SilentAbout(set(frame(folder, "text/test")["text"])))
    assert build(folder, "writer=mini", "retries=0") == 0
    note = "no test.parquet: a task needs task.data.test_share, or other documents"
    assert capsys.readouterr().out.endswith(f"; {note}\n")
    assert json.loads((folder / "documents" / "pairs" / "manifest.json").read_text("utf-8"))["note"] == note
    needed = ["task=domain_qa", "task.selection_size=4", "task.data.split_by=context", "task.data.test_share=0.2"]
    config = documents.Composer(documents.open_hydra(None).config_loader, documents.CONFIG_NAME,
                                needed).composition({}).config({})  # fmt: skip
    splits = sources.load(sources.resolve(config.task, str(folder), embedded_model=False), config.task)
    assert len(splits.train) > len(splits.test) > 0


class Storyteller(FakeWriter):
    """Writes no JSON, or a pair without an answer."""

    def answer(self, text: str) -> str:
        return "Once upon a time" if "prism 3" in text else '[{"question": "Why?", "answer": ""}]'


@pytest.mark.parametrize("then", ["another writer", "import"])
def test_a_writer_without_any_pair_is_refused_and_does_not_block_the_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], then: str
) -> None:
    writes(monkeypatch, Storyteller())
    assert build(folder, "writer=mini", "retries=1") == 2
    texts = [text for side in ("train", "test") for text in frame(folder, f"text/{side}")["text"]]
    silent = sum("prism 3" in text for text in texts)
    aside = folder / "documents" / "pairs" / "set_aside.jsonl"
    counts = {f"{silent} no JSON", f"{len(texts) - silent} empty answer"}
    (error,) = capsys.readouterr().err.splitlines()
    told, _, fix = error.removeprefix("error: writer=mini: wrote no well-formed pair (").partition(f": {aside}); ")
    assert set(told.split(", ")) == counts
    assert fix == "choose another writer or raise max_new_tokens"
    assert list(aside.parent.iterdir()) == [aside]
    assert len(aside.read_text("utf-8").splitlines()) == len(texts)
    if then == "import":
        assert imported(folder, *(f"What of the year {number * number}?,Peace {number},," for number in range(20))) == 0
    else:
        writes(monkeypatch, FakeWriter())
        assert build(folder, "writer=mini", "retries=0") == 0
    assert (aside.parent / "manifest.json").exists()


@pytest.mark.parametrize(
    ("words", "model"),
    [(["writer=mini"], "mini"), ([], "mini"), (["writer=llama_2_7b_chat"], "llama_2_7b_chat"),
     (["writer=llama_2_7b_chat", "model=mini"], "mini"), (["model=llama_2_7b_chat"], "llama_2_7b_chat")],
)  # fmt: skip
def test_the_writers_own_tokenizer_counts_unless_another_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], model: str
) -> None:
    files = folder / "model"
    files.mkdir()
    (files / "config.json").write_text('{"model_type": "llama"}')
    (files / "tokenizer.json").write_bytes((Path(documents.mini.__file__).parent / "tokenizer.json").read_bytes())
    llama = [f"{word.partition('=')[0]}.path={files}" for word in words if "llama" in word]
    writes(monkeypatch, FakeWriter())
    assert build(folder, *words, *llama) == 0
    settings = json.loads((folder / "documents" / "text" / "manifest.json").read_text("utf-8"))["settings"]
    assert (settings["model"], settings.get("model.path")) == (model, str(files) if "llama" in model else None)


def test_both_experiments_are_built_by_one_command_that_counts_their_models_tokens(repository: Path) -> None:
    headers = [(repository / "conf" / "experiment" / f"domain_{name}.yaml").read_text("utf-8")
               for name in ("pretrain", "qa")]  # fmt: skip
    first, second = ([line for line in header.splitlines() if "tasks.documents" in line] for header in headers)
    assert first == second
    words = dict(word.split("=") for word in first[0].split() if word.startswith(("model", "writer")))
    assert all(f"override /model: {documents.counted_by(words)['model']}\n" in header for header in headers)


def test_ready_pairs_go_the_same_way(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"What happened in the year {1600 + 7 * number}?,Event {number}" for number in range(20)]
    (folder / "pairs.csv").write_text("\n".join(["question,answer", *lines, lines[0].replace("?,", "??,"), "Why?,"]))
    assert main(["import", f"pairs={folder / 'pairs.csv'}", f"out={folder / 'documents'}", "near_duplicate=0.95"]) == 0
    assert "18 rows to train on, 2 to test on" in capsys.readouterr().out
    config = documents.Composer(documents.open_hydra(None).config_loader, documents.CONFIG_NAME,
                                ["task=domain_qa", "task.selection_size=4"]).composition({}).config({})  # fmt: skip
    splits = sources.load(sources.resolve(config.task, str(folder), embedded_model=False), config.task)
    assert (len(splits.train), len(splits.selection), len(splits.test)) == (14, 4, 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [(["buld"], "command line=buld: not one of build, import; did you mean 'build'?"),
     (["build", "out=x"], "input=None: is needed"),
     (["build", "input=a", "out=x", "chunk_token=3"], "chunk_token=3: unknown argument; did you mean 'chunk_tokens'?"),
     (["build", "input=a", "out=x", "chunk_tokens=many"], "chunk_tokens=many: must be a whole number"),
     (["build", "input=a", "out=x", "chunk_tokens=20.5"], "chunk_tokens=20.5: must be a whole number"),
     (["build", "input=a", "out=x", f"chunk_tokens={10**30}"], "chunk_tokens=1000000000000000000000000000000: more"),
     (["build", "input=a", "out=x/y/z", "retries=3"], "retries=3: is about a writer; give one: writer="),
     (["build", "input=a", "out=x", "writer.path=a"], "writer.path=a: is about a writer; give one: writer="),
     (["build", "input=a", "out=x", "writer=mini", "writer.path=b"], "writer.path=b: no config.json in this folder"),
     (["build", "input=a", "out=x", "writer=mini", "pairs_per_chunk=0"], "pairs_per_chunk=0: must be at least 1"),
     (["build", "input=a", "out=x", "writer=mini", "max_new_tokens=-"], "max_new_tokens=-: must be a whole number"),
     (["build", "input=a", "out=x", "chunk_tokens=4"], "chunk_tokens=4: must be at least 8"),
     (["build", "input=a", "out=x", "near_duplicate=high"], "near_duplicate=high: must be a number"),
     (["build", "input=a", "out=x", "near_duplicate=nan"], "near_duplicate=nan: must lie between 0 and 1"),
     (["build", "input=a", "out=x", "chunk_tokens=40"], "overlap_tokens=32: more than half of a chunk"),
     (["build", "input=a", "out=x", "test_share=1"], "test_share=1: must lie between 0 and 1"),
     (["build", "input=a", "out=x", "split=page"], "split=page: not one of auto, document, section"),
     (["build", "input=a", "out=x", "min_chunk_tokens=128"], "min_chunk_tokens=128: more than half of a chunk"),
     (["build", "input=a", "out=x", "writer=minilm"], "writer=minilm: no model that writes"),
     (["build", "input=a", "out=x", "writer=tfidf_svm"], "writer=tfidf_svm: has no tokenizer; choose a language model"),
     (["build", "input=a", "out=x", "model=tfidf_svm"], "model=tfidf_svm: has no tokenizer; choose a language model"),
     (["build", "input=a", "out=x", "writer=minni"], "error: writer=minni: not one of distilbert_sst2, "),
     (["build", "input=a", "out=x", "writer=mini", "writer.peft=qlor"], "tuning, qlora; did you mean 'qlora'?"),
     (["build", "input=a", "out=x", "model=minni"], "tfidf_svm; did you mean 'mini'?"),
     (["build", "input=a", "out=x", "model.path=nowhere"], "model.path=nowhere: no config.json in this folder"),
     (["build", "input=a", "out=x"], "input=a: no such file or folder, and no arXiv id"),
     (["import", "pairs=p.csv", "out=x", "writer=mini"], "writer=mini: unknown argument"),
     (["import", "pairs=p.csv", "out=x", "seed=-1"], "seed=-1: must be a whole number"),
     (["import", "pairs=p.csv", "out=x"], "pairs=p.csv: cannot be read as CSV")],
)  # fmt: skip
def test_bad_words_are_one_line_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_documents_without_any_text_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pdf(tmp_path / "scan.pdf", "")
    assert main(["build", f"input={tmp_path}", f"out={tmp_path / 'out'}"]) == 2
    assert "input=scan.pdf: none of these files has a text that can be read" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_package_names_the_extra(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(documents, "find_spec", lambda name: None if name == "datasketch" else object())
    assert build(folder) == 2
    assert "datasketch: is not installed; pip install 'sweeper[documents]'" in capsys.readouterr().err


def test_help_teaches_without_loading_a_model_library(repository: Path) -> None:
    program = (
        "import sys\nfrom tasks.documents import main\n"
        "assert main(['--help']) == 0\n"
        "assert not {'torch', 'transformers', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for key in ("input", "out", *documents.BUILD, *documents.WRITING):
        assert f"\n{key} " in done.stdout or f" {key}" in done.stdout, key
