"""Which results a request asks for: of a task or an experiment, of one sweep or all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.load import SQLITE, BadArgument, NothingToShow, Run, Store, Sweep

LATEST, ALL = "latest", "all"
KEYS = ("task", "experiment", "sweep", "output_dir", "tracking_uri")  # of Asked


@dataclass
class Asked:
    """What every command here takes."""

    task: str | None = None
    experiment: str | None = None
    sweep: str = LATEST  # or ALL, or an id
    output_dir: str = "mlruns"
    tracking_uri: str | None = None

    @property
    def uri(self) -> str:
        return self.tracking_uri or f"{SQLITE}{Path(self.output_dir) / 'mlflow.db'}"


@dataclass
class Results:
    task: str
    sweep: Sweep | None  # None: all runs, whatever sweep they belong to
    runs: list[Run]
    called: str = "all runs"  # where no sweep has a name for them

    @property
    def title(self) -> str:
        sweep = self.sweep
        if sweep is None:
            return f"{self.task}: {self.called}"
        return f"{sweep.experiment or self.task}: sweep {sweep.sweep_id} ({sweep.state.lower()})"


def wanted(store: Store, asked: Asked) -> Results:
    """Raises BadArgument, NothingToShow."""
    if asked.experiment is not None:
        return of_sweep(store, _of_experiment(store, asked, asked.experiment))
    name, task = store.experiment(asked.task)
    sweeps = store.sweeps(task)
    if asked.sweep == ALL or (asked.sweep == LATEST and not sweeps):
        return Results(name, None, store.runs(task))
    chosen = _sweep(sweeps, asked.sweep, name, ALL)
    return Results(name, chosen, store.runs(task, sweep_id=chosen.sweep_id))


def of_sweep(store: Store, sweep_id: str) -> Results:
    """Whatever task it is of. Raises NothingToShow."""
    return wanted(store, Asked(task=store.experiment_of(sweep_id=sweep_id), sweep=sweep_id))


def _of_experiment(store: Store, asked: Asked, name: str) -> str:
    """The sweep's id."""
    if asked.task is not None:
        raise BadArgument(f"task={asked.task}: leave it out; experiment={name} says which")
    own = [sweep for sweep in store.sweeps() if sweep.experiment == name]
    if not own:
        there = ", ".join(store.experiments()) or "none"
        raise NothingToShow(
            f"experiment={name}: no sweep of it; there is {there}; `python -m sweeper experiment={name} -m` makes one"
        )
    return _sweep(own, asked.sweep, name).sweep_id


def _sweep(sweeps: Sequence[Sweep], wanted: str, name: str, *others: str) -> Sweep:
    """`others`: what else could have been asked for."""
    if wanted == LATEST:
        return sweeps[0]
    ids = [sweep.sweep_id for sweep in sweeps]
    if wanted not in ids:
        raise BadArgument(f"sweep={wanted}: not a sweep of {name}; there is {', '.join([*ids, LATEST, *others])}")
    return sweeps[ids.index(wanted)]
