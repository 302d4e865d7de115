from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper import atomic_json
from sweeper.checks import ConfigError
from sweeper.search.drift import begin
from sweeper.search.record import Command, SweepRecord, merged, record_path
from sweeper.search.study import Sweep
from sweeper.search.trial import RunResult

MakeSweep = Callable[..., Sweep]
GIVEN = ("peft=lora,dora", "peft.r=2,4")


def started(make_sweep: MakeSweep, *overrides: str) -> Sweep:
    """Entered once, with its record; nothing was asked of it."""
    sweep = make_sweep(*GIVEN, *overrides)
    begin(sweep, Command((*GIVEN, *overrides)))
    with sweep:
        return sweep


def finish(sweep: Sweep, limit: int | None = None, state: str = "COMPLETE") -> None:
    done = 0
    while done != limit and (trial := sweep.ask()) is not None:
        results = [RunResult(f"{trial.number}", state, {"eval/accuracy": 0.5}) for _ in trial.runs]
        sweep.tell(trial, results)
        done += 1


def stored(sweep: Sweep) -> SweepRecord:
    return SweepRecord.read(record_path(Path(sweep.base.output_dir), sweep.sweep_id))


def test_a_sweep_leaves_its_command_and_all_that_decides_its_table(
    make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch, small_data: Path
) -> None:
    monkeypatch.setenv("SWEEPER_DATA", os.path.relpath(small_data))
    sweep = started(make_sweep, "hydra.sweeper.n_trials=3")
    values = stored(sweep).values
    assert values["command"]["overrides"] == [*GIVEN, "hydra.sweeper.n_trials=3"]
    assert values["command"]["cwd"] == str(Path.cwd())
    assert values["command"]["environment"] == {"SWEEPER_DATA": str(small_data)}
    assert (values["n_trials"], values["trials"], values["finished"]) == (3, sweep.num_trials, 0)
    assert values["content"]["data"] == sweep.data.identities()
    assert len(values["code"]["version"]) == 12


def test_the_configs_come_back_cell_by_cell_without_what_decides_nothing(make_sweep: MakeSweep) -> None:
    sweep = started(make_sweep)
    cells = stored(sweep).cells()
    assert [config["peft.name"] for config in cells.values()] == ["lora", "dora"]
    assert cells == sweep.content["cells"]
    assert not {"output_dir", "plan", "retry_failed", "resume.allow_drift", "seed"} & cells.popitem()[1].keys()


@pytest.mark.parametrize(
    ("limit", "state", "is_finished"), [(0, "KILLED", False), (3, "KILLED", False), (None, "COMPLETE", True)]
)
def test_the_end_says_whether_trials_are_missing(
    make_sweep: MakeSweep, limit: int | None, state: str, is_finished: bool
) -> None:
    sweep = make_sweep(*GIVEN)
    begin(sweep, Command(GIVEN))
    with sweep:
        assert stored(sweep).values["state"] == "RUNNING"
        finish(sweep, limit)
        sweep.renew()
        assert stored(sweep).values["finished"] == (4 if limit is None else limit)
    record = stored(sweep)
    assert (record.values["state"], record.is_finished) == (state, is_finished)


def test_a_sweep_that_an_exception_ends_is_unfinished(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(*GIVEN)
    begin(sweep, Command(GIVEN))

    def stopped() -> None:
        with sweep:
            finish(sweep)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert not stored(sweep).is_finished


def test_a_failed_trial_is_told(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("peft.r=2,4")
    begin(sweep, Command(("peft.r=2,4",)))
    with sweep:
        while (trial := sweep.ask()) is not None:
            sweep.tell(trial, [RunResult("a", "FAILED", {}, "error")])
    assert stored(sweep).values["state"] == "FAILED"


def test_a_second_start_is_another_start_of_the_same_sweep(make_sweep: MakeSweep) -> None:
    first, second = stored(started(make_sweep)), stored(started(make_sweep))
    assert first.sweep_id == second.sweep_id
    assert first.values["created"] == second.values["created"]
    assert first.values["started"] < second.values["started"]


def test_before_it_is_entered_nothing_is_written(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep = make_sweep(*GIVEN, f"output_dir={tmp_path / 'elsewhere'}")
    begin(sweep, Command(GIVEN))
    assert list(tmp_path.iterdir()) == []


def test_a_second_process_does_not_touch_the_record(make_sweep: MakeSweep) -> None:
    first, second = make_sweep(*GIVEN), make_sweep(*GIVEN)
    begin(first, Command(GIVEN))
    with first:
        begin(second, Command(GIVEN))
        before = stored(first).values
        with pytest.raises(ConfigError, match="runs this very sweep already"), second:
            pass
        assert stored(first).values == before


def test_a_kill_at_any_write_leaves_the_record_before_it(
    make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = started(make_sweep)
    before = stored(sweep).values

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(atomic_json.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            started(make_sweep)
    assert stored(sweep).values == before
    assert [path.name for path in stored(sweep).path.parent.iterdir()] == ["sweep.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"sweep_id": "a"}', "null"])
def test_a_damaged_record_is_one_line(make_sweep: MakeSweep, text: str) -> None:
    record = stored(started(make_sweep))
    record.path.write_text(text)
    with pytest.raises(ConfigError, match=r"sweeps/\w+/sweep.json is damaged; delete it") as caught:
        SweepRecord.read(record.path)
    assert "\n" not in str(caught.value)


def test_a_damaged_record_of_this_very_sweep_is_written_anew(make_sweep: MakeSweep) -> None:
    stored(started(make_sweep)).path.write_text("{")
    assert stored(started(make_sweep)).values["state"] == "KILLED"


def test_no_secret_is_recorded(make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_HUB_TOKEN", "canary-5ecret")
    sweep = make_sweep(*GIVEN, "task.prompt.system=canary-5ecret")
    begin(sweep, Command((*GIVEN, "task.prompt.system=canary-5ecret", "tracking_uri=http://me:pass-word@server:5000")))
    with sweep:
        text = json.dumps(stored(sweep).values)
    assert "canary" not in text
    assert "pass-word" not in text


@pytest.mark.parametrize(
    "further",
    ["hydra.sweeper.n_trials=9", "hydra.sweeper.max_failures=1", "plan=true", "retry_failed=true", "budget.minutes=3",
     "resume.allow_drift=true", "hydra.launcher.slots=2", "hydra/launcher=slots", "tracking_uri=http://a:1",
     "output_dir=there"],
)  # fmt: skip
def test_the_key_of_a_command_stays_with_how_far_and_where(further: str) -> None:
    assert Command(GIVEN).key == Command((further, *reversed(GIVEN))).key


def test_the_key_of_a_command_changes_with_what_it_asks_for() -> None:
    keys = {Command(lines).key for lines in (GIVEN, GIVEN[:1], (*GIVEN, "replicates=2"))}
    assert len(keys | {Command(GIVEN, config_dir="mine").key}) == 4


def test_what_was_said_once_is_not_said_again() -> None:
    command = Command((*GIVEN, "resume.allow_drift=true", "retry_failed=true"))
    assert command.to_dict()["overrides"] == list(GIVEN)


def test_a_later_override_takes_the_place_of_the_earlier() -> None:
    assert merged(["a=1", "++b.c=2"], ["b.c=3", "d=4"]) == ["a=1", "b.c=3", "d=4"]
