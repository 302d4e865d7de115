"""Every name that a run logs, with its unit and the direction that is better.

The one place where metric names are spelled; `analysis` imports nothing else of `sweeper`.
`train/` is the training curve, `eval/` the selection split (what a search may look at), `test/` the
reporting split (what a table shows, measured once), `fit/` the training rows (task.score_train), `perf/`
what the run cost.
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

# Of each type of task; logged under every one of SPLITS.
CLASSIFICATION = (
    Metric("accuracy", "share", MAXIMIZE, "exact labels; an irregular output counts as wrong"),
    Metric("precision_macro", "share", MAXIMIZE, "mean over the labels"),
    Metric("recall_macro", "share", MAXIMIZE, "mean over the labels"),
    Metric("f1_macro", "share", MAXIMIZE, "mean over the labels"),
    Metric("precision_weighted", "share", MAXIMIZE, "weighted by the labels' frequency"),
    Metric("recall_weighted", "share", MAXIMIZE, "weighted by the labels' frequency"),
    Metric("f1_weighted", "share", MAXIMIZE, "weighted by the labels' frequency"),
    Metric("likelihood_accuracy", "share", MAXIMIZE, "the label of highest likelihood, no text generated"),
    Metric("irregular", "examples", MINIMIZE, "generated texts that are not exactly a label"),
    Metric("irregular_share", "share", MINIMIZE, "the same, of all examples"),
)

# SQuAD's official evaluation (https://rajpurkar.github.io/SQuAD-explorer/), as shares; then scores of written text,
# which hold a question without an answer to the no-answer form that should have been written.
QUESTION_ANSWERING = (
    Metric("exact_match", "share", MAXIMIZE, "normalised text equal to one of the accepted answers"),
    Metric("f1", "share", MAXIMIZE, "overlap of words with the nearest accepted answer, mean over the questions"),
    Metric("no_answer_share", "share", NEITHER, "of the questions that it left without an answer"),
    Metric("has_answer_exact_match", "share", MAXIMIZE, "of the questions that have an answer"),
    Metric("has_answer_f1", "share", MAXIMIZE, "of the questions that have an answer"),
    Metric("no_answer_exact_match", "share", MAXIMIZE, "of the questions that have none"),
    Metric("no_answer_f1", "share", MAXIMIZE, "of the questions that have none"),
    Metric("best_exact_match", "share", MAXIMIZE, "at the threshold of the no-answer score that suits it best"),
    Metric("best_f1", "share", MAXIMIZE, "at the threshold of the no-answer score that suits it best"),
    Metric("best_exact_match_threshold", "nats", NEITHER, "of the no-answer score"),
    Metric("best_f1_threshold", "nats", NEITHER, "of the no-answer score"),
    Metric("bleu", "share", MAXIMIZE, "sacrebleu's corpus BLEU against the accepted answers"),
    Metric("meteor", "share", MAXIMIZE, "nltk's, mean over the questions"),
    Metric("rouge1", "share", MAXIMIZE, "F of rouge-score, mean over the questions"),
    Metric("rouge2", "share", MAXIMIZE, "F of rouge-score, mean over the questions"),
    Metric("rougeL", "share", MAXIMIZE, "F of rouge-score, mean over the questions"),
)

LANGUAGE_MODELING = (
    Metric("perplexity", "1", MINIMIZE, "exp of the loss: e to the mean nats per token"),
    Metric("bits_per_character", "bits", MINIMIZE, "the same text's, whatever the tokens: compares tokenizers"),
)

LOSS = Metric("loss", "nats", MINIMIZE, "negative log-likelihood: of the gold label or first accepted answer, per "
              "example; of running text, per token")  # fmt: skip

TASK_METRICS = {
    "classification": (LOSS, *CLASSIFICATION),
    "question_answering": (LOSS, *QUESTION_ANSWERING),
    "language_modeling": (LOSS, *LANGUAGE_MODELING),
}
HEADLINE = {"classification": "accuracy", "question_answering": "f1", "language_modeling": "loss"}  # what is sought

PERFORMANCE = (
    Metric("perf/train_s", "s", MINIMIZE, "wall clock of the training steps of the run's group"),
    Metric("perf/eval_s", "s", MINIMIZE, "wall clock of the run's evaluations"),
    Metric("perf/peak_memory_gib", "GiB", MINIMIZE, "of the GPU, or resident in the worker process on a CPU"),
    Metric("perf/train_flops", "FLOP", MINIMIZE, "2 per weight and token forward, 2 or 4 backward"),
    Metric("perf/trainable_parameters", "1", MINIMIZE, "weights that the optimiser changed"),
    Metric("perf/total_parameters", "1", NEITHER, "weights of base model and adapter"),
    Metric("perf/changed_parameters", "1", NEITHER, "weights of the base model whose effective value is another now"),
    Metric("perf/group_size", "runs", NEITHER, "the most that shared one of its training steps, itself counted"),
    Metric("perf/train_tokens", "tokens", NEITHER, "real tokens trained on, shared prefixes counted once a row"),
)

DATA = (
    Metric("data/train_examples", "rows", NEITHER, "distinct training examples"),
    Metric("data/test_examples", "rows", NEITHER, "of the reporting split"),
    Metric("data/truncated", "rows", MINIMIZE, "examples cut to task.max_length (task.too_long=truncate)"),
)

SPLITS = ("eval", "test", "fit")


def all_metrics() -> dict[str, Metric]:
    """Every full name -> its metric."""
    scored = [
        Metric(f"{split}/{metric.name}", metric.unit, metric.direction, metric.meaning)
        for split in SPLITS
        for metric in dict.fromkeys(metric for metrics in TASK_METRICS.values() for metric in metrics)
    ]
    return {metric.name: metric for metric in (*CURVE, *LOSS_SUMMARY, *scored, *PERFORMANCE, *DATA)}


def headline(task_type: str) -> str:
    """What is sought, on the selection split, where nothing else is asked for."""
    return f"eval/{HEADLINE[task_type]}"


def column_metrics() -> dict[str, Metric]:
    """Every name that a column of a table may have, those of SPLITS without their split -> its metric."""
    scored = {metric.name: metric for metrics in TASK_METRICS.values() for metric in metrics}
    return scored | {metric.name: metric for metric in (*CURVE, *LOSS_SUMMARY, *PERFORMANCE, *DATA)}


def direction(name: str) -> str:
    """`maximize` or `minimize`. Raises KeyError for an unknown name, ValueError for one without direction."""
    metric = all_metrics()[name]
    if metric.direction == NEITHER:
        raise ValueError(f"{name} has no direction that is better")
    return metric.direction
