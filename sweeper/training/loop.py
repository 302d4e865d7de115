"""THE loop: trains a group of runs in one forward of their base model. A single run is a group of one.

Loss, clipping, schedule, dropout and data order are each run's own (`run.Run`); what is trained is the
method's business (`methods`), how text becomes a loss or a prediction the objective's (`causal`, `head`).
A run that is done, diverged or stopped early leaves the group; the others do not notice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import zip_longest
from typing import Any

import torch

from sweeper.config import ConfigError, RunConfig, run_config
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
    with borrowed_base(BaseKey.of(configs[0], methods[0])) as base:
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
        _warm.cache_clear()


def train(runs: Sequence[Run], objective: Objective[Any], *, finish: Callable[[Sequence[Run]], None]) -> None:
    finish([run for run in runs if run.done])  # zero-shot: nothing to train
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
        run.judge(measured.values)
        if not run.done:  # the last point is that of the weights which are kept: `results.Finisher`
            run.log(measured.values)


def open_run(
    folder: RunFolder, config: RunConfig, index: int, *, slot: int, method: Method, objective: Objective[Any]
) -> Run | None:
    """The run at its newest checkpoint, or at its start; None, and FAILED, where its config does not work out."""
    try:
        splits = run_splits(config, digest=folder.identity.data["digest"])
        prepared = objective.prepare(config, load_task(config.task), splits)
        run = Run(folder, config, index, prepared, method.parameters(index))
    except ConfigError as error:
        folder.started(slot)
        folder.finish("FAILED", reason="error", detail=str(error))
        return None
    folder.started(slot, resumed_from_step=run.resume())
    return run


@contextmanager
def borrowed_base(key: BaseKey) -> Iterator[BaseModel]:
    """Stays warm from group to group, unless the method trains these very weights or something went wrong."""
    try:
        yield load_base_model(key) if key.mutable else _warm(key)
    except BaseException:
        _warm.cache_clear()
        raise


@lru_cache(maxsize=1)
def _warm(key: BaseKey) -> BaseModel:
    return load_base_model(key)


def objective_for(base: BaseModel, method: Method) -> Objective[Any]:
    return CausalObjective(base, method) if base.key.num_labels is None else HeadObjective(base, method)
