"""What `python -m sweeper.predict` reads and writes, and what it refuses before any model is loaded."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from sweeper import model_digest, predict
from sweeper.checks import ConfigError
from sweeper.config import Architecture, ModelConfig, RunConfig
from tests.synthetic_runs import SyntheticRun

TEXTS = ["a gorgeous film .", "dull, very dull"]


@pytest.fixture
def config() -> RunConfig:
    made = RunConfig()
    made.task.data.text = "sentence"
    return made


def typed(text: str | bytes) -> io.TextIOWrapper:
    """As standard input."""
    return io.TextIOWrapper(io.BytesIO(text if isinstance(text, bytes) else text.encode()))


Writer = Callable[[Path], None]
FRAME = pd.DataFrame({"number": [1, 2], "sentence": TEXTS})
FORMS: dict[str, Writer] = {
    "texts.txt": lambda path: path.write_text("\n".join([*TEXTS, "", ""])) and None,
    "texts.txt.gz": lambda path: path.write_bytes(gzip.compress("\n".join(TEXTS).encode())) and None,
    "texts.jsonl": lambda path: FRAME.to_json(path, orient="records", lines=True),
    "texts.json": lambda path: FRAME.to_json(path, orient="records"),
    "texts.csv": lambda path: FRAME.to_csv(path, index=False),
    "texts.tsv": lambda path: FRAME.to_csv(path, index=False, sep="\t", quoting=3),
    "texts.parquet": lambda path: FRAME.to_parquet(path),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_the_same_rows(name: str, config: RunConfig, tmp_path: Path) -> None:
    FORMS[name](tmp_path / name)
    rows = predict.read_rows(str(tmp_path / name), "text", config)
    assert rows.to_dict("list") == {"id": ["row 1", "row 2"], "sentence": TEXTS}


@pytest.mark.parametrize(
    ("lines", "text"), [("text", "\n".join(TEXTS)), ("jsonl", "\n".join(json.dumps({"sentence": t}) for t in TEXTS))]
)
def test_standard_input(lines: str, text: str, config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", typed(text))
    assert predict.read_rows("-", lines, config)["sentence"].tolist() == TEXTS


@pytest.mark.parametrize(
    ("text", "lines", "message"),
    [
        ("", "text", "input=-: has no rows"),
        ("{", "jsonl", r"input=lines=jsonl: not JSON \(.*\)"),
        ("[1]", "jsonl", r"input=\[1\]: is no JSON object"),
        ('{"text": "a"}', "jsonl", "input=-: has no column 'sentence', only text; it needs sentence"),
        ('{"sentence": "a"}\n{"sentence": " "}', "jsonl", "input=-: row 2: column 'sentence' is empty; give it a text"),
        (r'{"sentence": "a \ud800"}', "jsonl", "input=-: row 1: column 'sentence' holds half a character"),
        ('{"sentence": 7}', "jsonl", "input=-: row 1: column 'sentence' holds 7, which is no text"),
        ("a", "words", "lines=words: not one of jsonl, text"),
    ],
)
def test_bad_rows_are_told_in_one_line(
    text: str, lines: str, message: str, config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", typed(text))
    with pytest.raises(ConfigError, match=message):
        predict.read_rows("-", lines, config)


@pytest.mark.parametrize("name", ["texts.txt", "texts.jsonl", "texts.json", "texts.csv", "texts.tsv", "texts.parquet"])
def test_a_file_of_other_bytes_is_told_in_one_line(name: str, config: RunConfig, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"sentence\n\xff\n")
    with pytest.raises(ConfigError, match=rf"input=.*{name}: (is no UTF-8 \(.*\)|cannot be read: .*)") as caught:
        predict.read_rows(str(tmp_path / name), "text", config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lines", ["text", "jsonl"])
def test_other_bytes_on_standard_input_are_told_in_one_line(
    lines: str, config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", typed(b"\xff\n"))
    with pytest.raises(ConfigError, match=r"input=-: is no UTF-8 \(.*byte 0xff in position 0.*\); convert it"):
        predict.read_rows("-", lines, config)


@pytest.mark.parametrize("name", ["texts.txt.gz", "texts.csv.gz"])
def test_a_gzipped_file_that_is_none_is_told_in_one_line(name: str, config: RunConfig, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"a film")
    with pytest.raises(ConfigError, match=rf"input=.*{name}: cannot be read: Not a gzipped file"):
        predict.read_rows(str(tmp_path / name), "text", config)


def test_the_form_of_lines_is_not_asked_of_a_table(config: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text(json.dumps({"sentence": "a"}))
    assert predict.read_rows(str(tmp_path / "texts.txt"), "jsonl", config)["sentence"].tolist() == ["a"]
    FORMS["texts.csv"](tmp_path / "texts.csv")
    with pytest.raises(ConfigError, match="lines=jsonl: is of standard input and of txt files; leave it out"):
        predict.read_rows(str(tmp_path / "texts.csv"), "jsonl", config)


def test_several_columns_are_no_plain_lines(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config.task.prompt.user = "{sentence} {question}"
    monkeypatch.setattr("sys.stdin", typed("a"))
    with pytest.raises(ConfigError, match=r"the task reads sentence, question; give a table, or lines=jsonl"):
        predict.read_rows("-", "text", config)


def test_answers_as_json_lines_and_as_a_table() -> None:
    answers = [
        {"label": "good", "probabilities": {"good": 0.75, "bad": 0.25}},
        {"label": None, "probabilities": {"good": 0.5, "bad": 0.5}},
    ]
    lines, table = io.StringIO(), io.StringIO()
    predict.write_jsonl(lines, answers)
    predict.write_csv(table, answers)
    assert [json.loads(line) for line in lines.getvalue().splitlines()] == answers
    assert table.getvalue() == "label,probabilities.good,probabilities.bad\ngood,0.75,0.25\n,0.5,0.5\n"


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "answers.jsonl"
    with pytest.raises(ZeroDivisionError), predict.opened(target) as file:
        file.write(str(1 / 0))
    assert list((tmp_path / "deep").iterdir()) == []
    with predict.opened(target) as file:
        file.write("whole")
    assert target.read_text() == "whole"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run=last"], "error: input=None: is needed"),
        (["run=last", "input=nowhere.csv"], "error: input=nowhere.csv: no such file; - reads standard input"),
        (["run=last", "input=-", "output=a.txt"], "error: output=a.txt: neither .jsonl nor .csv; answers.jsonl, say"),
        (["run=last", "input=-", "output=."], "error: output=.: neither .jsonl nor .csv; answers.jsonl, say"),
        (["run=last", "input=-", "output=/"], "error: output=/: neither .jsonl nor .csv; answers.jsonl, say"),
        (["run=last", "input=-", "output=dir.csv"], "error: output=dir.csv: is a folder; dir.csv/answers.csv, say"),
        (["run=other", "input=-"], "error: run=other: no such run in"),
        (["run=last", "input=-", "task.too_long=cut"], "error: task.too_long=cut: not one of error, truncate"),
        (["run=last", "input=-", "task.max_length=many"], "error: task.max_length=many: must be a whole number"),
        (["run=last", "input=-", "task.max_length=2"], "error: task.max_length=2: must be at least 8"),
        (["run=last", "input=-", "model.path=nowhere"], "error: model.path=nowhere: no config.json in this folder"),
    ],
)
def test_bad_input_ends_in_one_line_and_loads_nothing(words: list[str], message: str, tmp_path: Path) -> None:
    SyntheticRun().write(tmp_path)
    (tmp_path / "dir.csv").mkdir()
    program = (
        "import sys; from sweeper.predict import main; code = main(sys.argv[1:]);"
        "assert not {'torch', 'transformers'} & set(sys.modules); sys.exit(code)"
    )
    model = f"model.path={Path(predict.__file__).parent / 'mini'}"
    command = [sys.executable, "-c", program, model, *words, f"output_dir={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, input="a text", cwd=tmp_path,
                          env=environment())  # fmt: skip
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(message)


@pytest.mark.parametrize(
    ("model", "peft", "rule"),
    [
        ({"embedded": True}, {"method": "adapter"}, "the run's model is the embedded one"),
        ({"hub_id": "someone/model"}, {"method": "full"}, "the run left all of its weights"),
        ({"architecture": Architecture.CLASSICAL}, {"method": "none"}, "the run left all of its weights"),
    ],
)
def test_a_folder_that_would_be_read_for_others_or_not_at_all_is_refused(
    model: dict[str, Any], peft: dict[str, Any], rule: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")
    config = RunConfig(model=ModelConfig(**model), peft=peft)
    predict.asked_again(config, {})
    with pytest.raises(ConfigError, match=f"model.path=.*: {rule}; leave it out"):
        predict.asked_again(config, {"model.path": str(tmp_path)})


@pytest.mark.parametrize("digest", [None, "found"])
def test_a_folder_that_nothing_tells_from_the_runs_model_is_said_to_be(
    digest: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ModelConfig(hub_id="someone/model", path=str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    ran = RunConfig(model=ModelConfig(hub_id="someone/model", digest=digest and model_digest.digest_of(model)),
                    peft={"method": "none"})  # fmt: skip
    folder = SimpleNamespace(settled_config=lambda: ran, artifacts=tmp_path)
    loaded = SimpleNamespace(load=lambda *_: SimpleNamespace(answers=lambda rows: [{"label": "good"}]))
    monkeypatch.setattr(predict, "find_run", lambda *_: folder)
    monkeypatch.setattr(predict, "silence_libraries", lambda: None)
    monkeypatch.setitem(sys.modules, "sweeper.training.predictor", SimpleNamespace(Predictor=loaded))  # without torch
    monkeypatch.setattr("sys.stdin", typed("a text"))
    assert predict.main(["run=last", "input=-", f"model.path={tmp_path}"]) == 0
    shown = capsys.readouterr()
    assert shown.out == '{"label": "good"}\n'
    told = f"not compared: the run kept no digest of someone/model, so nothing tells whether {tmp_path} is the same\n"
    assert shown.err == ("" if digest else told)


def environment() -> dict[str, str]:
    root = Path(predict.__file__).parents[1]
    return {**os.environ, "PYTHONPATH": f"{root}:{root / 'sweeper' / 'plugin'}"}


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert predict.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(key in shown for key in predict.KEYS)
    assert "python -m sweeper.predict run=last input=-" in shown
