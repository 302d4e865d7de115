"""`hydra.sweeper.custom_search_space=<file.py>:<function>`: what a person's own code may add to a trial."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.config_loader import ConfigLoader

from sweeper.__main__ import main
from sweeper.checks import ConfigError
from sweeper.search import overrides as command_line
from sweeper.search.plan import plan_text
from sweeper.search.study import Sweep
from tests.unit.search.test_conditions import MakeDeclared
from tests.unit.search.test_retry import with_a_failure
from tests.unit.search.test_study import finish, stored

pytest_plugins = ("tests.unit.search.test_conditions",)

MakeCustom = Callable[..., Sweep]
RANK = """
def define(trial, config):
    rank = 2 ** trial.suggest_int("log2_rank", 1, 3)
    return {"peft.r": rank, "peft.lora_alpha": 2 * rank, "train.weight_decay": config["train"]["learning_rate"]}
"""
RATE = "train.learning_rate=tag(log,interval(1e-5,1e-3))"


def returns(text: str) -> str:
    return f"def define(trial, config):\n    return {text}\n"


@pytest.fixture
def make_custom(make_sweep: Callable[..., Sweep], tmp_path: Path) -> MakeCustom:
    """`make_custom(source, "peft=lora")`: that command with the function `define` of that source, and 4 trials."""

    def make(source: str, *overrides: str, function: str = "define") -> Sweep:
        (tmp_path / "mine.py").write_text(source, encoding="utf-8")
        where = f"hydra.sweeper.custom_search_space={tmp_path / 'mine.py'}:{function}"
        usual = (where, "hydra.sweeper.sampler=random", "hydra.sweeper.n_trials=4")
        given = {line.partition("=")[0] for line in overrides}
        return make_sweep(*(line for line in usual if line.partition("=")[0] not in given), *overrides)

    return make


def test_its_values_become_the_trials(make_custom: MakeCustom) -> None:
    with make_custom(RANK, RATE, "hydra.sweeper.n_trials=8") as sweep:
        trials = finish(sweep)
    assert len(trials) == 8
    assert len({trial.params["peft.r"] for trial in trials}) > 1
    for trial in trials:
        (run,) = trial.runs
        rate, rank = trial.params["train.learning_rate"], trial.params["peft.r"]
        returned = {"peft.r": rank, "peft.lora_alpha": 2 * rank, "train.weight_decay": rate}
        assert trial.params == {"train.learning_rate": rate, **returned}
        assert (run.peft["r"], run.peft["lora_alpha"], run.train.weight_decay) == (rank, 2 * rank, rate)
    assert [noted["custom"]["peft.r"] for _, _, noted in stored(sweep)] == [trial.params["peft.r"] for trial in trials]


def test_a_space_may_be_all_its_own(make_custom: MakeCustom) -> None:
    source = returns("{'train.weight_decay': trial.suggest_float('decay', 0.0, 1.0)}")
    with make_custom(source, "peft=lora,dora,none", "hydra.sweeper.n_trials=3", "hydra.sweeper.max_runs=7") as sweep:
        trials = finish(sweep)
    assert [trial.params for trial in trials if trial.cell["peft"] == "none"] == [{}]  # nothing is trained there
    others = [trial for trial in trials if trial.cell["peft"] != "none"]
    assert sorted(trial.cell["peft"] for trial in others) == ["dora"] * 3 + ["lora"] * 3
    assert all(set(trial.params) == {"train.weight_decay"} for trial in others)


CALLED = """
from pathlib import Path
def define(trial, config):
    with Path(__file__).with_suffix(".calls").open("a") as file:
        file.write(f"{trial.number}\\n")
    return {"train.weight_decay": trial.suggest_float("decay", 0, 1), "peft.target_modules": ("q_proj",)}
"""


def calls(tmp_path: Path) -> int:
    return len((tmp_path / "mine.calls").read_text(encoding="utf-8").splitlines())


def test_a_resumed_trial_has_the_values_it_had(make_custom: MakeCustom, tmp_path: Path) -> None:
    with make_custom(CALLED, RATE) as first:
        finish(first, limit=1)
        left = first.ask()
    assert left
    assert calls(tmp_path) == 1 + 2  # one of them before the sweep began
    with make_custom(CALLED, RATE) as second:
        assert second.sweep_id == first.sweep_id
        again = second.ask()
        assert again
        assert (again.number, again.params) == (left.number, left.params)
        assert [run.content_hash() for run in again.runs] == [run.content_hash() for run in left.runs]
    assert calls(tmp_path) == 4  # only before the second began


def test_a_retried_trial_has_the_values_it_had(make_custom: MakeCustom, tmp_path: Path) -> None:
    with make_custom(CALLED, RATE) as first:
        wrong = with_a_failure(first)
    with make_custom(CALLED, RATE, "retry_failed=true") as second:
        (again,) = finish(second)
    assert (again.params, calls(tmp_path)) == (wrong.params, 6)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise RuntimeError('no luck')", "custom_search_space: RuntimeError: no luck"),
        ("return {'peft.r': 0}", "custom_search_space: peft.r=0: must be a positive whole number"),
        ("return {'peft.rr': 4}", "custom_search_space: peft.rr=4: unknown key for peft.type=LORA; did you mean 'r'?"),
        ("return None", "must return a dictionary, not NoneType"),
    ],
)
def test_a_bad_value_fails_its_trial_and_the_sweep_goes_on(make_custom: MakeCustom, body: str, reason: str) -> None:
    source = f"""
def define(trial, config):
    if trial.number != 1:
        return {{"peft.r": 4}}
    {body}
"""
    with make_custom(source, RATE) as sweep:
        trials = finish(sweep)
        assert [trial.number for trial in trials] == [0, 2, 3]
        assert (sweep.num_failed, sweep.num_finished, sweep.num_trials) == (1, 4, 4)
    state, value, noted = stored(sweep)[1]
    assert (state, value) == ("FAIL", None)
    assert reason in str(noted["reason"])
    with make_custom(source, RATE) as again:
        assert (again.num_left_failed, again.ask()) == (1, None)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such", "cannot be imported (ModuleNotFoundError: No module named 'no_such')"),
        ("def define(trial, config)", "cannot be imported (SyntaxError: "),
        ("raise SystemExit(3)", "cannot be imported (SystemExit: 3)"),
        ("def defined(trial, config): ...", "no function define in this file; did you mean 'defined'?"),
        ("define = 3", "no function define in this file; it has: none"),
        ("def define(trial): ...", "must take two arguments (too many positional arguments); def define(t"),
        (returns("[1]"), "must return a dictionary, not list"),
        (returns("{3: 4}"), "returns the key 3, which is no text"),
        (returns("{'train.epoch': 4}"), "train.epoch=4: unknown key; did you mean 'train.epochs'?"),
        (returns("{'train.epochs': 'many'}"), "train.epochs=many: must be a number, not text"),
        (returns("{'train.epochs': object}"), "must be plain numbers, text, lists or dictionaries"),
        (returns("{'seed': 4}"), "seed=4: is not for a trial to set"),
        (returns("{'output_dir': 'x'}"), "output_dir=x: is not for a trial to set"),
        (returns("{'budget.minutes': 4}"), "budget.minutes=4: is not for a trial to set"),
        (returns("{'peft': {'r': 4}}"), "peft={'r': 4}: is a group of keys, not a value; return a key below it"),
        (returns("{'train.learning_rate': 0.1}"), "train.learning_rate is an axis of this sweep already"),
        (returns("{'train.optimizer_args': {'_target_': 'os.system'}}"), "a config never names code to call"),
        (returns("{'task.train_size': 1000}"), "task.train_size=1000: larger than the data"),
        (returns("1 / 0"), "ZeroDivisionError: division by zero"),
        (returns("{'peft.r': trial.suggest_int('r', 4, 2)}"), "ValueError: "),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_anything_is_written(
    make_custom: MakeCustom, tmp_path: Path, source: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        make_custom(source, RATE, "peft=lora,dora", f"output_dir={tmp_path / 'new'}")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]  # not even a compiled file


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("mine.py", "is written <file.py>:<function>; my_space.py:define, say"),
        ("mine:define", "is written <file.py>:<function>"),
        ("no/such.py:define", "cannot be read (No such file or directory)"),
    ],
)
def test_a_file_that_is_not_there(make_sweep: Callable[..., Sweep], where: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"hydra.sweeper.custom_search_space={where}: {message}")):
        make_sweep(f"hydra.sweeper.custom_search_space={where}", "hydra.sweeper.n_trials=2")


def test_a_similar_file_is_suggested(make_custom: MakeCustom, tmp_path: Path) -> None:
    (tmp_path / "my_space.py").write_text(RANK, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"did you mean 'my_space\.py'\?"):
        make_custom(RANK, f"hydra.sweeper.custom_search_space={tmp_path / 'my_spaces.py'}:define")


def test_it_needs_a_number_of_trials_and_a_sweep(make_sweep: Callable[..., Sweep], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(RANK, encoding="utf-8")
    line = f"hydra.sweeper.custom_search_space={tmp_path / 'mine.py'}:define"
    with pytest.raises(ConfigError, match=r"say how many: hydra\.sweeper\.n_trials=20"):
        make_sweep(line)
    with pytest.raises(ConfigError, match="suggests values for the trials of a sweep; add -m"):
        make_sweep(line, is_sweep=False)


def test_a_yaml_file_never_names_code(make_declared: MakeDeclared, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise RuntimeError('must not run')", encoding="utf-8")
    (tmp_path / "conf" / "task").mkdir(parents=True)
    named = f"hydra: {{sweeper: {{custom_search_space: '{tmp_path / 'mine.py'}:define'}}}}"
    text = f"# @package _global_\ndefaults: [sst2]\n{named}\n"
    (tmp_path / "conf" / "task" / "bad.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="a config never names code to call; give it on the command line"):
        make_declared({}, "task=bad", "hydra.sweeper.n_trials=2")


def test_the_command_takes_it_and_its_plan_writes_nothing(
    loader: ConfigLoader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(RANK, encoding="utf-8")
    line = f"hydra.sweeper.custom_search_space={tmp_path / 'mine.py'}:define"
    command_line.check(command_line.parse([line], loader), loader, is_sweep=True)
    output = f"output_dir={tmp_path / 'out'}"
    fixed = ["task.data.source=demo", "task.train_size=20", output, "-m", "plan=true"]
    assert main([line, "hydra.sweeper.n_trials=3", *fixed]) == 0
    assert "1 cell, 3 trials, 3 runs" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_the_sweep_id_changes_with_the_code_not_with_its_place(make_custom: MakeCustom, tmp_path: Path) -> None:
    first = make_custom(RANK).sweep_id
    assert make_custom(RANK + "\n").sweep_id != first
    assert make_custom(f"{RANK}\nother = define\n", function="other").sweep_id != make_custom(RANK).sweep_id
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "moved.py").write_text(RANK, encoding="utf-8")
    moved = make_custom(RANK, f"hydra.sweeper.custom_search_space={tmp_path / 'elsewhere' / 'moved.py'}:define")
    assert moved.sweep_id == first


def test_a_plan_says_that_there_is_more(make_custom: MakeCustom, tmp_path: Path) -> None:
    note = f"  note    {tmp_path / 'mine.py'}:define adds to the point of every trial"
    assert note in plan_text(make_custom(RANK)).splitlines()


def test_what_it_suggests_is_the_samplers_to_learn_from(make_custom: MakeCustom) -> None:
    """TPE comes to the value that scores best, which no axis names."""
    from tests.unit.search.test_study import done

    source = returns("{'train.weight_decay': trial.suggest_float('decay', 0.0, 1.0)}")
    with make_custom(source, "hydra.sweeper.sampler=tpe", "hydra.sweeper.n_trials=40") as sweep:
        tried: list[Any] = []
        while (trial := sweep.ask()) is not None:
            tried.append(trial.params["train.weight_decay"])
            sweep.tell(trial, done(trial, 1 - abs(tried[-1] - 0.3)))
    late = [abs(decay - 0.3) for decay in tried[-10:]]
    early = [abs(decay - 0.3) for decay in tried[:10]]
    assert sum(late) < sum(early) / 2
