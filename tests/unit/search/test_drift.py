"""What happens to a command that has changed its meaning since it was given before."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.checks import ConfigError
from sweeper.search import drift, record
from sweeper.search.drift import Drift, begin
from sweeper.search.record import Command, SweepRecord, record_path
from sweeper.search.study import Sweep
from tests.unit.search.test_record import finish

MakeSweep = Callable[..., Sweep]
GIVEN = Command(("peft.r=2,4",))  # the files behind the same words change


def run(sweep: Sweep, limit: int | None = None, command: Command = GIVEN, state: str = "COMPLETE") -> list[str]:
    notes = begin(sweep, command)
    with sweep:
        finish(sweep, limit, state)
    return notes


def new_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "code_version", lambda: "0ther0ther00")
    monkeypatch.setattr(
        record, "code_state", lambda: {"version": "0ther0ther00", "commit": "c0ffee" * 6, "dirty": True}
    )


def tree(folder: Path) -> dict[str, bytes]:
    """Without the database, which SQLite tidies up when it comes to close a connection."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("optuna.db")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_changed_config_of_an_unfinished_sweep_is_shown_and_refused(make_sweep: MakeSweep, tmp_path: Path) -> None:
    run(make_sweep("peft.r=2,4"), limit=1)
    before = tree(tmp_path)
    with pytest.raises(Drift) as caught:
        begin(make_sweep("peft.r=2,4", "train.epochs=3", "task.max_new_tokens=7"), GIVEN)
    assert any(line.startswith("  train.epochs: ") and line.endswith(" -> 3.0") for line in caught.value.changes)
    assert "  task.max_new_tokens: 10 -> 7" in caught.value.changes
    assert "unfinished (1 of its 2 trials are finished), and its config has changed since" in str(caught.value)
    assert "resume.allow_drift=true goes on with it" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert tree(tmp_path) == before


def test_changed_data_is_shown_and_refused(make_sweep: MakeSweep, small_data: Path, tmp_path: Path) -> None:
    shutil.copytree(small_data, tmp_path / "data")
    given = ("peft.r=2,4", f"data_dir={tmp_path / 'data'}")
    first = make_sweep(*given)
    run(first, limit=1)
    (old,) = first.data.identities()
    (tmp_path / "data" / "dev.tsv").write_text("sentence\tlabel\nnew\t0\nother\t1\n")
    with pytest.raises(Drift, match="its data have changed") as caught:
        begin(make_sweep(*given), GIVEN)
    assert caught.value.changes[1].startswith(f"  data: {old} -> files ")


def test_changed_code_is_shown_with_its_commits_and_refused(
    make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(make_sweep("peft.r=2,4"), limit=1)
    new_code(monkeypatch)
    with pytest.raises(Drift, match="its code has changed") as caught:
        begin(make_sweep("peft.r=2,4"), GIVEN)
    assert caught.value.changes[1].endswith(" -> 0ther0ther00 (commit c0ffeec0ff, changed since)")


def test_many_changes_are_counted_and_long_values_cut(make_sweep: MakeSweep) -> None:
    run(make_sweep("peft.r=2,4"), limit=1)
    many = [f"train.{key}=0.5" for key in ("learning_rate", "epochs", "warmup_steps", "weight_decay", "max_grad_norm")]
    more = ["peft.lora_dropout=0.5", "peft.lora_alpha=7", "task.max_length=99", "task.max_new_tokens=9"]
    with pytest.raises(Drift) as caught:
        begin(make_sweep("peft.r=2,4", *many, *more, f"task.prompt.system={'x' * 500}"), GIVEN)
    header, *lines, count = caught.value.changes
    assert header.startswith("changed since sweep ")
    assert len(lines) == drift.MAX_LINES
    assert count == "  ... and 2 more"
    assert max(map(len, lines)) < 200


def test_allow_drift_goes_on_with_the_old_sweep_and_says_so(make_sweep: MakeSweep) -> None:
    first = make_sweep("peft.r=2,4")
    run(first, limit=1)
    second = make_sweep("peft.r=2,4", "train.epochs=3", "resume.allow_drift=true")
    notes = begin(second, GIVEN)
    assert notes[0] == f"going on with sweep {first.sweep_id}, though its config has changed:"
    with second:
        assert second.num_finished == 1
        (left,) = [trial for trial in iter(second.ask, None)]
    assert left.runs[0].train.epochs == 3
    assert second.sweep_id == first.sweep_id != second.content_id
    stored = SweepRecord.read(record_path(Path(first.base.output_dir), first.sweep_id))
    assert stored.drift[0]["changes"] == [line.strip() for line in notes[1:]]

    third = make_sweep("peft.r=2,4", "train.epochs=3")  # as things are now: nothing to allow any more
    assert begin(third, GIVEN) == []
    assert third.sweep_id == first.sweep_id


def test_of_a_finished_sweep_a_new_one_begins_and_one_line_says_why(make_sweep: MakeSweep) -> None:
    first = make_sweep("peft.r=2,4")
    run(first)
    second = make_sweep("peft.r=2,4", "train.epochs=3")
    notes = run(second)
    assert second.sweep_id != first.sweep_id
    assert notes[0] == (
        f"sweep {first.sweep_id} of this command has ended; a new one begins, since its config has changed:"
    )
    assert begin(make_sweep("peft.r=2,4"), GIVEN) == []  # back to what the first was: nothing has changed since


def test_a_sweep_that_ended_with_failures_has_ended(make_sweep: MakeSweep) -> None:
    first = make_sweep("peft.r=2,4")
    run(first, state="FAILED")
    second = make_sweep("peft.r=2,4", "train.epochs=3")
    assert "has ended; a new one begins" in begin(second, GIVEN)[0]
    assert second.sweep_id != first.sweep_id
    third = make_sweep("peft.r=2,4", "train.epochs=3", "resume.allow_drift=true", "retry_failed=true")
    assert begin(third, GIVEN)[0].startswith(f"going on with sweep {first.sweep_id}")


@pytest.mark.parametrize("choice", ["hydra.sweeper.sampler=random", "hydra.sweeper.seed=1",
                                    "hydra.sweeper.pruner=wilcoxon"])  # fmt: skip
def test_who_chooses_the_points_belongs_to_the_sweep(make_sweep: MakeSweep, choice: str) -> None:
    given = ("peft.r=range(2,30)", "hydra.sweeper.n_trials=4", "replicates=2")
    first = make_sweep(*given)
    run(first, limit=1)
    second = make_sweep(*given, choice)
    assert second.sweep_id != first.sweep_id
    with pytest.raises(Drift, match="its config has changed"):
        begin(second, GIVEN)


@pytest.mark.parametrize(
    "further", ["hydra.sweeper.n_trials=1", "hydra.launcher.slots=2", "retry_failed=true", "budget.minutes=5"]
)
def test_how_far_and_where_is_no_drift(make_sweep: MakeSweep, further: str) -> None:
    first = make_sweep("peft.r=2,4")
    run(first, limit=1)
    second = make_sweep("peft.r=2,4", further)
    assert begin(second, Command(("peft.r=2,4", further))) == []
    assert second.sweep_id == first.sweep_id


def test_another_command_is_another_sweep(make_sweep: MakeSweep) -> None:
    run(make_sweep("peft.r=2,4"), limit=1)
    other = ("peft.r=2,4", "train.epochs=3")
    assert run(make_sweep(*other), command=Command(other)) == []


def test_a_changed_space_cannot_go_on_but_begins_beside_the_old(make_sweep: MakeSweep) -> None:
    first = make_sweep("peft.r=2,4")
    run(first, limit=1)
    with pytest.raises(Drift, match="its space has changed") as caught:
        begin(make_sweep("peft.r=2,8"), GIVEN)
    assert any(line.startswith("  space: ") for line in caught.value.changes)
    second = make_sweep("peft.r=2,8", "resume.allow_drift=true")
    (note,) = run(second, limit=1)
    assert f"sweep {first.sweep_id} stays unfinished" in note
    assert second.sweep_id == second.content_id != first.sweep_id
    assert begin(make_sweep("peft.r=2,8"), GIVEN) == [], "the new one goes on by itself"


def test_other_objectives_cannot_go_on_in_the_old_studies(make_sweep: MakeSweep) -> None:
    run(make_sweep("peft.r=2,4"), limit=1)
    with pytest.raises(Drift) as caught:
        begin(make_sweep("peft.r=2,4", "hydra.sweeper.objective=eval/loss"), GIVEN)
    assert caught.value.changes[1].startswith("  hydra.sweeper.objectives: ")
    changed = make_sweep("peft.r=2,4", "hydra.sweeper.objective=eval/loss", "resume.allow_drift=true")
    begin(changed, GIVEN)
    assert changed.sweep_id == changed.content_id


def test_a_secret_that_has_changed_is_not_shown(make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    given = ("peft.r=2,4", "task.prompt.system=${oc.env:MY_TOKEN}")
    monkeypatch.setenv("MY_TOKEN", "canary-one")
    run(make_sweep(*given), limit=1)
    monkeypatch.setenv("MY_TOKEN", "canary-two")
    with pytest.raises(Drift) as caught:
        begin(make_sweep(*given), GIVEN)
    assert caught.value.changes[1:] == ["  config: a value that is not shown, since it is secret"]


def test_a_sweep_that_is_asked_for_by_name_is_the_one_that_is_compared(make_sweep: MakeSweep) -> None:
    first = make_sweep("peft.r=2,4")
    run(first, limit=1)
    changed = ("peft.r=2,4", "train.epochs=3")
    resumed = Command(changed, resumes=first.sweep_id)  # an override that was given to the resume itself
    with pytest.raises(Drift, match=f"sweep={first.sweep_id}: unfinished"):
        begin(make_sweep(*changed), resumed)


def test_another_sweeps_damaged_record_stops_the_command(make_sweep: MakeSweep) -> None:
    first = make_sweep("peft.r=2,4")
    run(first, limit=1)
    record_path(Path(first.base.output_dir), first.sweep_id).write_text('{"sweep_id"')
    with pytest.raises(ConfigError, match="is damaged; delete it"):
        begin(make_sweep("peft.r=2,4", "train.epochs=3"), GIVEN)
