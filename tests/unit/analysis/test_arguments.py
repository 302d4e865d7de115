from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from analysis import load, table
from sweeper.tracking import mlflow_fields, run_folder
from sweeper.tracking.mlflow_database import open_client


def test_analysis_reads_the_tags_that_tracking_writes() -> None:
    for name in ("KIND", "RUN_ID", "SWEEP_ID", "STATE", "REASON", "DETAIL", "CELL", "IRREGULAR",
                 "DATA_SOURCE", "DATA_DIGEST", "DEMO", "SWEEP_MEMBER"):  # fmt: skip
        assert getattr(load, name) == getattr(mlflow_fields, name)
    assert {load.COMPLETE, load.PRUNED, load.UNFINISHED} <= set(run_folder.RunState)


def test_arguments_are_keys_and_a_format() -> None:
    request = table.parse(["task=sst2", "sweep=all", "output_dir=out", "--format", "csv"])
    assert (request.task, request.sweep, request.format_name) == ("sst2", "all", "csv")
    assert request.uri == "sqlite:///out/mlflow.db"
    assert table.parse(["tracking_uri=http://127.0.0.1:5000", "--format=json"]).uri == "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("tsk=sst2", "tsk=sst2: unknown argument; did you mean 'task'?"),
        ("sst2", "sst2: unknown argument; python -m analysis.table --help shows them all"),
        ("task=", "task=: needs a value, task=...; python -m analysis.table --help shows them all"),
        (
            "--format=markdwon",
            "--format markdwon: not one of text, markdown, csv, latex, json; did you mean 'markdown'?",
        ),
        ("--format", "--format : not one of text, markdown, csv, latex, json"),
    ],
)
def test_a_bad_argument_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], argument: str, message: str
) -> None:
    assert table.main([argument]) == 2
    assert capsys.readouterr() == ("", f"{message}\n")


def test_no_results_names_the_command_that_makes_some_and_makes_no_database(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert table.main(["task=sst2", f"output_dir={tmp_path}"]) == 1
    assert "`python -m sweeper task=sst2 peft=qlora -m` makes some" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("tracking_uri=http://127.0.0.1:9", "tracking_uri=http://127.0.0.1:9: API request to"),
        ("tracking_uri=foo", "tracking_uri=foo: The filesystem tracking backend"),
        ("output_dir={folder}", "mlflow.db: (sqlite3.DatabaseError) file is not a database"),
    ],
)
def test_an_address_without_results_is_one_line_and_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argument: str,
    message: str,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "mlflow.db").write_text("no database at all", encoding="utf-8")
    assert table.main([argument.format(folder=tmp_path)]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


def test_a_server_is_given_up_as_soon_as_by_a_sweep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT")
    found = []
    for opening in (lambda: load.Store("foo"), lambda: open_client("http://127.0.0.1:9", tmp_path)):
        for name in names:
            monkeypatch.delenv(name, raising=False)
        with contextlib.suppress(load.BadArgument):
            opening()
        found.append([os.environ.get(name) for name in names])
    assert found == [["2", "20"], ["2", "20"]]
