from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from sweeper.tracking.pictures import confusion_matrix, loss_curve


def curve(values: list[float]) -> list[dict[str, object]]:
    return [{"event": "metrics", "step": step, "values": {"train/loss": value}} for step, value in enumerate(values)]


def differs(one: Path, other: Path) -> bool:
    return not np.array_equal(imread(one), imread(other))


def test_the_loss_curve_shows_the_selection_loss_where_there_is_one(tmp_path: Path) -> None:
    events = curve([0.7, 0.5, 0.3])
    loss_curve(events, tmp_path / "a.png")
    loss_curve([*events, {"event": "metrics", "step": 2, "values": {"eval/loss": 0.4}}], tmp_path / "b.png")
    assert differs(tmp_path / "a.png", tmp_path / "b.png")
    assert imread(tmp_path / "a.png").shape[1] > 600


@pytest.mark.parametrize("events", [[], curve([math.nan, math.inf])])
def test_a_run_without_a_finite_loss_still_has_a_picture(tmp_path: Path, events: list[dict[str, object]]) -> None:
    loss_curve(events, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize("shape", [(2, 3), (2, 2), (6, 7)])
def test_a_confusion_matrix_has_a_column_for_irregular_outputs(tmp_path: Path, shape: tuple[int, int]) -> None:
    labels = [f"label {number}" for number in range(shape[0])]
    confusion_matrix(np.ones(shape, dtype=int), labels, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_no_pyplot_is_imported() -> None:
    code = "import sys, sweeper.tracking.pictures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
