"""What a run needs to go on after it was interrupted, and the best weights it has seen.

A checkpoint is a folder `step-<n>` of safetensors and JSON that appears by a rename, with a digest of
every file: an incomplete or damaged one is passed over for the one before. Random numbers need no saving
(see `stacked_lora.keyed_generator`).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sweeper.atomic_json import read_json, sync, write_json

KEPT = 2  # newest checkpoints: the last one and the one to fall back to
MANIFEST = "manifest.json"


@dataclass
class Checkpoint:
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]  # a torch state_dict
    progress: dict[str, Any]  # plain JSON: step, schedule, best score and so on


def save_checkpoint(folder: Path, step: int, checkpoint: Checkpoint) -> None:
    tensors, rest = _split_optimizer(checkpoint.optimizer)
    state = {"progress": checkpoint.progress, "optimizer": rest}
    _publish(folder / f"step-{step:07d}", checkpoint.weights, optimizer=tensors, state=state)
    for old in _by_step(folder)[KEPT:]:
        shutil.rmtree(old)
    _forget_unneeded_bests(folder, newest=checkpoint.progress.get("best_step"))


def steps_kept(folder: Path) -> list[int]:
    """Of the complete and undamaged checkpoints, the newest first."""
    return [int(path.name.removeprefix("step-")) for path in _by_step(folder) if _intact(path)]


def load_checkpoint(folder: Path, step: int) -> Checkpoint:
    """One of `steps_kept`."""
    path = folder / f"step-{step:07d}"
    state = read_json(path / "state.json")
    tensors = load_file(path / "optimizer.safetensors")
    return Checkpoint(
        weights=load_file(path / "weights.safetensors"),
        optimizer=_join_optimizer(tensors, state["optimizer"]),
        progress=state["progress"],
    )


def save_best(folder: Path, step: int, weights: Mapping[str, Tensor]) -> None:
    """A checkpoint's progress names its best by `best_step`; the weights stay as long as one does."""
    _publish(folder / f"best-{step:07d}", weights, optimizer={}, state={})
    _forget_unneeded_bests(folder, newest=step)


def load_best(folder: Path, step: int) -> dict[str, Tensor]:
    """Raises ValueError where these weights are damaged or missing."""
    best = folder / f"best-{step:07d}"
    if not _intact(best):
        raise ValueError(f"{best}: missing, or its digest differs")
    return load_file(best / "weights.safetensors")


def _forget_unneeded_bests(folder: Path, *, newest: int | None) -> None:
    states = [read_json(kept / "state.json") for kept in _by_step(folder)]
    needed = {newest, *(state["progress"].get("best_step") for state in states)}
    for best in folder.glob("best-*"):
        if int(best.name.removeprefix("best-")) not in needed:
            shutil.rmtree(best)


def _publish(
    target: Path, weights: Mapping[str, Tensor], *, optimizer: dict[str, Tensor], state: dict[str, Any]
) -> None:
    scratch = target.with_name(f".{target.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    plain = {name: tensor.detach().contiguous().cpu() for name, tensor in weights.items()}
    save_file(plain, scratch / "weights.safetensors")
    save_file({name: tensor.detach().contiguous().cpu() for name, tensor in optimizer.items()},
              scratch / "optimizer.safetensors")  # fmt: skip
    write_json(scratch / "state.json", state)
    digests = {path.name: _digest(path) for path in sorted(scratch.iterdir())}
    for path in scratch.glob("*.safetensors"):
        sync(path)
    write_json(scratch / MANIFEST, digests)  # last, and with it the folder's entries
    shutil.rmtree(target, ignore_errors=True)
    os.replace(scratch, target)
    sync(target.parent)


def _by_step(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _intact(folder: Path) -> bool:
    try:
        digests = read_json(folder / MANIFEST)
        return all(_digest(folder / name) == digest for name, digest in digests.items())
    except (OSError, ValueError):
        return False


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _split_optimizer(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A torch optimiser's state_dict as tensors under `<parameter>/<name>` and the plain rest."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for parameter, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{parameter}/{name}"] = value
            else:
                plain.setdefault(str(parameter), {})[name] = value
    return tensors, {"state": plain, "param_groups": state["param_groups"]}


def _join_optimizer(tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {int(parameter): dict(values) for parameter, values in rest["state"].items()}
    for key, tensor in tensors.items():
        parameter, name = key.split("/")
        state.setdefault(int(parameter), {})[name] = tensor
    groups = [{key: _unlisted(key, value) for key, value in group.items()} for group in rest["param_groups"]]
    return {"state": state, "param_groups": groups}


def _unlisted(key: str, value: Any) -> Any:
    """JSON made lists of the pairs that optimisers keep as tuples."""
    return tuple(value) if isinstance(value, list) and key != "params" else value
