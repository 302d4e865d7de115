"""Every name that a run logs, with its unit and the direction that is better.

The one place where metric names are spelled; `analysis` imports nothing else of `sweeper`.
`train/` is the training curve, `eval/` the selection split (what a search may look at), `test/` the
reporting split (what a table shows, measured once), `perf/` what the run cost.
"""

from __future__ import annotations

from dataclasses import dataclass

MAXIMIZE, MINIMIZE, NEITHER = "maximize", "minimize", "neither"


@dataclass(frozen=True)
class Metric:
    name: str
    unit: str
    direction: str
    meaning: str


CURVE = (
    Metric("train/loss", "nats per answer token", MINIMIZE, "mean over the examples of the logged steps"),
    Metric("train/learning_rate", "1", NEITHER, "of the step just made"),
    Metric("train/grad_norm", "1", NEITHER, "before clipping"),
    Metric("train/epoch", "epochs", NEITHER, "passes over the training rows so far"),
    Metric("train/tokens_per_s", "tokens/s", MAXIMIZE, "real tokens of this run, while its group trained"),
)

LOSS_SUMMARY = (
    Metric("train/loss_first", "nats per answer token", NEITHER, "the first logged training loss"),
    Metric("train/loss_last", "nats per answer token", MINIMIZE, "the last logged training loss"),
)

# Logged twice over: under eval/ and under test/.
CLASSIFICATION = (
    Metric("accuracy", "share", MAXIMIZE, "exact labels; an irregular output counts as wrong"),
    Metric("precision_macro", "share", MAXIMIZE, "mean over the labels"),
    Metric("recall_macro", "share", MAXIMIZE, "mean over the labels"),
    Metric("f1_macro", "share", MAXIMIZE, "mean over the labels"),
    Metric("precision_weighted", "share", MAXIMIZE, "weighted by the labels' frequency"),
    Metric("recall_weighted", "share", MAXIMIZE, "weighted by the labels' frequency"),
    Metric("f1_weighted", "share", MAXIMIZE, "weighted by the labels' frequency"),
    Metric("loss", "nats per example", MINIMIZE, "negative log-likelihood of the gold label"),
    Metric("likelihood_accuracy", "share", MAXIMIZE, "the label of highest likelihood, no text generated"),
    Metric("irregular", "examples", MINIMIZE, "generated texts that are not exactly a label"),
    Metric("irregular_share", "share", MINIMIZE, "the same, of all examples"),
)

PERFORMANCE = (
    Metric("perf/train_s", "s", MINIMIZE, "wall clock of the training steps of the run's group"),
    Metric("perf/eval_s", "s", MINIMIZE, "wall clock of the run's evaluations"),
    Metric("perf/peak_memory_gib", "GiB", MINIMIZE, "of the GPU, or resident in the worker process on a CPU"),
    Metric("perf/train_flops", "FLOP", MINIMIZE, "2 per weight and token forward, 2 or 4 backward"),
    Metric("perf/trainable_parameters", "1", MINIMIZE, "weights that the optimiser changed"),
    Metric("perf/total_parameters", "1", NEITHER, "weights of base model and adapter"),
    Metric("perf/group_size", "runs", NEITHER, "the most that shared one of its training steps, itself counted"),
    Metric("perf/train_tokens", "tokens", NEITHER, "real tokens trained on, shared prefixes counted once a row"),
)

DATA = (
    Metric("data/train_examples", "rows", NEITHER, "distinct training examples"),
    Metric("data/test_examples", "rows", NEITHER, "of the reporting split"),
    Metric("data/truncated", "rows", MINIMIZE, "examples cut to task.max_length (task.too_long=truncate)"),
)

SPLITS = ("eval", "test")


def all_metrics() -> dict[str, Metric]:
    """Every full name -> its metric."""
    scored = [
        Metric(f"{split}/{metric.name}", metric.unit, metric.direction, metric.meaning)
        for split in SPLITS
        for metric in CLASSIFICATION
    ]
    return {metric.name: metric for metric in (*CURVE, *LOSS_SUMMARY, *scored, *PERFORMANCE, *DATA)}


def direction(name: str) -> str:
    """`maximize` or `minimize`. Raises KeyError for an unknown name, ValueError for one without direction."""
    metric = all_metrics()[name]
    if metric.direction == NEITHER:
        raise ValueError(f"{name} has no direction that is better")
    return metric.direction
