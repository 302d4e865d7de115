from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from mlflow.exceptions import MlflowException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from analysis import table
from analysis.load import BadArgument
from sweeper import __main__ as command_line
from sweeper.__main__ import BAD_INPUT, INTERRUPTED, PIPE_CLOSED, conf_folder, execute, main, one_line
from sweeper.checks import ConfigError
from sweeper.config import RunConfig
from sweeper.launch import start
from sweeper.search.record import Command
from sweeper.search.study import Sweep


def test_the_configuration_is_found_beside_the_package(repository: Path) -> None:
    assert conf_folder() == repository / "conf"


def test_an_error_of_ours_is_its_own_line() -> None:
    cause = ValueError("details")
    error = ConfigError("a.b", 3, "must be 4", "set it to 4")
    error.__cause__ = cause
    assert one_line(error) == "a.b=3: must be 4; set it to 4"


def test_an_error_of_omegaconf_names_the_key_in_one_line() -> None:
    with pytest.raises(OmegaConfBaseException) as caught:
        OmegaConf.to_container(OmegaConf.create({"a": {"b": "${nowhere}"}}), resolve=True)
    line = one_line(caught.value)
    assert line.startswith("a.b: ")
    assert "\n" not in line


def test_an_error_of_yaml_names_the_line() -> None:
    with pytest.raises(yaml.MarkedYAMLError) as caught:
        yaml.safe_load("a: 1\nb: [")
    assert "line 2: not YAML" in one_line(caught.value)


def test_bad_input_is_exit_code_2_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train.epochs=-1"]) == BAD_INPUT
    assert capsys.readouterr().err == "error: train.epochs=-1.0: must be greater than 0\n"


def test_a_full_disk_is_one_line_and_no_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    def write(_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "mlruns/x")

    assert command_line.in_one_line([], write) == 1
    assert capsys.readouterr().err.startswith("error: mlruns/x: No space left on device; what is done is kept")
    with pytest.raises(OSError, match="No space"):
        command_line.in_one_line(["--debug"], write)


def test_a_long_value_does_not_fill_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"model.path={'x' * 5000}"]) == BAD_INPUT
    assert len(capsys.readouterr().err) < 700


@pytest.mark.parametrize("override", ["task.name=", "task.name=' '", "model.num_parameters=0"])
def test_a_name_or_a_number_of_nothing_is_refused(capsys: pytest.CaptureFixture[str], override: str) -> None:
    assert main([override]) == BAD_INPUT
    assert override.partition("=")[0] in capsys.readouterr().err


def test_a_reader_that_has_left_ends_it_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "sweeper", "--help"]
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (PIPE_CLOSED, b"")


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_a_pipe_of_our_own_that_breaks_is_not_kept_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_line, "command", raising(BrokenPipeError("to a worker")))
    with open(os.devnull, "w", encoding="utf-8") as read_by_the_system:
        monkeypatch.setattr(sys, "stdout", read_by_the_system)
        monkeypatch.setattr(sys, "stderr", read_by_the_system)
        with pytest.raises(BrokenPipeError):
            main([])


def test_ctrl_c_before_the_sweep_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "command", raising(KeyboardInterrupt()))
    assert main([]) == INTERRUPTED
    assert capsys.readouterr().err == "stopped by Ctrl-C\n"


@pytest.mark.parametrize("error", [BadArgument("away"), MlflowException("away")])
def test_a_server_that_is_away_at_the_end_keeps_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    monkeypatch.setattr(table, "print_table", raising(error))
    monkeypatch.setattr(start, "run", lambda _: 1)
    uri = "http://me:password@server:5000"
    base = RunConfig(tracking_uri=uri)
    ended = SimpleNamespace(base=base, run_ids=["a"], num_finished=1, is_single=True, sweep_id="b")
    assert execute(Command(()), cast(Sweep, ended)) == 1
    shown = capsys.readouterr()
    assert shown.err == "no table: away\n"
    assert shown.out.endswith("pictures: open http://me:<redacted>@server:5000\n")


@pytest.mark.parametrize(("num_points", "is_told"), [(3, True), (1, False)])
def test_a_search_of_enough_trials_names_the_command_of_its_importances(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], num_points: int, is_told: bool
) -> None:
    monkeypatch.setattr(table, "print_table", lambda *_, **__: None)
    monkeypatch.setattr(start, "run", lambda _: 0)
    monkeypatch.setattr(command_line, "begin", lambda *_: [])
    ended = SimpleNamespace(
        base=RunConfig(output_dir="my runs"), run_ids=["a"], num_finished=12, num_trials=12, is_single=False,
        sweep_id="b", objectives=["eval/accuracy"], space=SimpleNamespace(cells=[None]),
        num_points=lambda _: num_points,
    )  # fmt: skip
    assert execute(Command(()), cast(Sweep, ended)) == 0
    told = "which hyperparameters mattered: python -m analysis.importances task=sst2 sweep=b 'output_dir=my runs'"
    assert (told in capsys.readouterr().out.splitlines()) is is_told


def test_a_stopped_sweep_begins_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "print_table", raising(AttributeError("partially initialized module")))
    monkeypatch.setattr(start, "run", lambda _: 143)
    ended = SimpleNamespace(base=RunConfig(), run_ids=["a"], num_finished=1, is_single=True, sweep_id="b")
    assert execute(Command(()), cast(Sweep, ended)) == 143


def test_debug_hands_the_error_over() -> None:
    with pytest.raises(ConfigError):
        main(["--debug", "train.epochs=-1"])


@pytest.mark.parametrize("flag", ["--experimental-rerun=x", "--config-path=x", "--config-name=x"])
def test_flags_that_would_run_something_else_are_refused(capsys: pytest.CaptureFixture[str], flag: str) -> None:
    assert main([flag]) == BAD_INPUT
    assert "not supported here" in capsys.readouterr().err


def test_a_plan_prints_the_cells_and_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan=true", "-m", "task.data.source=demo"]) == 0
    assert "4 cells, 4 trials, 4 runs" in capsys.readouterr().out
