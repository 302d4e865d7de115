"""THE loop: trains a group of runs in one forward of their base model. A single run is a group of one.

Loss, clipping, schedule, dropout and data order are each run's own (`run.Run`); what is trained is the
method's business (`methods`), how text becomes a loss or a prediction the objective's (`causal`, `head`).
A run that is done, diverged or stopped early leaves the group; the others do not notice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import torch

from sweeper.config import RunConfig, run_config
from sweeper.peft_method import PeftMethod
from sweeper.tracking.run_folder import RunFolder
from sweeper.training import cost
from sweeper.training.base_model import BaseKey, BaseModel, load_base_model
from sweeper.training.causal import CausalObjective
from sweeper.training.data import run_splits
from sweeper.training.failure import described, is_out_of_memory
from sweeper.training.head import HeadObjective
from sweeper.training.methods import Method, attach
from sweeper.training.objective import Batch, Objective, Part
from sweeper.training.results import Finisher, score
from sweeper.training.run import Run
from sweeper.training.warm_base import WarmBase
from tasks.task import load_task

warm_base = WarmBase(load_base_model)  # of this worker process


def train_group(folders: Sequence[RunFolder], *, slot: int) -> None:
    """Trains, evaluates and finishes these runs, from their newest checkpoints where they have some.

    What goes wrong in one run alone (it diverges, its config does not fit the model, its files can't be written)
    finishes it here as FAILED. Any other exception (out of memory, a bug) is the caller's: it tells of all runs of
    the group that are not finished yet.
    """
    configs = [run_config(folder.identity.config) for folder in folders]
    methods = [PeftMethod.from_config(config.peft) for config in configs]
    cost.reset_peak_memory()
    for folder in folders:
        folder.progress(0, 0, 0.0, "loading")
    with warm_base.lend(BaseKey.of(configs[0], methods[0])) as base:
        method = attach(base, methods, [config.seed for config in configs])
        objective = objective_for(base, method)
        opened = [
            open_run(folder, config, index, slot=slot, method=method, objective=objective)
            for index, (folder, config) in enumerate(zip(folders, configs, strict=True))
        ]
        runs = [run for run in opened if run is not None]
        train(runs, objective, finish=Finisher(base, method, objective, group_size=len(runs)))
        method.detach()
    if not method.leaves_no_trace:
        warm_base.drop()


def train(runs: Sequence[Run], objective: Objective[Any], *, finish: Callable[[Sequence[Run]], None]) -> None:
    finish([run for run in runs if run.done])  # zero-shot: nothing to train
    active = [run for run in runs if not run.done]
    while active:
        optimizer_step(active, objective)
        evaluate([run for run in active if not run.failed and run.wants_evaluation], objective)
        for run in active:
            if not run.failed:
                keep(run)
        finish([run for run in active if run.done and not run.failed])
        active = [run for run in active if not run.done]


def keep(run: Run) -> None:
    with run.alone():
        run.show("training")
        if run.due(run.config.train.save_every) and not run.done:
            run.checkpoint()


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
        if not run.failed:
            with run.alone():
                run.account(seconds, tokens[run.index])


def evaluate(runs: Sequence[Run], objective: Objective[Any]) -> None:
    """Scores the runs on their selection split, all in the same forwards."""
    for run, measured in score(runs, objective, Part.EVAL):
        with run.alone():
            run.judge(measured.values)
            if not run.done:  # the last point is that of the weights which are kept: `results.Finisher`
                run.log(measured.values)


def open_run(
    folder: RunFolder, config: RunConfig, index: int, *, slot: int, method: Method, objective: Objective[Any]
) -> Run | None:
    """The run at its newest checkpoint, or at its start; None, and FAILED, where it does not get that far."""
    try:
        splits = run_splits(config, digest=folder.identity.data["digest"])
        prepared = objective.prepare(config, load_task(config.task), splits)
        run = Run(folder, config, index, prepared, method.parameters(index))
        step = run.resume()
    except Exception as error:
        if is_out_of_memory(error):
            raise
        folder.started(slot)
        folder.finish("FAILED", *described(error))
        return None
    folder.started(slot, resumed_from_step=step)
    return run


def objective_for(base: BaseModel, method: Method) -> Objective[Any]:
    return CausalObjective(base, method) if base.key.num_labels is None else HeadObjective(base, method)
