"""What is written of a trial, read back by Optuna itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import optuna
import pytest
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from sqlalchemy import event

from sweeper.search.kept import KeptStudy, StudyFile, open_study
from sweeper.search.options import SAMPLERS, SearchOptions
from sweeper.search.storage import make_sampler, open_storage
from sweeper.search.study import Sweep
from tests.unit.search.test_study import TUNED, finish

DIRECTIONS = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]


@pytest.fixture
def storage(empty_studies: Path, tmp_path: Path) -> Iterator[RDBStorage]:
    (tmp_path / "optuna.db").write_bytes(empty_studies.read_bytes())
    opened = open_storage(tmp_path)
    yield opened
    opened.remove_session()


def opened(storage: RDBStorage, directions: Sequence[StudyDirection] = DIRECTIONS) -> KeptStudy:
    return open_study("a study", directions, InMemoryStorage(), storage)


def reread(storage: RDBStorage) -> list[FrozenTrial]:
    study = optuna.load_study(study_name="a study", storage=RDBStorage(str(storage.engine.url), engine_kwargs={
        "creator": storage.engine_kwargs["creator"]}))  # fmt: skip
    return study.get_trials()


def suggest(kept: KeptStudy) -> optuna.Trial:
    trial = kept.study.ask()
    trial.suggest_float("rate", 1e-5, 1e-3, log=True)
    trial.suggest_int("rank", 2, 8, step=2)
    trial.suggest_categorical("kind", ["a", None, True])
    trial.set_user_attr("cell", {"task": "x"})
    return trial


def same(left: FrozenTrial, right: FrozenTrial) -> None:
    """All but the ids, which differ between memory and file."""
    for name in ("number", "state", "values", "params", "distributions", "user_attrs", "system_attrs",
                 "intermediate_values", "datetime_start", "datetime_complete"):  # fmt: skip
        assert getattr(left, name) == getattr(right, name), name


def test_a_trial_is_in_the_file_as_it_is_in_memory_at_every_stage(storage: RDBStorage) -> None:
    kept = opened(storage)
    trial = suggest(kept)
    same(kept.keep(trial.number), reread(storage)[0])
    kept.report(trial.number, {3: 0.25, 7: float("inf")})
    kept.note(trial.number, {"cell": {"task": "y"}, "runs": ["a", "b"]}, {"rung": 0.5})
    assert reread(storage)[0].intermediate_values == {}, "nothing is written before it is said so"
    same(kept.keep(trial.number), reread(storage)[0])
    same(kept.tell(trial.number, [0.5, float("inf")], "COMPLETE"), reread(storage)[0])
    (found,) = reread(storage)
    assert (found.values, found.user_attrs["cell"]) == ([0.5, float("inf")], {"task": "y"})
    assert found.intermediate_values == {3: 0.25, 7: float("inf")}


@pytest.mark.parametrize("state", ["FAIL", "PRUNED"])
def test_a_trial_without_a_value(storage: RDBStorage, state: str) -> None:
    kept = opened(storage)
    same(kept.tell(suggest(kept).number, None, state), reread(storage)[0])
    assert reread(storage)[0].state.name == state


def test_the_next_process_has_the_same_trials_and_goes_on_with_them(storage: RDBStorage) -> None:
    first = opened(storage)
    for number in range(3):
        trial = suggest(first)
        if number == 1:
            first.keep(trial.number)
        else:
            first.tell(trial.number, [0.5, 0.5], "COMPLETE")
    second = opened(storage)
    assert [trial.state.name for trial in second.trials] == ["COMPLETE", "RUNNING", "COMPLETE"]
    for before, after in zip(first.trials, second.trials, strict=True):
        same(before, after)
    second.tell(1, [0.75, 0.25], "COMPLETE")
    second.tell(suggest(second).number, None, "FAIL")
    assert [(trial.number, trial.state.name) for trial in reread(storage)] == [
        (0, "COMPLETE"), (1, "COMPLETE"), (2, "COMPLETE"), (3, "FAIL"),
    ]  # fmt: skip


def test_optuna_goes_on_with_a_study_that_was_kept(storage: RDBStorage) -> None:
    kept = opened(storage)
    kept.tell(suggest(kept).number, [0.5, 0.5], "COMPLETE")
    study = optuna.load_study(study_name="a study", storage=storage)
    study.tell(study.ask(), [0.6, 0.4])
    assert [trial.number for trial in opened(storage).trials] == [0, 1]
    assert len(study.best_trials) == 1


def test_a_study_that_optuna_wrote_is_taken_over(storage: RDBStorage) -> None:
    study = optuna.create_study(study_name="a study", storage=storage, directions=DIRECTIONS)
    study.enqueue_trial({"rate": 0.5})
    kept = opened(storage)
    waiting = kept.study.ask()
    assert waiting.suggest_float("rate", 0, 1) == 0.5
    same(kept.tell(waiting.number, [0.5, 0.5], "COMPLETE"), reread(storage)[0])


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name in ("tpe", "nsgaii", "random")])
def test_a_sampler_finds_its_own_notes_again(storage: RDBStorage, sampler: str) -> None:
    options = SearchOptions(sampler=sampler, sampler_args={"population_size": 2} if sampler == "nsgaii" else {})
    for _ in range(3):
        kept = opened(storage, DIRECTIONS[:1])
        kept.study.sampler = make_sampler(options, len(kept.trials))
        for _ in range(3):
            trial = kept.study.ask()
            kept.tell(trial.number, [trial.suggest_float("x", 0, 1)], "COMPLETE")
    assert [trial.number for trial in reread(storage)] == list(range(9))
    for before, after in zip(kept.trials, reread(storage), strict=True):
        same(before, after)


@pytest.mark.parametrize("space", [("peft.r=range(1,6)",), (*TUNED, "hydra.sweeper.n_trials=5")])
def test_a_trial_costs_two_transactions(make_sweep: Callable[..., Sweep], space: tuple[str, ...]) -> None:
    with make_sweep(*space) as sweep:
        engine = kept_file(sweep).storage.engine
        commits: list[object] = []
        event.listen(engine, "commit", commits.append)
        assert len(finish(sweep)) == 5
    assert len(commits) == 10


def kept_file(sweep: Sweep) -> StudyFile:
    assert sweep._trials is not None
    file = sweep._trials.confirmed.file
    assert file is not None
    return file
