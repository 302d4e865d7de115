"""One command -> one Sweep: its overrides, the axes that the config declares, and everything checked.

The one way in, for a single run and for a sweep. Trains nothing and writes nothing; the data is looked at
only to know that it is there and large enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override

from sweeper.config import ConfigError, RunConfig
from sweeper.search import overrides as command_line
from sweeper.search.compose import Composer, check_objective
from sweeper.search.data import DataCheck
from sweeper.search.options import LauncherOptions, SearchOptions
from sweeper.search.space import Axis, Cell, Role, Space, product, read_axis
from sweeper.search.study import Sweep
from sweeper.search.typed import check_key

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
    reader = _Reader(loader, composer, {override.key_or_group for override in given},
                     [axis for axis in axes if axis is not seeds], is_sweep=is_sweep)  # fmt: skip
    cells = tuple(reader.cells())
    return _sweep(composer, cells, seeds, is_sweep=is_sweep)


def _sweep(composer: Composer, cells: tuple[Cell, ...], seeds: Axis | None, *, is_sweep: bool) -> Sweep:
    first = composer.composition(cells[0].choices)
    search, launcher = SearchOptions.read(first.sweeper), LauncherOptions.read(first.launcher)
    check_objective("hydra.sweeper.objective", search.objective)
    base = first.config({**cells[0].fixed, **cells[0].design, **_first_point(cells[0])})
    space = Space(cells, _seeds(base, seeds, is_sweep=is_sweep))
    base = replace(base, replicates=len(space.seeds), seed=space.seeds[0])
    data = DataCheck()
    sweep = Sweep(_name(base, space, first.choices), base, space, search, launcher, composer, data,
                  is_single=not is_sweep)  # fmt: skip
    for cell in cells:
        _check_points_known(cell, search)
        for point in _points_to_check(cell):
            data.check(sweep.config(cell, point))
    return sweep


@dataclass(frozen=True)
class _Reader:
    loader: ConfigLoader
    composer: Composer
    given: set[str]  # keys on the command line; they win over what the config declares
    axes: list[Axis]  # of the command line
    is_sweep: bool

    def cells(self) -> Iterator[Cell]:
        for choices in product([axis for axis in self.axes if axis.is_group]):
            yield from self._cells(choices)

    def _cells(self, choices: Mapping[str, str]) -> Iterator[Cell]:
        """A declared axis over a config group opens new compositions, which may declare axes of their own."""
        declared = self._declared(choices)
        for override in declared:
            if command_line.is_group(override.key_or_group, self.loader):
                swept = override.is_sweep_override()
                values = read_axis(override, is_group=True).values() if swept else [override.value()]
                for value in values:
                    yield from self._cells({**choices, override.key_or_group: str(value)})
                return
        declared_axes = [read_axis(override, is_group=False) for override in declared if override.is_sweep_override()]
        axes = [*declared_axes, *(axis for axis in self.axes if not axis.is_group)]
        fixed = {override.key_or_group: override.value() for override in declared if not override.is_sweep_override()}
        search = {axis.key: axis.dimension for axis in axes if axis.role is Role.SEARCH}
        for design in product([axis for axis in axes if axis.role is Role.DESIGN]):
            yield Cell(choices, design, search, fixed)

    def _declared(self, choices: Mapping[str, str]) -> list[Override]:
        if not self.is_sweep:
            return []
        lines = self.composer.composition(choices).declared
        declared = [override for override in command_line.parse(lines, self.loader)
                    if override.key_or_group not in self.given | set(choices)]  # fmt: skip
        for override in declared:
            if override.key_or_group == "seed":
                raise ConfigError("hydra.sweeper.params", "seed", "replicates are not declared with the axes",
                                  "set replicates=<n>, or seed=1,2,3 on the command line")  # fmt: skip
            if not command_line.is_group(override.key_or_group, self.loader):
                check_key(override.key_or_group, override.get_value_string(), RunConfig)
        return declared


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


def _first_point(cell: Cell) -> dict[str, Any]:
    return {key: dimension.extremes()[0] for key, dimension in cell.search.items()}


def _points_to_check(cell: Cell) -> Iterator[dict[str, Any]]:
    """Every choice and both ends of every range at least once: what is between them is as valid."""
    first = _first_point(cell)
    yield first
    for key, dimension in cell.search.items():
        for value in dimension.extremes()[1:]:
            yield {**first, key: value}


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
