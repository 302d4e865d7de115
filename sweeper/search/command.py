"""One command -> one Sweep: its overrides, the axes that the config declares, and everything checked.

The one way in, for a single run and for a sweep. Trains nothing and writes nothing; the data is looked at
only to know that it is there and large enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader

from sweeper.checks import ConfigError
from sweeper.config import AUTO, RunConfig
from sweeper.metrics import HEADLINE, headline
from sweeper.search import conditions, confirmation, custom, model_files, storage
from sweeper.search import overrides as command_line
from sweeper.search.asking import Asker
from sweeper.search.cells import Table, TableReader, check_size, fitted
from sweeper.search.compose import Composer, Composition, check_objectives
from sweeper.search.data import DataCheck
from sweeper.search.grammar import read_axis
from sweeper.search.options import LauncherOptions, SearchOptions
from sweeper.search.pruning import check_evaluations, check_pruner
from sweeper.search.report import Kind, check_report
from sweeper.search.space import Axis, Cell, Role, Space
from sweeper.search.study import Sweep
from sweeper.tracking import places

CONFIG_NAME = "config"


def read_command(lines: Sequence[str], loader: ConfigLoader, *, is_sweep: bool) -> Sweep:
    """Raises ConfigError, or what Hydra and OmegaConf raise for files that cannot be composed."""
    given = command_line.parse(lines, loader)
    command_line.check(given, loader, is_sweep=is_sweep)
    fixed = command_line.settled([override for override in given if not override.is_sweep_override()])
    composer = Composer(loader, CONFIG_NAME, fixed)
    axes = [read_axis(override, is_group=command_line.is_group(override.key_or_group, loader))
            for override in given if override.is_sweep_override()]  # fmt: skip
    seeds = next((axis for axis in axes if axis.role is Role.REPLICATES), None)
    given_keys = {override.key_or_group for override in given}
    others = [axis for axis in axes if axis is not seeds]
    tables = fitted(TableReader(loader, composer, given_keys, others, is_sweep=is_sweep).tables())
    return _sweep(composer, tables, seeds, is_sweep=is_sweep)


def _sweep(composer: Composer, tables: Sequence[Table], seeds: Axis | None, *, is_sweep: bool) -> Sweep:
    first = composer.composition(tables[0].choices)
    search, launcher = _search_options(first), LauncherOptions.read(first.launcher)
    if is_sweep:
        check_size(tables, search, _num_seeds(first, seeds))
    own = _custom(search, is_sweep=is_sweep)
    cells = tuple(cell for table in tables for cell in table.cells(own))
    base = first.config({**cells[0].fixed, **cells[0].design, **_first_point(cells[0])})
    check_objectives("hydra.sweeper.objective", search.objectives, base.task.type)
    if search.sampler_args or len(search.objectives) > 1:
        storage.check_sampler(search, cells[0].search)
    space = Space(cells, _seeds(base, seeds, is_sweep=is_sweep))
    base = replace(base, replicates=len(space.seeds), seed=space.seeds[0])
    places.check_output(Path(base.output_dir), ("optuna.db",) if base.tracking_uri else ("optuna.db", "mlflow.db"))
    if base.tracking_uri is not None:
        places.check(base.tracking_uri)
    if is_sweep:
        check_pruner(search, len(space.seeds))
        confirmation.fresh_seeds(search, space.seeds)
    data, kinds = DataCheck(), set[Kind]()
    sweep = Sweep(_name(base, space, first.choices), base, space, search, launcher, composer, data,
                  is_single=not is_sweep)  # fmt: skip
    for cell in cells:
        _check_points_known(cell, search)
        for point in _points_to_check(cell):
            config = sweep.undigested(cell, point)
            kinds.add((config.task.type, tuple(config.task.metrics)))
            data.check(config)
            model_files.check(config)
            if is_sweep:
                check_evaluations(search, config)
        if not base.plan:
            model_files.check_at_hand(config.model)
    check_report(base.report, kinds)
    if own is not None:
        _rehearse(sweep)
    return sweep


def _search_options(first: Composition) -> SearchOptions:
    search = SearchOptions.read(first.sweeper)
    task_type = first.value("task.type")
    is_known = search.objective == AUTO and task_type in HEADLINE  # what is not, `validate` refuses
    return replace(search, objective=headline(task_type)) if is_known else search


def _custom(search: SearchOptions, *, is_sweep: bool) -> custom.CustomSpace | None:
    where = search.custom_search_space
    if where is None:
        return None
    if not is_sweep:
        raise ConfigError(custom.KEY, where, "suggests values for the trials of a sweep", "add -m")
    if search.n_trials is None:
        raise ConfigError(custom.KEY, where, "nobody can count the points of a function",
                          "say how many: hydra.sweeper.n_trials=20")  # fmt: skip
    return custom.load(where)


def _rehearse(sweep: Sweep) -> None:
    """A person's own code gives a trial to each cell, in memory. Raises ConfigError for one that cannot be trained."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    asker = Asker(sweep.space, sweep.undigested, study_per_cell=True)
    for cell in (cell for cell in sweep.space.cells if cell.custom is not None):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=sweep.search.seed))
        opened = asker.sampled(study, cell)
        if opened.refusal:
            raise ConfigError(custom.KEY, sweep.search.custom_search_space, opened.refusal)
        config = sweep.undigested(cell, opened.point)
        sweep.data.check(config)
        model_files.check(config)


def _num_seeds(first: Composition, axis: Axis | None) -> dict[str, int]:
    """Before any is listed, under the key that says how many."""
    if axis is not None:
        return {axis.key: axis.dimension.count}
    replicates = first.tree.get("replicates")
    return {"replicates": replicates} if isinstance(replicates, int) else {}  # what else it may be, `validate` refuses


def _seeds(base: RunConfig, axis: Axis | None, *, is_sweep: bool) -> tuple[int, ...]:
    if axis is None:
        if base.replicates > 1 and not is_sweep:
            raise ConfigError("replicates", base.replicates, "several runs are a sweep", "add -m")
        return tuple(range(base.seed, base.seed + base.replicates))
    if base.replicates > 1:
        raise ConfigError(
            "replicates", base.replicates, "the seeds are listed already (seed=...)", "give only one of them"
        )
    for seed in axis.values():
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise ConfigError("seed", seed, "must be a whole number in [0, 2**32)")
    return tuple(axis.values())


def _first_point(cell: Cell, wanted: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """With the first value of each key that is active, or the one wanted for it."""
    point: dict[str, Any] = {}
    for key, dimension in cell.search.items():
        if cell.is_active(key, point):
            point[key] = (wanted or {}).get(key, dimension.extremes()[0])
    return point


def _points_to_check(cell: Cell) -> Iterator[dict[str, Any]]:
    """Every choice and both ends of every range at least once: what is between them is as valid."""
    yield _first_point(cell)
    for key, dimension in cell.search.items():
        parents = {name: values[0] for name, values in conditions.required(key, cell.search).items()}
        for value in dimension.extremes()[0 if parents else 1 :]:
            yield _first_point(cell, {**parents, key: value})


def _check_points_known(cell: Cell, search: SearchOptions) -> None:
    if search.n_trials is None and not cell.is_finite:
        key = next(key for key, dimension in cell.search.items() if not dimension.is_finite)
        raise ConfigError("hydra.sweeper.n_trials", None, f"{key} is searched over an interval without a last point",
                          "say how many points: hydra.sweeper.n_trials=20")  # fmt: skip


def _name(base: RunConfig, space: Space, choices: Mapping[str, str]) -> str:
    """What MLflow shows: the experiment, or the task and what varies."""
    if "experiment" in choices and "experiment" not in space.design:
        return choices["experiment"]
    fixed = [base.task.name, *(name for group, name in (("model", base.model.name), ("peft", base.peft.get("name")))
                               if group not in space.design)]  # fmt: skip
    varied = [key.rpartition(".")[2] for key in (*space.design, *space.search)]
    return " ".join(map(str, fixed)) + (f": {', '.join(varied)}" if varied else "")
