from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from sweeper.search.stored import Stored, read_stored
from sweeper.search.study import Sweep
from sweeper.search.trial import RunResult, TrialRuns

MakeSweep = Callable[..., Sweep]


def tell(sweep: Sweep, trial: TrialRuns, state: str = "COMPLETE") -> None:
    results = [
        RunResult(f"run {trial.number} {seed}", state, {sweep.objective: 0.5}) for seed, _ in enumerate(trial.runs)
    ]
    sweep.tell(trial, results)


def stored(sweep: Sweep, *, retry_failed: bool = False) -> Stored:
    return read_stored(Path(sweep.base.output_dir), sweep.sweep_id, retry_failed=retry_failed)


def test_nothing_is_stored_before_the_first_trial(make_sweep: MakeSweep, tmp_path: Path) -> None:
    assert stored(make_sweep("peft.r=2,4")) == Stored()
    assert read_stored(tmp_path / "nowhere", "5eed", retry_failed=False) == Stored()


def test_finished_trials_are_counted_by_cell_with_their_runs(make_sweep: MakeSweep) -> None:
    command = ("peft.r=2,4", "task.train_size=10,20", "seed=1,2")
    with make_sweep(*command) as sweep:
        for state in ("COMPLETE", "FAILED", "PRUNED"):
            trial = sweep.ask()
            assert trial is not None
            tell(sweep, trial, state)
        sweep.ask()  # left open
    found = stored(make_sweep(*command))
    assert sorted(found.trials.values()) == [1, 2]
    assert sum(stored(make_sweep(*command), retry_failed=True).trials.values()) == 2
    assert found.run_ids == {f"run {number} {seed}" for number in (0, 1, 2) for seed in (0, 1)}
    assert found.confirmed == frozenset()


def test_another_sweeps_trials_do_not_count(make_sweep: MakeSweep) -> None:
    with make_sweep("peft.r=2,4") as sweep:
        trial = sweep.ask()
        assert trial is not None
        tell(sweep, trial)
    assert stored(make_sweep("peft.r=2,4,8")) == Stored()


def test_a_study_for_each_cell_counts_as_well(make_sweep: MakeSweep) -> None:
    command = ("peft.r=2,4", "task.train_size=10,20", "hydra.sweeper.tune_per_cell=true")
    with make_sweep(*command) as sweep:
        for _ in range(2):
            trial = sweep.ask()
            assert trial is not None
            tell(sweep, trial)
    assert list(stored(make_sweep(*command)).trials.values()) == [1, 1]


def test_best_points_on_fresh_seeds_are_told_apart(make_sweep: MakeSweep) -> None:
    command = ("peft.r=2,4", "hydra.sweeper.confirm_seeds=1")
    with make_sweep(*command) as sweep:
        while (trial := sweep.ask()) is not None:
            tell(sweep, trial)
    found = stored(make_sweep(*command))
    assert found.trials.total() == 2
    assert found.confirmed == {cell.key for cell in sweep.space.cells}


def test_a_retried_trial_counts_once(make_sweep: MakeSweep) -> None:
    command = ("peft.r=2", "hydra.sweeper.confirm_seeds=0")
    for again in ((), ("retry_failed=true",)):
        with make_sweep(*command, *again) as sweep:
            trial = sweep.ask()
            assert trial is not None
            tell(sweep, trial, "FAILED" if not again else "COMPLETE")
    assert stored(make_sweep(*command)).trials.total() == 1


def test_what_is_still_in_the_log_of_a_running_sweep_is_seen(make_sweep: MakeSweep) -> None:
    with make_sweep("peft.r=2,4") as sweep:
        trial = sweep.ask()
        assert trial is not None
        tell(sweep, trial)
        assert stored(make_sweep("peft.r=2,4")).trials.total() == 1


def test_reading_leaves_no_file_behind(make_sweep: MakeSweep) -> None:
    with make_sweep("peft.r=2,4") as sweep:
        trial = sweep.ask()
        assert trial is not None
        tell(sweep, trial)
    folder = Path(sweep.base.output_dir)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    stored(make_sweep("peft.r=2,4"))
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_damaged_file_is_the_sweeps_own_to_tell_of(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("peft.r=2,4")
    (Path(sweep.base.output_dir) / "optuna.db").write_bytes(b"no database at all" * 100)
    assert stored(sweep) == Stored()


def test_a_file_of_no_trials_tells_nothing(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("peft.r=2,4")
    path = Path(sweep.base.output_dir) / "optuna.db"
    path.unlink()
    sqlite3.connect(path).close()
    assert stored(sweep) == Stored()
