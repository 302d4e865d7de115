"""The pictures of one run, as PNG: its curves, its confusion matrix, how far its training moved each weight.

Drawn on matplotlib's Figure and Agg canvas: pyplot would keep every figure and ask for a display.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

TRAIN_LOSS, EVAL_LOSS = "train/loss", "eval/loss"
BLUE, ORANGE, GREY = "#2563a8", "#d9730d", "#6b7280"
MAX_ABREAST = 3  # panels
NO_LABEL = "None"  # the predicted label of an irregular output


def loss_curve(events: Sequence[Mapping[str, Any]], path: Path, *, title: str = "") -> None:
    """Training loss and, in a panel of its own, the loss on the selection split over optimiser steps.

    Two panels, since the one is of an answer's tokens and the other of whole examples (see `sweeper.metrics`).
    `events`: as `RunFolder.read` returns them. A run without a finite loss gets an empty frame that says so.
    """
    curves = {"training": (_points(events, TRAIN_LOSS), BLUE), "selection": (_points(events, EVAL_LOSS), ORANGE)}
    panels = [name for name, (curve, _) in curves.items() if len(curve[0])] or ["training"]
    figure = Figure(figsize=(6.4, 1.2 + 2.6 * len(panels)), layout="constrained")
    stacked = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(stacked, panels, strict=True):
        curve, color = curves[name]
        axes.plot(*curve, color=color, linewidth=1.6, marker="o" if len(curve[0]) <= 25 else None, markersize=3.5)
        if not len(curve[0]):
            axes.text(0.5, 0.5, "no finite loss was logged", ha="center", color=GREY, transform=axes.transAxes)
        axes.set_ylim(bottom=0 if _near_zero(curve) else None)
        _over_steps(axes, f"{name} loss (nats)")
    _entitle(stacked[0], title)
    _save(figure, path)


def learning_curves(events: Sequence[Mapping[str, Any]], path: Path, *, measures: Sequence[str]) -> None:
    """A panel for each of these metrics: on the training rows (fit/) and on the selection split (eval/) over steps.

    Writes nothing where no metric was measured twice.
    """
    splits = {"training rows": "fit", "selection": "eval"}
    curves = {name: {label: _points(events, f"{split}/{name}") for label, split in splits.items()} for name in measures}
    panels = [name for name in measures if any(len(curve[0]) > 1 for curve in curves[name].values())]
    if not panels:
        return
    num_columns = min(len(panels), MAX_ABREAST)
    num_rows = math.ceil(len(panels) / num_columns)
    figure = Figure(figsize=(4.8 * num_columns, 3.6 * num_rows), layout="constrained")
    for number, name in enumerate(panels, start=1):
        axes = figure.add_subplot(num_rows, num_columns, number)
        for (label, curve), color in zip(curves[name].items(), (BLUE, ORANGE), strict=True):
            if len(curve[0]):
                axes.plot(*curve, color=color, linewidth=1.6, marker="o", markersize=3.5, label=label)
        axes.legend(frameon=False)
        _over_steps(axes, name.replace("_", " "))
    _save(figure, path)


def weight_updates(norms: Mapping[tuple[int | None, str], float | None], path: Path) -> None:
    """Heat map of ||dW|| / ||W|| by layer (None: outside the layers) and module, in logarithmic colours.

    Grey is what did not change or has no such figure.
    """
    layers = sorted({layer for layer, _ in norms if layer is not None})
    rows: list[int | None] = [*layers, *([None] if any(layer is None for layer, _ in norms) else [])]
    modules = list(dict.fromkeys(module for _, module in norms))
    shown = np.full((len(rows), len(modules)), np.nan)
    for (layer, module), norm in norms.items():
        shown[rows.index(layer), modules.index(module)] = norm or np.nan
    figure = Figure(figsize=(2.8 + 0.55 * len(modules), 2.6 + 0.28 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_facecolor("#e5e7eb")
    # The biases of a fully trained encoder move a hundred times as far as its matrices.
    colors = LogNorm(np.nanmin(shown), np.nanmax(shown)) if np.isfinite(shown).any() else None
    image = axes.imshow(shown, cmap="viridis", aspect="auto", norm=colors)
    figure.colorbar(image, ax=axes, label="‖ΔW‖ / ‖W‖")
    axes.set_xticks(range(len(modules)), modules, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(rows)), ["outside" if layer is None else str(layer) for layer in rows], fontsize=8)
    axes.set_ylabel("layer")
    axes.tick_params(length=0)
    _save(figure, path)


def confusion_matrix(matrix: np.ndarray, labels: Sequence[str], path: Path, *, title: str = "") -> None:
    """`matrix`: counts [gold, predicted]; one column more than rows holds the irregular outputs."""
    num_gold, num_predicted = matrix.shape
    assert num_gold == len(labels) <= num_predicted <= num_gold + 1, matrix.shape
    columns = [*labels, NO_LABEL][:num_predicted]
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(2.6 + 1.05 * num_predicted, 1.9 + 0.85 * num_gold), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    figure.colorbar(image, ax=axes, label="share of the gold label", shrink=0.9)
    for (row, column), count in np.ndenumerate(matrix):
        text = f"{int(count):,}\n{100 * shares[row, column]:.1f} %"
        axes.text(column, row, text, ha="center", va="center", color="white" if shares[row, column] > 0.55 else "black")
    axes.set_xticks(range(num_predicted), columns, rotation=0 if num_predicted <= 6 else 45)
    axes.set_yticks(range(num_gold), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("gold")
    axes.tick_params(length=0)
    if num_predicted > num_gold:  # the last column is no label: set apart
        axes.axvline(num_gold - 0.5, color="white", linewidth=5)
    _entitle(axes, title)
    _open(axes)
    _save(figure, path)


def _points(events: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and finite values; a resumed run's repeated step counts once, as it was last."""
    values = {e["step"]: e["values"][name] for e in events if e["event"] == "metrics" and name in e["values"]}
    points = np.array(sorted(values.items()), dtype=float).reshape(-1, 2)
    finite = points[np.isfinite(points[:, 1])]
    return finite[:, 0], finite[:, 1]


def _near_zero(curve: tuple[np.ndarray, np.ndarray]) -> bool:
    """A falling loss reads best above zero; one that hardly moves would become a flat line."""
    values = curve[1]
    return bool(len(values)) and float(values.min()) >= 0 and float(values.min()) < 0.5 * float(values.max())


def _over_steps(axes: Axes, quantity: str) -> None:
    axes.set_xlabel("optimiser step")
    axes.set_ylabel(quantity)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.8)
    _open(axes)


def _open(axes: Axes) -> None:
    """Without a frame above and to the right."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _entitle(axes: Axes, title: str) -> None:
    if title:
        axes.set_title(title, fontsize=10, loc="left", color="#111827")


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", dpi=130)
