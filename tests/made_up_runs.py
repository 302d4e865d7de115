"""Runs, sweeps and tables as `analysis` reads them, made up: for tests of what is shown of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.load import DATA_DIGEST, DATA_SOURCE, DEMO, DETAIL, REASON, SHARED_WITH, TRIAL, Run, Sweep
from analysis.render import cells
from analysis.tables import Table, build


def run(size: int | str = 100, accuracy: float | None = 0.8, **changes: Any) -> Run:
    """A complete run; `accuracy=None` for one without results."""
    fields = {"model": "mini", "method": "lora", "seed": 0, "rate": "0.001", "state": "COMPLETE", "reason": "",
              "irregular": 0, "eval": accuracy, "digest": "d1" * 32, "demo": "false",
              "cell": None, "trial": 0, "metrics": {}, "shared_with": "", "confirms": None} | changes  # fmt: skip
    cell = fields["cell"] if fields["cell"] is not None else {"task.train_size": size}
    params = {"model.name": fields["model"], "peft.name": fields["method"], "task.train_size": str(size),
              "task.name": "sst2", "seed": str(fields["seed"]), "train.learning_rate": fields["rate"]}  # fmt: skip
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


def table(runs: Sequence[Run], of: Sweep | None = None, texts: Mapping[str, int] | None = None) -> Table:
    return build("sst2", runs, of, lambda _: texts or {})


def column(result: Table, heading: str) -> list[str]:
    headings, rows = cells(result)
    return [row[headings.index(heading)] for row in rows]
