"""THE loop: trains a group of runs in one forward of their base model. A single run is a group of one.

Loss, clipping, schedule, dropout and data order are each run's own (`run.Run`); what is trained is the
method's business (`methods`), how text becomes a loss or a prediction the objective's (`causal`, `head`).
Between two steps runs join and leave (`group.Group`); the others do not notice.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import torch

from sweeper.config import run_config
from sweeper.peft_method import PeftMethod
from sweeper.training import cost
from sweeper.training.base_model import BaseKey, BaseModel, load_base_model
from sweeper.training.causal import CausalObjective
from sweeper.training.control import Assignment, Control
from sweeper.training.group import Group
from sweeper.training.head import HeadObjective
from sweeper.training.methods import Method, method_for
from sweeper.training.objective import Batch, Objective, Part
from sweeper.training.results import score, score_fit
from sweeper.training.run import Run
from sweeper.training.span import SpanObjective
from sweeper.training.warm_base import WarmBase

warm_base = WarmBase(load_base_model)  # of this worker process
OBJECTIVES: dict[str | None, Any] = {None: CausalObjective, "labels": HeadObjective, "span": SpanObjective}  # by head


def train_group(assignments: Sequence[Assignment], *, control: Control) -> None:
    """Trains, evaluates and finishes these runs, from their newest checkpoints where they have some.

    What goes wrong in one run alone (it diverges, its config does not fit the model, its files can't be written)
    finishes it here as FAILED. Any other exception (out of memory, a bug) is the caller's: it tells of all runs of
    the group that are not finished yet.
    """
    cost.reset_peak_memory()
    for assignment in assignments:
        assignment.folder.progress(0, 0, 0.0, "loading")
    first = run_config(assignments[0].folder.identity.config)
    peft = PeftMethod.from_config(first.peft)
    with warm_base.lend(BaseKey.of(first, peft)) as base:
        method = method_for(base, peft)
        group = Group(base, method, objective_for(base, method, control.memory_share), control)
        group.start(assignments)
        train(group)
        method.detach()
    if not method.leaves_no_trace:
        warm_base.drop()


def train(group: Group) -> None:
    """Until nobody is left."""
    while group.runs:
        optimizer_step(group.runs, group.objective)
        evaluated = evaluate([run for run in group.runs if run.wants_evaluation], group.objective)
        group.read()
        if evaluated:
            group.leave(group.control.judged([run.folder for run in evaluated]))
        group.keep()
        group.finish()
        group.join(group.control.arrivals())
        group.leave(group.control.departures())


def optimizer_step(runs: Sequence[Run], objective: Objective[Any]) -> None:
    """One step of each run: forwards and backwards shared, everything after that its own."""
    started = time.perf_counter()
    batches = [run.batches() for run in runs]
    weights = [sum(objective.weight(batch.data, batch.indices) for batch in own) for own in batches]
    weight_of = {run.index: weight for run, weight in zip(runs, weights, strict=True)}
    loss_sums, tokens = dict.fromkeys(weight_of, 0.0), dict.fromkeys(weight_of, 0)
    for together in zip_longest(*batches):
        present: list[Batch[Any]] = [batch for batch in together if batch is not None]
        forwarded = objective.loss_sums(present)
        scale = torch.tensor([weight_of[batch.index] for batch in present]).to(forwarded.sums)
        (forwarded.sums / scale).sum().backward()
        for batch, loss, count in zip(present, forwarded.sums.tolist(), forwarded.num_tokens, strict=True):
            loss_sums[batch.index] += loss
            tokens[batch.index] += count
    for run in runs:
        with run.alone():
            run.update(loss_sums[run.index], weight_of[run.index])
    seconds = time.perf_counter() - started
    for run in runs:
        if not run.ended:
            with run.alone():
                run.account(seconds, tokens[run.index], sharing=len(runs))


def evaluate(runs: Sequence[Run], objective: Objective[Any]) -> list[Run]:
    """Scores the runs on their selection split, all in the same forwards; returns those that have a point and go on."""
    going_on = []
    for run, measured in score(runs, objective, Part.EVAL):
        with run.alone():
            run.judge(measured.values)
            if not run.done:  # the last point is that of the weights which are kept: `results.Finisher`
                run.log(measured.values)
                going_on.append(run)
    score_fit(going_on, objective)
    return [run for run in going_on if not run.ended]


def objective_for(base: BaseModel, method: Method, memory_share: float) -> Objective[Any]:
    kind = OBJECTIVES[base.key.head.kind if base.key.head else None]
    objective: Objective[Any] = kind(base, method, memory_share=memory_share)
    return objective
