from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sweeper.__main__ import BAD_INPUT, conf_folder, main, one_line
from sweeper.config import ConfigError


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


def test_a_long_value_does_not_fill_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"model.path={'x' * 5000}"]) == BAD_INPUT
    assert len(capsys.readouterr().err) < 700


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
