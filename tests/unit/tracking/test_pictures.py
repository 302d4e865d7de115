from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from sweeper.tracking.pictures import confusion_matrix, learning_curves, loss_curve, weight_updates


def curve(values: list[float]) -> list[dict[str, object]]:
    return [{"event": "metrics", "step": step, "values": {"train/loss": value}} for step, value in enumerate(values)]


def differs(one: Path, other: Path) -> bool:
    return not np.array_equal(imread(one), imread(other))


def test_the_loss_curve_shows_the_selection_loss_where_there_is_one(tmp_path: Path) -> None:
    events = curve([0.7, 0.5, 0.3])
    loss_curve(events, tmp_path / "a.png")
    loss_curve([*events, {"event": "metrics", "step": 2, "values": {"eval/loss": 0.4}}], tmp_path / "b.png")
    heights = [imread(tmp_path / f"{name}.png").shape[0] for name in "ab"]
    assert heights == [494, 832], "in a panel of its own: its unit is another"
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


def measured(**curves: list[float]) -> list[dict[str, object]]:
    return [{"event": "metrics", "step": step, "values": {name.replace("_", "/", 1): value}}
            for name, values in curves.items() for step, value in enumerate(values, start=1)]  # fmt: skip


def test_learning_curves_have_a_panel_for_each_metric_that_was_measured_twice(tmp_path: Path) -> None:
    losses, accuracies = [0.7, 0.5, 0.4], [0.5, 0.8, 0.9]
    drawn = {
        "loss": measured(fit_loss=losses, eval_loss=losses),
        "both": measured(fit_loss=losses, eval_loss=losses, fit_accuracy=accuracies, eval_accuracy=accuracies),
        "eval": measured(eval_loss=losses),
        "once": measured(fit_loss=[0.7], eval_loss=[0.7], eval_accuracy=[0.5]),
    }
    for name, events in drawn.items():
        learning_curves(events, tmp_path / f"{name}.png", measures=["loss", "accuracy"])
    widths = {path.stem: imread(path).shape[1] for path in tmp_path.glob("*.png")}
    assert widths == {"loss": 624, "eval": 624, "both": 1248}
    names = ["loss", "accuracy", "rouge1", "rouge2"]
    learning_curves(measured(**{f"eval_{name}": losses for name in names}), tmp_path / "four.png", measures=names)
    assert imread(tmp_path / "four.png").shape[:2] == (936, 1872)
    assert differs(tmp_path / "loss.png", tmp_path / "eval.png")


def test_the_heat_map_has_a_row_for_each_layer_and_one_for_what_is_in_none(tmp_path: Path) -> None:
    norms = {(layer, module): 0.1 * layer for layer in (0, 1, 2) for module in ("q_proj", "up_proj")}
    weight_updates(norms, tmp_path / "layers.png")
    weight_updates({**norms, (None, "embed"): 0.3, (1, "up_proj"): None}, tmp_path / "more.png")
    weight_updates(dict.fromkeys(norms, 0.0), tmp_path / "nothing_changed.png")
    heights = [imread(tmp_path / f"{name}.png").shape[0] for name in ("layers", "more")]
    assert heights[1] - heights[0] == pytest.approx(0.28 * 130, abs=1)


def test_no_pyplot_is_imported() -> None:
    code = "import sys, sweeper.tracking.pictures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
