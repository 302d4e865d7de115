"""Where a sweep's studies are kept: one SQLite file below output_dir, used by one process per sweep.

Owns creation under a lock, the claim of a sweep by a process, and Optuna's samplers by name. Imports Optuna
late: a plan does without.
"""

from __future__ import annotations

import contextlib
import fcntl
import inspect
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.checks import ConfigError, suggestion
from sweeper.search.options import SearchOptions
from sweeper.search.space import Dimension

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage

LOCKS = "locks"  # folder below output_dir


@contextlib.contextmanager
def claimed(output_dir: Path, sweep_id: str) -> Iterator[None]:
    """While this process runs the sweep. Raises ConfigError when another one does."""
    with _lock(output_dir, sweep_id, wait=False):
        yield


def open_storage(output_dir: Path) -> BaseStorage:
    """Created by the first process that comes; Optuna's own creation does not survive two at once."""
    from optuna.storages import RDBStorage

    path = (output_dir / "optuna.db").resolve()

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
        # A trial is several small transactions; without WAL each waits for the disk twice.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    with _lock(output_dir, "optuna", wait=True):
        return RDBStorage(f"sqlite:///{path}", engine_kwargs={"creator": connect})


@contextlib.contextmanager
def _lock(output_dir: Path, name: str, *, wait: bool) -> Iterator[None]:
    folder = output_dir / LOCKS
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ConfigError("output_dir", output_dir, f"process {file.read().strip()} runs this very sweep already",
                              "wait for it, or stop it; the same command then goes on") from None  # fmt: skip
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def make_sampler(options: SearchOptions, num_known: int = 0) -> BaseSampler:
    """For a study with that many trials. Raises ConfigError for arguments that the sampler does not take."""
    from optuna import samplers

    classes: dict[str, type[BaseSampler]] = {
        "tpe": samplers.TPESampler, "random": samplers.RandomSampler, "gp": samplers.GPSampler,
        "cmaes": samplers.CmaEsSampler, "qmc": samplers.QMCSampler, "nsgaii": samplers.NSGAIISampler,
    }  # fmt: skip
    sampler = classes[options.sampler]
    known = [name for name in inspect.signature(sampler).parameters if name != "seed"]
    for name, value in options.sampler_args.items():
        if name not in known:
            fix = suggestion(name, known) or f"known: {', '.join(known)}"
            raise ConfigError(f"hydra.sweeper.sampler_args.{name}", value, f"unknown to {sampler.__name__}", fix)
    # A sampler that starts over with the same seed draws the same points again; a quasi-random sequence goes on
    # by the number of its trials and needs the seed that it began with.
    seed = options.seed if options.sampler == "qmc" else (options.seed + num_known) % 2**32
    arguments: dict[str, Any] = {**options.sampler_args, "seed": seed}
    try:
        return sampler(**arguments)
    except (TypeError, ValueError) as error:
        rule = f"{sampler.__name__} refuses them ({str(error).splitlines()[0]})"
        raise ConfigError("hydra.sweeper.sampler_args", options.sampler_args, rule) from error


def check_sampler(options: SearchOptions, space: Mapping[str, Dimension]) -> None:
    """Raises ConfigError for arguments that the sampler refuses, some of them only when it draws."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=make_sampler(options))
    distributions = {key: distribution(dimension) for key, dimension in space.items()}
    try:
        for _ in range(2):  # some samplers draw the first at random
            study.tell(study.ask(distributions), 0.0)
    except Exception as error:  # whatever arithmetic makes of them
        rule = f"{type(study.sampler).__name__} cannot draw with them ({str(error).splitlines()[0]})"
        raise ConfigError("hydra.sweeper.sampler_args", options.sampler_args, rule) from error


def distribution(dimension: Dimension) -> BaseDistribution:
    """The same whatever the order in which choices were written: a study must always have the same."""
    from optuna import distributions

    if dimension.choices:
        return distributions.CategoricalDistribution(sorted(map(encode, dimension.choices), key=repr))
    if dimension.integer:
        step = int(dimension.step or 1)
        return distributions.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log, step=step)
    return distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def categories(values: Sequence[Any]) -> BaseDistribution:
    return distribution(Dimension(choices=tuple(values)))


def encode(value: Any) -> Any:
    """What Optuna keeps of a value: lists and dictionaries as text."""
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)


def decode(stored: Any, values: Sequence[Any]) -> Any:
    """The value that was encoded."""
    for value in values:
        if type(encode(value)) is type(stored) and encode(value) == stored:
            return value
    return stored
