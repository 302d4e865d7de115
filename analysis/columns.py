"""The columns of a table: which metrics, under which headings, written how.

The one place that gives a metric its heading; names are spelled as `report.columns` spells them, those of a split
without it. A share is written in per cent, anything else as a number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.layout import NOTHING
from analysis.load import BadArgument, Run, nearest
from analysis.rows import IRREGULAR, LOSS_FIRST, LOSS_LAST, Row
from sweeper.metrics import all_metrics, column_metrics

TEST = "test"
LOSS = "train/loss"  # the column of the first and the last logged one
HEADINGS = {
    "accuracy": "Accuracy", "likelihood_accuracy": "Accuracy by likelihood",
    "precision_macro": "Precision", "recall_macro": "Recall", "f1_macro": "F1",
    "precision_weighted": "Precision (weighted)", "recall_weighted": "Recall (weighted)",
    "f1_weighted": "F1 (weighted)",
    "irregular": "Irregular", "irregular_share": "Irregular",
    "exact_match": "Exact match", "f1": "F1", "no_answer_share": "No answer", "has_answer_exact_match": "HasAns EM",
    "has_answer_f1": "HasAns F1", "no_answer_exact_match": "NoAns EM", "no_answer_f1": "NoAns F1",
    "best_exact_match": "Best EM", "best_f1": "Best F1", "best_exact_match_threshold": "Best EM at",
    "best_f1_threshold": "Best F1 at",
    "bleu": "BLEU", "meteor": "METEOR", "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L",
    "perplexity": "Perplexity", "bits_per_character": "Bits per character", "loss": "Loss", LOSS: "Training loss",
    "perf/total_parameters": "Parameters", "perf/trainable_parameters": "Trainable parameters",
    "perf/changed_parameters": "Changed parameters", "perf/train_s": "Training s", "perf/eval_s": "Evaluation s",
    "perf/peak_memory_gib": "Memory GiB", "perf/train_flops": "FLOP", "data/truncated": "Truncated",
}  # fmt: skip
KEYS = {"f1_macro": "f1"}  # in csv and json, where it isn't the name
# What a table shows of each type of task unless its experiment says otherwise; the OPTIONAL ones where logged.
DEFAULT = {
    "classification": ("accuracy", "f1_macro", LOSS, "irregular"),
    "question_answering": ("exact_match", "f1", "no_answer_share", "has_answer_exact_match",
                           "no_answer_exact_match", "bleu", "meteor", "rouge1", "rouge2", "rougeL", LOSS),
    "language_modeling": ("perplexity", "bits_per_character", LOSS),
}  # fmt: skip
OPTIONAL = frozenset({"no_answer_share", "has_answer_exact_match", "no_answer_exact_match",
                      "bleu", "meteor", "rouge1", "rouge2", "rougeL"})  # fmt: skip


@dataclass(frozen=True)
class Column:
    name: str  # as `report.columns` spells it
    split: str = TEST

    @property
    def metric(self) -> str:
        """As it is logged."""
        return self.name if "/" in self.name else f"{self.split}/{self.name}"

    @property
    def is_share(self) -> bool:
        return all_metrics()[self.metric].unit == "share"

    @property
    def heading(self) -> str:
        return HEADINGS.get(self.name, self.name) + (" %" if self.is_share else "")

    @property
    def key(self) -> str:
        """In csv and json."""
        return KEYS.get(self.name, self.name)

    @property
    def reads(self) -> tuple[str, ...]:
        """The logged metrics that it is made of."""
        return (LOSS_FIRST, LOSS_LAST) if self.name == LOSS else (self.metric,)

    def text(self, row: Row) -> str:
        """For a person; irregular texts are `render`'s."""
        if self.name != LOSS:
            return written(row, self.metric)
        first, last = row.mean(LOSS_FIRST), row.mean(LOSS_LAST)
        return NOTHING if first is None or last is None else f"{first:.3f} → {last:.3f}"

    def record(self, row: Row) -> dict[str, Any]:
        """For a program: plain numbers."""
        if self.name == LOSS:
            return {"loss_first": row.mean(LOSS_FIRST), "loss_last": row.mean(LOSS_LAST)}
        if self.name != IRREGULAR:
            return {self.key: row.mean(self.metric), f"{self.key}_std": row.deviation(self.metric)}
        texts: dict[str, int] = {}
        for _, counts in row.irregular:
            for text, count in counts.items():
                texts[text] = texts.get(text, 0) + count
        return {"irregular": row.mean(self.metric), "irregular_texts": texts}

    def published(self, value: Any) -> str:
        """With all the digits that were published; text as it stands."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return str(value)
        return f"{100 * value:.10g}" if self.is_share else f"{value:,.10g}"


def columns_of(runs: Sequence[Run], names: Sequence[str], split: str) -> list[Column]:
    """Those of these names, else those of the runs' types of task. Raises BadArgument for a name that is no metric."""
    if names:
        check_columns("report.columns", names)
        return [Column(name, split) for name in names]
    defaults = dict.fromkeys(name for task_type in task_types(runs) for name in DEFAULT[task_type])
    logged = {metric for run in runs for metric in run.metrics}
    columns = [Column(name, split) for name in defaults]
    return [column for column in columns if column.name not in OPTIONAL or column.metric in logged]


def check_columns(key: str, names: Iterable[str]) -> None:
    """Raises BadArgument."""
    known = column_metrics()
    for name in names:
        if name not in known:
            fix = nearest(name.rpartition("/")[2], known) or nearest(name, known) or "sweeper/metrics.py has them all"
            raise BadArgument(f"{key}={name}: not a metric without its split; {fix}")


def task_types(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(run.task_type for run in runs)) or ["classification"]


def heading(metric: str) -> str:
    """Of one with its split."""
    return f"{metric} %" if all_metrics()[metric].unit == "share" else metric


def written(row: Row, metric: str) -> str:
    """Mean and deviation over the replicates."""
    mean, deviation = row.mean(metric), row.deviation(metric)
    if mean is None:
        return NOTHING
    if all_metrics()[metric].unit == "share":
        return f"{100 * mean:.1f}" + (f" ± {100 * deviation:.1f}" if deviation is not None else "")
    return plain(mean) + (f" ± {plain(deviation)}" if deviation else "")


def one(metric: str, value: float) -> str:
    """Without a deviation."""
    return f"{100 * value:.1f}" if all_metrics()[metric].unit == "share" else plain(value)


def plain(value: float) -> str:
    is_long = math.isfinite(value) and (value.is_integer() or abs(value) >= 1000)
    return f"{value:,.0f}" if is_long else f"{value:.4g}"
