"""Where a sweep's studies are kept: one SQLite file below output_dir, used by one process per sweep.

Owns creation under a lock, and Optuna's samplers by name. Imports Optuna late: a plan does without.
"""

from __future__ import annotations

import contextlib
import fcntl
import inspect
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.checks import ConfigError
from sweeper.metrics import direction
from sweeper.search.arguments import built
from sweeper.search.options import SearchOptions
from sweeper.search.space import Dimension
from sweeper.tracking.claim import LOCKS
from sweeper.tracking.damage import check_database

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage
    from optuna.study import StudyDirection


def open_storage(output_dir: Path) -> RDBStorage:
    """Created by the first process that comes; Optuna's own creation does not survive two at once.

    Raises ConfigError for a damaged file.
    """
    from optuna.storages import RDBStorage

    path = (output_dir / "optuna.db").resolve()

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
        # A trial is several small transactions; without WAL each waits for the disk twice.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    with _lock(output_dir):
        check_database(path, "move it away: finished runs are taken from their folders")
        return RDBStorage(f"sqlite:///{path}", engine_kwargs={"creator": connect})


@contextlib.contextmanager
def _lock(output_dir: Path) -> Iterator[None]:
    (output_dir / LOCKS).mkdir(parents=True, exist_ok=True)
    with (output_dir / LOCKS / "optuna.lock").open("a+", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make_sampler(options: SearchOptions, num_known: int = 0) -> BaseSampler:
    """For a study with that many trials. Raises ConfigError for arguments that the sampler does not take."""
    from optuna import samplers

    classes: dict[str, type[BaseSampler]] = {
        "tpe": samplers.TPESampler, "random": samplers.RandomSampler, "gp": samplers.GPSampler,
        "cmaes": samplers.CmaEsSampler, "qmc": samplers.QMCSampler, "nsgaii": samplers.NSGAIISampler,
    }  # fmt: skip
    sampler, arguments = classes[options.sampler], dict(options.sampler_args)
    if options.sampler == "tpe":
        arguments.setdefault("constant_liar", True)  # a group asks for several points before any has a value
    # A sampler that starts over with the same seed draws the same points again; a quasi-random sequence goes on
    # by the number of its trials and needs the seed that it began with.
    seed = options.seed if options.sampler == "qmc" else (options.seed + num_known) % 2**32
    if (warns := inspect.signature(sampler).parameters.get("warn_independent_sampling")) and warns.default is True:
        arguments.setdefault(warns.name, False)  # conditional keys are sampled so: nothing to say at every trial
    return built(sampler, "hydra.sweeper.sampler_args", arguments, {"seed": seed})


def check_sampler(options: SearchOptions, space: Mapping[str, Dimension]) -> None:
    """Raises ConfigError for what the sampler refuses, some of it only when it draws: arguments, several objectives."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directions = towards(options.objectives)
    study = optuna.create_study(sampler=make_sampler(options), directions=directions)
    distributions = {key: distribution(dimension) for key, dimension in space.items()}
    try:
        for _ in range(2):  # some samplers draw the first at random
            study.tell(study.ask(distributions), [0.0] * len(directions))
    except Exception as error:  # whatever arithmetic makes of them
        if "multi-objective" in str(error):
            raise ConfigError("hydra.sweeper.sampler", options.sampler, "cannot search for several objectives",
                              "tpe, gp and nsgaii can") from error  # fmt: skip
        rule = f"{type(study.sampler).__name__} cannot draw with them ({str(error).splitlines()[0]})"
        raise ConfigError("hydra.sweeper.sampler_args", options.sampler_args, rule) from error


def towards(objectives: Sequence[str]) -> list[StudyDirection]:
    from optuna.study import StudyDirection

    return [StudyDirection[direction(name).upper()] for name in objectives]


def distribution(dimension: Dimension) -> BaseDistribution:
    """The same whatever the order in which choices were written: a study must always have the same."""
    from optuna import distributions

    if dimension.choices:
        return distributions.CategoricalDistribution(sorted(map(encode, dimension.choices), key=repr))
    if dimension.integer:
        step = int(dimension.step or 1)
        return distributions.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log, step=step)
    # The last bit of a sum of steps would make the end one that no number of steps reaches.
    high = dimension.high if dimension.step is None else float(f"{dimension.high:.12g}")
    return distributions.FloatDistribution(dimension.low, high, log=dimension.log, step=dimension.step)


def categories(values: Sequence[Any]) -> BaseDistribution:
    return distribution(Dimension(choices=tuple(values)))


def encode(value: Any) -> Any:
    """What Optuna keeps of a value: lists and dictionaries as text."""
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)


def decode(stored: Any, dimension: Dimension) -> Any:
    """The value of the dimension that was encoded; of a float in steps Optuna keeps 0.30000000000000004, say."""
    if dimension.step is not None and not dimension.integer:
        return dimension.nearest(stored)
    for value in dimension.choices:
        if type(encode(value)) is type(stored) and encode(value) == stored:
            return value
    return stored
