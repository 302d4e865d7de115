"""What a run leaves when it is done: scores, adapter, predictions, pictures."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import yaml
from torch import nn

from sweeper.metrics import HEADLINE
from sweeper.tracking import pictures
from sweeper.tracking.run_folder import RunState
from sweeper.training import cost, weight_updates
from sweeper.training.failure import is_disk_full, one_line
from sweeper.training.objective import Part
from sweeper.training.run import Run
from sweeper.training.weight_updates import NotDefined, WeightUpdate
from tasks.task import Prediction

WEIGHT_UPDATES = "sweeper.weight_updates"  # tag of a run without those figures: why


class Sizes(Protocol):
    """What tables say of a base model."""

    @property
    def num_parameters(self) -> int: ...

    @property
    def num_matrix_weights(self) -> int:
        """That every token is multiplied by."""

    def num_reached_weights(self, trained: Iterable[nn.Parameter]) -> int:
        """Of these, that a backward passes for the weights that train."""

    @property
    def is_trained(self) -> bool:
        """Whether its own weights are what is trained."""


class Kept(Protocol):
    """See `methods.Method`."""

    def updates(self, index: int) -> list[WeightUpdate]: ...

    def save(self, index: int, artifacts: Path) -> None: ...


class Predicting(Protocol):
    """See `objective.Objective`."""

    def predict(self, indices: Sequence[int], datas: Sequence[Any], part: Part) -> list[list[Prediction]]: ...


@dataclass(frozen=True)
class Scored:
    predictions: Sequence[Prediction]
    values: Mapping[str, float]  # by full metric name


def score(runs: Sequence[Run], objective: Predicting, part: Part) -> list[tuple[Run, Scored]]:
    """Predictions and metrics of these runs on one split, those without the split left out.

    A run whose weights or whose loss is not finite fails here, alone.
    """
    runs = [run for run in runs if part in run.data.parts]
    for run in runs:
        with run.alone():
            run.require_finite_weights()
            run.show("evaluating")
    runs = _sound(runs)
    if not runs:
        return []
    started = time.perf_counter()
    predicted = objective.predict([run.index for run in runs], [run.data for run in runs], part)
    seconds = time.perf_counter() - started
    scored = []
    for run, predictions in zip(runs, predicted, strict=True):
        with run.alone():
            run.progress.eval_s += seconds
            values = {f"{part.value}/{name}": value for name, value in run.data.task.score(predictions).items()}
            if (loss := f"{part.value}/loss") in values:  # a machine that only decides has none
                run.require_finite(loss, values[loss])
            scored.append((run, Scored(predictions, values)))
    return scored


def score_fit(runs: Sequence[Run], objective: Predicting) -> None:
    """Points of the training rows, of the runs that want them (task.score_train) and have none at their step."""
    for run, fitted in score(_unscored(runs, Part.FIT), objective, Part.FIT):
        with run.alone():
            run.log(fitted.values)


@dataclass(frozen=True)
class Finisher:
    """Judges runs at their end on the reporting split, once, and writes what they leave."""

    base: Sizes
    method: Kept
    objective: Predicting

    def __call__(self, runs: Sequence[Run]) -> None:
        for run in _sound(runs):
            with run.alone():
                run.load_best()
        for run, selected in score(_unscored(runs, Part.EVAL), self.objective, Part.EVAL):
            with run.alone():
                run.log(selected.values)
        score_fit(runs, self.objective)
        for run, reported in score(_sound(runs), self.objective, Part.TEST):
            with run.alone():
                self._leave(run, reported)

    def _leave(self, run: Run, reported: Scored) -> None:
        run.show("saving")
        run.log({**reported.values, **self._summary(run)})
        self._write(run, reported.predictions)
        self._measure_updates(run)
        run.end(RunState.COMPLETE)

    def _measure_updates(self, run: Run) -> None:
        """Last, and never at the cost of the run: where there is no figure, a tag says why."""
        try:
            updates = self.method.updates(run.index)
            weight_updates.write(updates, run.folder.artifacts)
            run.log({"perf/changed_parameters": sum(update.changed for update in updates)})
        except NotDefined as error:
            run.folder.tags({WEIGHT_UPDATES: f"not defined for {run.config.peft.get('type')}: {error}"})
        except Exception as error:
            if is_disk_full(error):
                raise
            run.folder.tags({WEIGHT_UPDATES: f"not measured: {one_line(error)}"})

    def _summary(self, run: Run) -> dict[str, float]:
        progress = run.progress
        trainable = sum(weight.numel() for weight in run.parameters.values())
        flops = cost.train_flops(tokens=progress.tokens, matrices=self.base.num_matrix_weights, trainable=trainable,
                                 reached=self.base.num_reached_weights(run.parameters.values()))  # fmt: skip
        summary: dict[str, float] = {
            "data/train_examples": run.data.num_train if run.parameters else 0,
            "data/test_examples": len(run.data.parts[Part.TEST].examples),
            "data/truncated": run.data.truncated,
            "perf/train_s": progress.train_s,
            "perf/eval_s": progress.eval_s,
            "perf/peak_memory_gib": cost.peak_memory_gib(),
            "perf/train_flops": flops,
            "perf/train_tokens": progress.tokens,
            "perf/trainable_parameters": trainable,
            "perf/total_parameters": self.base.num_parameters + (0 if self.base.is_trained else trainable),
            "perf/group_size": progress.group_size,
        }
        if progress.loss_first is not None and progress.loss_last is not None:
            summary |= {"train/loss_first": progress.loss_first, "train/loss_last": progress.loss_last}
            summary["train/epoch"] = run.epoch
        return summary

    def _write(self, run: Run, predictions: Sequence[Prediction]) -> None:
        artifacts, task = run.folder.artifacts, run.data.task
        self.method.save(run.index, artifacts)
        task.table(predictions).to_parquet(artifacts / "predictions.parquet", index=False)
        task.leave(predictions, artifacts)
        config = yaml.safe_dump(run.config.to_dict(), sort_keys=False, allow_unicode=True)
        (artifacts / "config.yaml").write_text(config, encoding="utf-8")
        if (counts := task.confusion(predictions)) is not None:
            pictures.confusion_matrix(counts, task.labels, artifacts / "confusion_matrix.png")
            matrix = pd.DataFrame(counts, list(task.labels), [*task.labels, pictures.NO_LABEL])
            matrix.to_csv(artifacts / "confusion_matrix.csv", index_label="gold")
        events, _ = run.folder.read()
        if run.progress.step:
            pictures.loss_curve(events, artifacts / "loss_curve.png")
        shown = [name for name in run.config.report.columns if "/" not in name]
        measures = dict.fromkeys(["loss", HEADLINE[run.config.task.type], *shown])
        pictures.learning_curves(events, artifacts / "learning_curves.png", measures=list(measures))


def _sound(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if not run.ended]


def _unscored(runs: Sequence[Run], part: Part) -> list[Run]:
    """Those without a point of this split at this step: a reading has it where the longer run does."""
    return [run for run in _sound(runs) if not run.records.has(f"{part}/loss", run.progress.step)]
