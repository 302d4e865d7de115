"""The Pareto front of a sweep: its complete points by several objectives, and which of them nothing beats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from analysis.choosing import Criterion, Point, cells_of, points_of
from analysis.load import Run
from analysis.rows import Row

DIGITS = 12  # of a mean: 0.57 over two seeds and (0.55 + 0.59) / 2 are a tie


@dataclass
class Front:
    criterion: Criterion
    points: list[Row]  # complete ones, the best by the first objective first, in each cell where it has a front
    on_front: list[bool]  # of each point
    left_out: dict[str, int]  # why -> points
    per_cell: bool = False  # every cell has a front of its own

    @property
    def objectives(self) -> tuple[str, ...]:
        return self.criterion.objectives

    def only(self) -> Front:
        """Without the points that another one beats."""
        points = [point for point, is_on in zip(self.points, self.on_front, strict=True) if is_on]
        return replace(self, points=points, on_front=[True] * len(points))

    def fronts(self) -> list[list[Row]]:
        """The points that nothing beats, of each cell where every one has a front."""
        cells: dict[str, list[Row]] = {}
        for point in self.only().points:
            cells.setdefault(point.label if self.per_cell else "", []).append(point)
        return list(cells.values())


def front_of(runs: Sequence[Run], criterion: Criterion, *, per_cell: bool = False) -> Front:
    """By the search's seeds; a point counts when all its replicates are complete and have every objective.

    `per_cell`: each cell is a search of its own, whose points compare with no others.
    """
    if not per_cell:
        return _front_of(cells_of(runs), criterion)
    fronts = [_front_of([cell], criterion) for cell in cells_of(runs)]
    left_out = sum((Counter(front.left_out) for front in fronts), Counter[str]())
    points = [point for front in fronts for point in front.points]
    return Front(criterion, points, [is_on for front in fronts for is_on in front.on_front], dict(left_out), True)


def _front_of(cells: Sequence[list[Run]], criterion: Criterion) -> Front:
    left_out: Counter[str] = Counter()
    found: list[tuple[list[float], Row]] = []
    for cell in cells:
        points = points_of(cell)
        for point in points:
            row = _row(point, points)
            why = _why_not(point, criterion)
            if why:
                left_out[why] += 1
            else:
                found.append(([_rounded(criterion.score(point, name)) for name in criterion.objectives], row))
    found.sort(key=lambda item: item[0], reverse=True)
    best = set(non_dominated([gains for gains, _ in found]))
    return Front(criterion, [row for _, row in found], [n in best for n in range(len(found))], dict(left_out))


def non_dominated(points: Sequence[Sequence[float]]) -> list[int]:
    """Positions of the points that no other beats: none is at least as large everywhere and larger somewhere.

    Equal points all stay. Exact; what beats a point stands before it in lexicographic order, and the first of
    what beats it is itself on the front, so each is compared with the front so far.
    """
    front: list[int] = []
    for number in sorted(range(len(points)), key=lambda position: tuple(points[position]), reverse=True):
        if not any(_beats(points[other], points[number]) for other in front):
            front.append(number)
    return sorted(front)


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def _row(point: Point, points: Sequence[Point]) -> Row:
    row = Row.like(point.runs[0])
    row.runs, row.expected, row.chosen = point.complete, len(point.runs), point.varying(points)
    return row


def _why_not(point: Point, criterion: Criterion) -> str:
    if point.is_pruned:
        return "pruned"
    if not point.is_whole(criterion.replicates):
        return "not complete"
    lacking = next((why for run in point.complete if (why := criterion.why_not(run))), "")
    return f"without a finite {lacking}" if lacking else ""


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
