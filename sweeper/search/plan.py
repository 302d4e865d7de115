"""What a sweep would train, as text: cells, points, runs, data. Trains nothing, writes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence

from sweeper.search import model_files
from sweeper.search.space import Cell, abbreviated
from sweeper.search.study import Sweep

MAX_ROWS = 40  # cells printed one by one


def plan_text(sweep: Sweep) -> str:
    return "\n".join(_lines(sweep))


def _lines(sweep: Sweep) -> Iterator[str]:
    space, num_seeds = sweep.space, len(sweep.space.seeds)
    yield f"plan of {sweep.name}" + ("" if sweep.is_single else f"  (sweep {sweep.sweep_id})")
    yield ""
    for key, values in space.design.items():
        yield f"  design  {key}: {abbreviated(values)}"
    for key, dimension in space.search.items():
        yield f"  search  {key}: {dimension}"
    if num_seeds > 1:
        yield f"  seeds   {abbreviated(space.seeds)}"
    if space.search:
        yield f"  sampler {_sampler(sweep)}"
    for data in sweep.data.summaries():
        yield f"  data    {data}"
    yield from _missing_models(sweep)
    for note in sweep.notes:
        yield f"  note    {note}"
    yield f"  output  {sweep.base.output_dir}"
    yield ""
    if space.design:
        yield from _table(sweep)
        yield ""
    total = sweep.num_trials
    yield (f"{_count(len(space.cells), 'cell')}, {_count(total, 'trial')}, {_count(total * num_seeds, 'run')}; "
           "nothing was trained and nothing was written")  # fmt: skip


def _missing_models(sweep: Sweep) -> Iterator[str]:
    models = {str(model.hub_id): model for model in (sweep.undigested(cell, {}).model for cell in sweep.space.cells)}
    for name, model in models.items():
        if reason := model_files.missing(model):
            yield f"  model   {name}: {reason}; set model.path=<folder>"


def _sampler(sweep: Sweep) -> str:
    if all(sweep.is_enumerated(cell) for cell in sweep.space.cells):
        return "none: every point once"
    per_cell = ", a study per cell" if sweep.search.tune_per_cell else ""
    pruner = f", pruner {sweep.search.pruner}" if sweep.prunes_by is not None else ""
    return f"{sweep.search.sampler}, objective {', '.join(sweep.search.measures)}{per_cell}{pruner}"


def _table(sweep: Sweep) -> Iterator[str]:
    keys = list(sweep.space.design)
    rows = [[*keys, "trials", "runs"]]
    for cell in sweep.space.cells[:MAX_ROWS]:
        rows.append([*_shown(cell, keys), *_numbers(sweep, cell)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    limit = shutil.get_terminal_size((120, 24)).columns
    for row in rows:
        yield ("  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())[:limit]
    if len(sweep.space.cells) > MAX_ROWS:
        yield f"  ... and {len(sweep.space.cells) - MAX_ROWS} more cells"


def _shown(cell: Cell, keys: Sequence[str]) -> list[str]:
    return [str(cell.values.get(key, "")) for key in keys]


def _numbers(sweep: Sweep, cell: Cell) -> list[str]:
    trials = sweep.num_points(cell)
    return [str(trials), str(trials * len(sweep.space.seeds))]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
