"""Which results a request asks for: of a task, a sweep or all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.load import SQLITE, BadArgument, Run, Store, Sweep


@dataclass
class Results:
    task: str
    sweep: Sweep | None  # None: all runs, whatever sweep they belong to
    runs: list[Run]
    called: str = "all runs"  # where no sweep has a name for them

    @property
    def title(self) -> str:
        sweep = self.sweep
        return f"{self.task}: " + (f"sweep {sweep.sweep_id} ({sweep.state.lower()})" if sweep else self.called)


def address(output_dir: str, tracking_uri: str | None) -> str:
    return tracking_uri or f"{SQLITE}{Path(output_dir) / 'mlflow.db'}"


def wanted(store: Store, task: str | None, sweep: str) -> Results:
    """`sweep`: latest | all | an id. Raises BadArgument, NothingToShow."""
    name, experiment = store.experiment(task)
    chosen = _sweep(store.sweeps(experiment), sweep, name)
    return Results(name, chosen, store.runs(experiment, sweep_id=chosen.sweep_id if chosen else None))


def of_sweep(store: Store, sweep_id: str) -> Results:
    """Whatever task it is of. Raises NothingToShow."""
    return wanted(store, store.experiment_of(sweep_id=sweep_id), sweep_id)


def _sweep(sweeps: Sequence[Sweep], wanted: str, task: str) -> Sweep | None:
    """None for all runs; also where there never was a sweep."""
    if wanted == "all" or (wanted == "latest" and not sweeps):
        return None
    if wanted == "latest":
        return sweeps[0]
    names = [sweep.sweep_id for sweep in sweeps]
    if wanted not in names:
        raise BadArgument(f"sweep={wanted}: not a sweep of {task}; there is {', '.join([*names, 'latest', 'all'])}")
    return sweeps[names.index(wanted)]
