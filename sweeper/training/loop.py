"""THE loop: trains a group of runs in one forward of their base model. A single run is a group of one.

Loss, clipping, schedule, dropout and data order are each run's own (`run.Run`); what is trained is the
method's business (`methods`), how text becomes a loss or a prediction the objective's (`causal`, `head`).
A run that is done, diverged or stopped early leaves the group; the others do not notice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
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
from sweeper.training.head import HeadObjective
from sweeper.training.methods import Method, attach
from sweeper.training.objective import Batch, Objective, Part
from sweeper.training.results import Finisher, score
from sweeper.training.run import Diverged, Run
from tasks.task import load_task


def train_group(folders: Sequence[RunFolder], *, slot: int) -> None:
    """Trains, evaluates and finishes these runs, from their newest checkpoints where they have some.

    Diverged runs are finished here as FAILED. Any other exception (out of memory, bad data, a bug) is the
    caller's: it tells of all runs of the group that are not finished yet.
    """
    configs = [run_config(folder.identity.config) for folder in folders]
    methods = [PeftMethod.from_config(config.peft) for config in configs]
    cost.reset_peak_memory()
    for folder in folders:
        folder.progress(0, 0, 0.0, "loading")
    base = base_model(BaseKey.of(configs[0], methods[0]))
    method = attach(base, methods, [config.seed for config in configs])
    try:
        objective = objective_for(base, method)
        runs = [
            open_run(folder, config, index, slot=slot, method=method, objective=objective)
            for index, (folder, config) in enumerate(zip(folders, configs, strict=True))
        ]
        train(runs, objective, finish=Finisher(base, method, objective, group_size=len(runs)))
    finally:
        method.detach()


def train(runs: Sequence[Run], objective: Objective[Any], *, finish: Callable[[Sequence[Run]], None]) -> None:
    finish([run for run in runs if run.done])  # nothing to train: zero-shot, or interrupted while finishing
    active = [run for run in runs if not run.done]
    while active:
        optimizer_step(active, objective)
        evaluate([run for run in active if not run.failed and run.due(run.config.train.eval_every)], objective)
        for run in active:
            run.show("training")
            if run.due(run.config.train.save_every) and not run.done:
                run.checkpoint()
        finish([run for run in active if run.done and not run.failed])
        active = [run for run in active if not run.done]


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
        try:
            run.update(loss_sums[run.index], weight_of[run.index])
        except Diverged as error:
            run.failed = True
            run.folder.finish("FAILED", reason="diverged", detail=str(error))
    seconds = time.perf_counter() - started
    for run in runs:
        if not run.failed:
            run.account(seconds, tokens[run.index])


def evaluate(runs: Sequence[Run], objective: Objective[Any]) -> None:
    """Scores the runs on their selection split, all in the same forwards."""
    for run, measured in score(runs, objective, Part.EVAL):
        run.log(measured.values)
        run.judge(measured.values)


def open_run(
    folder: RunFolder, config: RunConfig, index: int, *, slot: int, method: Method, objective: Objective[Any]
) -> Run:
    """The run at its newest checkpoint, or at its start."""
    splits = run_splits(config, digest=folder.identity.data["digest"])
    prepared = objective.prepare(config, load_task(config.task), splits)
    run = Run(folder, config, index, prepared, method.parameters(index))
    folder.started(slot, resumed_from_step=run.resume())
    return run


def base_model(key: BaseKey) -> BaseModel:
    """Stays warm from group to group, unless the method trains these very weights."""
    return load_base_model(key) if key.mutable else _warm(key)


@lru_cache(maxsize=1)
def _warm(key: BaseKey) -> BaseModel:
    return load_base_model(key)


def objective_for(base: BaseModel, method: Method) -> Objective[Any]:
    return CausalObjective(base, method) if base.key.num_labels is None else HeadObjective(base, method)
