"""Runs, sweeps and tables as `analysis` reads them, made up: for tests of what is shown of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.load import DATA_DIGEST, DATA_SOURCE, DEMO, DETAIL, REASON, SHARED_WITH, TRIAL, Run, Sweep
from analysis.render import cells
from analysis.tables import Table, View, build


def run(size: int | str = 100, accuracy: float | None = 0.8, **changes: Any) -> Run:
    """A complete run; `accuracy=None` for one without the results of a classification."""
    fields = {"model": "mini", "method": "lora", "seed": 0, "rate": "0.001", "state": "COMPLETE", "reason": "",
              "irregular": 0, "eval": accuracy, "digest": "d1" * 32, "demo": "false",
              "cell": None, "trial": 0, "metrics": {}, "shared_with": "", "confirms": None,
              "params": {}} | changes  # fmt: skip
    cell = fields["cell"] if fields["cell"] is not None else {"task.train_size": size}
    params = {"model.name": fields["model"], "peft.name": fields["method"], "task.train_size": str(size),
              "task.name": "sst2", "seed": str(fields["seed"]), "train.learning_rate": fields["rate"],
              **fields["params"]}  # fmt: skip
    tags = {"sweeper.cell": json.dumps(cell), REASON: fields["reason"], DETAIL: "", DATA_SOURCE: "files: a.tsv",
            DATA_DIGEST: fields["digest"], DEMO: fields["demo"], TRIAL: str(fields["trial"]),
            SHARED_WITH: fields["shared_with"]}  # fmt: skip
    metrics = {} if accuracy is None else {
        "test/accuracy": accuracy, "test/f1_macro": accuracy, "train/loss_first": 0.7, "train/loss_last": 0.2,
        "test/irregular": fields["irregular"], "test/irregular_share": fields["irregular"] / 872,
        "data/train_examples": 66_349 if size == "full" else size, "train/epoch": 2.04, "eval/accuracy": fields["eval"],
    }  # fmt: skip
    name = f"sst2-{fields['model']}-{fields['method']}-{size}-s{fields['seed']}-{fields['rate']}"
    return Run(name, name, fields["state"], 0, params, metrics | fields["metrics"], tags, fields["confirms"])


def sweep(*design: Mapping[str, Any], objective: str = "eval/accuracy", **changes: Any) -> Sweep:
    fields = {"replicates": 1, "objectives": (objective,)} | changes
    return Sweep("5eed", "a sweep", "COMPLETE", [dict(cell) for cell in design], **fields)


def answered(exact_match: float = 0.4, f1: float = 0.5, *, size: int | str = 100, **changes: Any) -> Run:
    """A complete run of question answering; `metrics` besides."""
    scores = {"test/exact_match": exact_match, "test/f1": f1, "test/loss": 1.5, "eval/f1": f1}
    return _of_type("question_answering", scores, size, changes)


def modeled(perplexity: float = 6.56, *, size: int | str = 100, **changes: Any) -> Run:
    """A complete run of language modelling; `metrics` besides."""
    scores = {"test/perplexity": perplexity, "test/bits_per_character": 1.25, "eval/loss": math.log(perplexity)}
    return _of_type("language_modeling", scores, size, changes)


def _of_type(task_type: str, scores: Mapping[str, float], size: int | str, changes: Mapping[str, Any]) -> Run:
    training = {"train/loss_first": 2.5, "train/loss_last": 1.25, "train/epoch": 1, "data/train_examples": 100}
    params = {"task.type": task_type, **changes.get("params", {})}
    metrics = {**scores, **training, **changes.get("metrics", {})}
    return run(size, None, **{**changes, "metrics": metrics, "params": params})


def table(
    runs: Sequence[Run],
    of: Sweep | None = None,
    texts: Mapping[str, int] | None = None,
    view: View | None = None,
) -> Table:
    return build("sst2", runs, of, lambda _: texts or {}, view)


def column(result: Table, heading: str) -> list[str]:
    headings, rows = cells(result)
    return [row[headings.index(heading)] for row in rows]
