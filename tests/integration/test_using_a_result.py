"""A finished run answers: on the command line, over HTTP, and the two say the same."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pandas as pd
import pytest

from sweeper import predict, serving
from sweeper.atomic_json import read_json
from sweeper.launch.books import open_books
from sweeper.tracking import serving_model
from sweeper.tracking.mlflow_database import default_uri
from sweeper.tracking.run_folder import RunFolder
from tests.integration.training.conftest import save_llama
from tests.integration.training.small_runs import folder_of, small_config, train_folders, write_sentences

TEXTS = ["the film is very bright", "a plot was dull and slow", "the film is good", "bad"]
START_S = 180.0  # a busy machine takes half a minute to import it all
ROOT = Path(predict.__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunFolder]:
    """A run in MLflow, as a sweep leaves it, on a base model that its config names by a relative path."""
    where = tmp_path_factory.mktemp("sweep")
    for name in ("model", "data"):
        (where / name).mkdir()
    save_llama(where / "model")
    before = Path.cwd()
    os.chdir(where)
    try:
        config = small_config(Path("model"), write_sentences(where / "data"), where / "mlruns")(epochs=15.0)
        run = folder_of(config)
        train_folders([run])
        books = open_books(None, str(where / "mlruns"), config.task.name, None)
        books.ended(run)
        books.publish(())
        yield run
    finally:
        os.chdir(before)


def predicted(folder: RunFolder, capsys: pytest.CaptureFixture[str], texts: list[str]) -> list[dict[str, Any]]:
    (folder.path / "texts.txt").write_text("\n".join(texts))
    words = [f"run={folder.run_id}", f"input={folder.path / 'texts.txt'}", f"output_dir={folder.path.parents[1]}"]
    assert predict.main(words) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_relative_base_model_is_found_where_the_run_found_it(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = predicted(folder, capsys, TEXTS)
    assert [answer["label"] for answer in answers] == ["positive", "negative", "positive", "negative"]


def test_from_elsewhere_its_place_can_be_given(
    folder: RunFolder, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, model = predicted(folder, capsys, TEXTS), Path("model").resolve()
    monkeypatch.chdir(tmp_path)
    words = ["run=last", f"input={folder.path / 'texts.txt'}", f"output_dir={folder.path.parents[1]}"]
    assert predict.main(words) == 2
    assert capsys.readouterr().err.startswith("error: model.path=model: no config.json in this folder")
    assert predict.main([*words, f"model.path={model}", "output=answers.jsonl"]) == 0
    assert [json.loads(line) for line in Path("answers.jsonl").read_text().splitlines()] == here


def test_a_text_too_long_is_refused_before_anything_is_written_unless_it_may_be_cut(
    folder: RunFolder, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "long.txt").write_text(f"a film\n{'very ' * 300}good")
    words = ["run=last", f"input={tmp_path / 'long.txt'}", f"output_dir={folder.path.parents[1]}",
             f"output={tmp_path / 'answers.jsonl'}"]  # fmt: skip
    assert predict.main(words) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert line.startswith("error: task.max_length=256: example row 2 has")
    assert [path.name for path in tmp_path.iterdir()] == ["long.txt"]
    assert predict.main([*words, "task.too_long=truncate"]) == 0
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 2
    assert predict.main([*words, "task.max_length=512"]) == 0


def reference_of(folder: RunFolder) -> dict[str, Any]:
    found: dict[str, Any] = read_json(_serving(folder) / serving_model.REFERENCE)
    return found


def _serving(folder: RunFolder) -> Path:
    published = read_json(folder.path / "published.json")
    return Path(published["artifact_uri"]) / serving_model.FOLDER


def test_the_published_model_holds_no_weights(folder: RunFolder) -> None:
    names = {path.name: path.stat().st_size for path in _serving(folder).rglob("*") if path.is_file()}
    assert names.keys() == {"MLmodel", "reference.json"}
    assert sum(names.values()) < 20_000
    assert reference_of(folder)["config"]["model"]["path"] == str(Path("model").resolve())


def test_a_run_folder_that_is_gone_is_fetched_from_mlflow(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", default_uri(folder.path.parents[1]))
    reference = reference_of(folder) | {"artifacts": "/nowhere"}
    moved = _serving(folder) / "moved.json"
    moved.write_text(json.dumps(reference))
    rows = pd.DataFrame({"sentence": TEXTS})
    try:
        ours, fetched = serving._load_pyfunc(str(_serving(folder) / "reference.json")), serving._load_pyfunc(str(moved))
        assert ours.predict(rows) == fetched.predict(rows)
    finally:
        moved.unlink()


@contextmanager
def served(folder: RunFolder, port: int, cwd: Path) -> Iterator[str]:
    """`mlflow models serve` on this machine only; the address that it answers at."""
    mlflow_id = read_json(folder.path / "published.json")["mlflow_run_id"]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"runs:/{mlflow_id}/serving",
               "--env-manager", "local", "-h", "127.0.0.1", "-p", str(port)]  # fmt: skip
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # uvicorn is there
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT),
           "MLFLOW_TRACKING_URI": default_uri(folder.path.parents[1])}  # fmt: skip
    with (cwd / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=cwd, env=env, stdout=log, stderr=log)
    try:
        _await(process, f"http://127.0.0.1:{port}/ping", cwd / "serve.log")
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        process.terminate()
        process.wait(timeout=60)


def _await(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"no answer at {address}: {log.read_text()[-3000:]}")


def asked(address: str, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    body = json.dumps({"dataframe_records": records}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        answers: list[dict[str, Any]] = json.load(response)["predictions"]
    return answers


def test_mlflow_serves_what_the_command_says(
    folder: RunFolder, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    expected = predicted(folder, capsys, TEXTS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with served(folder, port, tmp_path) as address:
        answers = asked(address, [{"sentence": text} for text in TEXTS])
        with pytest.raises(HTTPError) as refused:
            asked(address, [{"sentence": "a film"}, {"sentence": " "}])
        said = json.load(refused.value)["message"]
    assert [answer["label"] for answer in answers] == [answer["label"] for answer in expected]
    for answer, own in zip(answers, expected, strict=True):
        assert answer["probabilities"] == pytest.approx(own["probabilities"], abs=1e-5)
        assert (answer["text"], answer["irregular"]) == (own["text"], own["irregular"])
    assert refused.value.code == 400
    assert "input=the request: row 2: column 'sentence' is empty" in said
