"""The command line as a person meets it, in processes of its own."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

MAX_CPU_S = 1.5  # of the process; what the machine does besides is not its fault


def sweeper(cwd: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[2]
    kept = {key: value for key, value in os.environ.items() if key not in ("SWEEPER_DATA", "HYDRA_FULL_ERROR")}
    path = os.pathsep.join([str(root), str(root / "sweeper" / "plugin"), kept.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "sweeper", *arguments]
    return subprocess.run(
        command, cwd=cwd, env={**kept, "PYTHONPATH": path, **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


BROKEN = [
    (["peft=qlroa"], "peft=qlroa", "did you mean 'qlora'?"),
    (["pfet=lora"], "pfet=lora", "did you mean 'peft'?"),
    (["train.learning_rat=1e-3"], "train.learning_rat=1e-3", "did you mean 'train.learning_rate'?"),
    (["train.epochs=three"], "train.epochs=three", "must be a number"),
    (["train.epochs=-1"], "train.epochs=-1", "must be greater than 0"),
    (["peft.rr=8"], "peft.rr=8", "did you mean 'r'?"),
    (["task.train_size=[100"], "task.train_size=[100", "cannot be read"),
    (["task.train_size=100,1000"], "task.train_size=100,1000", "add -m"),
    (["task.train_size=100,20000", "-m"], "task.train_size=20000", "at most "),
    (["model.path=nowhere"], "model.path=nowhere", "name a Hugging Face model folder"),
    (["data_dir=nowhere"], "data_dir=nowhere", "no such folder"),
    (["model=minilm", "task.data.source=demo"], "task.data.source=demo", "model=mini"),
    (["train.learning_rate=interval(1e-5,1e-3)", "-m"], "hydra.sweeper.n_trials", "hydra.sweeper.n_trials=20"),
    (["train.optimizer=adamw_troch"], "train.optimizer=adamw_troch", "did you mean 'adamw_torch'?"),
    (["tracking_uri=file:///x"], "tracking_uri=file:///x", "use sqlite:///<folder>/mlflow.db"),
    (["peft.target_modules=[q_prj]"], "peft.target_modules=['q_prj']", "did you mean 'q_proj'?"),
    (["seed=range(0,1000000)", "-m"], "seed=1,000,000 values", "raise that limit"),
    (["hydra.sweeper.sampler_args={x:1}", "-m"], "hydra.sweeper.sampler_args.x=1", "known: "),
    (["hydra.run.dir=x"], "hydra.run.dir=x", "output_dir=<folder>"),
    (["+train._target_=os.system"], "train._target_=os.system", "remove the key"),
    (["report.columns=[exact_match]", "-m"], "report.columns=exact_match", "measured: loss, accuracy, "),
    (["peft=none", "task.head=true"], "peft.method=none: model=mini has no trained head", "task.head=false"),
    (["task=wikitext2", "model=minilm", "peft=full"], "task.type=language_modeling", "choose a causal language model"),
    (["--mulitrun"], "--mulitrun", "did you mean '--multirun'?"),
]


@pytest.mark.parametrize(
    ("arguments", "names", "fix"), BROKEN, ids=lambda value: "" if isinstance(value, str) else value[0]
)
def test_a_broken_command_ends_in_one_line_and_writes_nothing(
    tmp_path: Path, arguments: list[str], names: str, fix: str
) -> None:
    result = sweeper(tmp_path, *arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert names in line
    assert fix in line
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = sweeper(tmp_path, "--debug", "train.epochs=-1")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "ConfigError: train.epochs=-1" in result.stderr


def test_a_secret_of_the_environment_is_never_shown(tmp_path: Path) -> None:
    result = sweeper(tmp_path, "data_dir=${oc.env:HF_TOKEN}", HF_TOKEN="hf_verysecret123")
    assert result.returncode == 2
    assert "hf_verysecret123" not in result.stderr


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "broken.yaml").write_text("name: [x\n", encoding="utf-8")
    result = sweeper(tmp_path, "--config-dir=mine", "model=broken")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "broken.yaml, line" in line


def test_a_model_file_of_ones_own_is_found_and_checked(tmp_path: Path) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "own.yaml").write_text("name: own\nhub_idd: a/b\n", encoding="utf-8")
    result = sweeper(tmp_path, "--config-dir=mine", "model=own", "plan=true")
    assert result.returncode == 2
    assert "model.hub_idd=a/b: unknown key; did you mean 'model.hub_id'?" in result.stderr


def test_a_file_cannot_name_code(tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    text = "# @package _global_\nhydra:\n  callbacks:\n    x: {_target_: os.mkdir, path: owned}\n"
    (tmp_path / "mine" / "experiment" / "evil.yaml").write_text(text, encoding="utf-8")
    for mode in ([], ["-m"]):
        result = sweeper(tmp_path, "--config-dir=mine", "experiment=evil", *mode)
        assert result.returncode == 2
        assert "hydra.callbacks=x: callbacks are not supported" in result.stderr
    assert not (tmp_path / "owned").exists()


def test_help_teaches_and_is_quick(tmp_path: Path) -> None:
    result, seconds = timed(tmp_path, "--help")
    for part in (
        "python -m sweeper task=sst2 peft=qlora -m",
        "peft: dora, full",
        "analysis.table",
        "make ui",
        "mlruns/",
    ):
        assert part in result.stdout
    assert seconds < MAX_CPU_S


def test_a_config_error_is_quick(tmp_path: Path) -> None:
    assert timed(tmp_path, "task.train_size=20000")[1] < MAX_CPU_S


def test_a_plan_is_quick_and_writes_nothing(tmp_path: Path) -> None:
    result, seconds = timed(tmp_path, "plan=true", "-m", "task.data.source=demo", "peft=lora,qlora")
    assert "8 cells, 8 trials, 8 runs" in result.stdout
    assert "demo" in result.stdout
    for line in ("runs", "groups", "time", "memory", "disk"):
        assert f"\n  {line} " in result.stdout
    assert list(tmp_path.iterdir()) == []
    assert seconds < MAX_CPU_S


def test_flags_may_stand_between_overrides(tmp_path: Path) -> None:
    before = sweeper(tmp_path, "-m", "plan=true", "peft=qlora", "task.data.source=demo")
    between = sweeper(tmp_path, "plan=true", "-m", "peft=qlora", "task.data.source=demo")
    cells, estimated = before.stdout.split("\n\n  runs")
    assert between.stdout.startswith(cells)  # what follows hangs on the moment's free memory
    assert "\n  time    " in estimated


def test_the_whole_config_can_be_shown(tmp_path: Path) -> None:
    result = sweeper(tmp_path, "--cfg", "job", "peft.r=4")
    assert result.returncode == 0
    assert "early_stopping_patience: null" in result.stdout
    assert "  r: 4\n" in result.stdout


def timed(cwd: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """The result, and the seconds of processor time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = sweeper(cwd, *arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return result, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
