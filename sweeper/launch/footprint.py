"""Bytes: what a group takes of a device's memory, and what a run leaves on the disk.

Pure arithmetic over the config, the model's sizes and the forwards' (see `workload`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeper.config import Architecture, RunConfig
from sweeper.launch.model_shape import Shape, reached_layers, trainable_parameters
from sweeper.launch.workload import RUNNING_TEXT, Workload
from sweeper.peft_method import PeftMethod

GIB = 2**30
PROCESS_BYTES = int(0.8 * GIB)  # of a worker on a CPU: interpreter, torch, transformers, bitsandbytes
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}
# NF4 is half a byte a weight and 32 bits for each 64 weights; double quantisation makes of these 0.127 bits a
# weight (Dettmers et al. 2023, arXiv 2305.14314, section 3).
NF4_BYTES = {True: 0.5 + 0.127 / 8, False: 0.5 + 0.5 / 8}
KEPT_DEQUANTIZED = 0.25  # of free memory, that the 16-bit copy may take: `training.base_model`
# Kept for the backward: 34 bytes per token, hidden unit and layer in 16 bits, and 5 per pair of tokens and head
# where attention is written out (Korthikanti et al. 2022, arXiv 2205.05198, equation 1).
ACTIVATION_BYTES, ATTENTION_BYTES = 34, 5
LOGIT_COPIES = 3  # logits, their softmax, its gradient; float32
MAX_LOGITS = 2**26  # at a time: `training.scoring`
EVALUATION_TOKENS = 4096  # of one evaluation forward, all runs together: `training.causal`
PROMPTS, GENERATION_BYTES = 64, 4 * GIB  # of one call: `training.generation`
EVALUATION_COPIES = 12  # of a layer's hidden states, alive at a time without a backward
RECORD_BYTES, PREDICTION_BYTES, POINT_BYTES = 120_000, 60, 300  # pictures and identity; a row; a logged point
CHECKPOINTS = 2  # kept while training: `training.checkpoint`


@dataclass(frozen=True)
class Device:
    """Where one group trains."""

    is_gpu: bool
    free_bytes: int | None  # for this group; None: not known
    has_bfloat16: bool = True


@dataclass(frozen=True)
class Member:
    """One run of a group."""

    config: RunConfig
    shape: Shape
    work: Workload


def group_bytes(members: Sequence[Member], device: Device) -> float:
    """At the peak. The members share the base model's weights."""
    first = members[0]
    process = 0 if device.is_gpu else PROCESS_BYTES + sum(_copied_bytes(member, device) for member in members)
    states = sum(_trained_bytes(member) for member in members)
    forward = max(sum(_training_bytes(member, device) for member in members), _evaluation_bytes(first, device),
                  max(_generation_bytes(member, device) for member in members))  # fmt: skip
    return process + weight_bytes(first.config, first.shape, device) + states + forward


def _copied_bytes(member: Member, device: Device) -> float:
    """Of the weights as they were, which the CPU keeps to tell how far they moved: `training.weight_updates`.

    Of an adapter that rewrites the base model, all that it may sit on.
    """
    method = PeftMethod.from_config(member.config.peft)
    if method.rewrites_base:
        return weight_bytes(member.config, member.shape, device)
    return 4 * trainable_parameters(method, member.shape) * (method.method in ("full", "last_layer"))


def weight_bytes(config: RunConfig, shape: Shape, device: Device) -> float:
    """Of the base model as it is loaded."""
    method = PeftMethod.from_config(config.peft)
    each = _dtype_bytes(config, device)
    quantization = method.quantization
    if quantization.type != "nf4":
        return shape.parameters * each
    packed = shape.matrices * NF4_BYTES[quantization.double] + max(0, shape.parameters - shape.matrices) * each
    copy = shape.matrices * 2
    keeps = {"always": True, "never": False}.get(
        quantization.keep_dequantized, device.free_bytes is not None and copy < KEPT_DEQUANTIZED * device.free_bytes
    )
    return packed + copy * keeps


def state_bytes(optimizer: str, momentum: float = 0.0) -> float:
    """Of the optimiser, per weight that it changes."""
    name = optimizer.lower()
    moments = 2 if "adam" in name else 1
    if name == "sgd":
        moments = 1 if momentum else 0
    if name == "adafactor":
        return 0.0  # sums of rows and columns
    return moments * (1 if "8bit" in name else 4)


def disk_bytes(member: Member) -> float:
    """Of the finished run's folder: trained weights in float32, predictions, curve, pictures."""
    points = member.work.steps / member.config.train.logging_steps
    return 4 * _trainable(member) + RECORD_BYTES + PREDICTION_BYTES * member.work.tested + POINT_BYTES * points


def checkpoint_bytes(member: Member) -> float:
    """Of the checkpoints that the run holds while it trains, at most."""
    train, work = member.config.train, member.work
    every = work.steps_per_epoch if train.save_every == "epoch" else train.save_every
    saved = 0 if train.save_every == "never" else min(CHECKPOINTS, max(0, work.steps - 1) // int(every))
    keeps_best = train.load_best_model_at_end or train.early_stopping_patience is not None
    return _trainable(member) * (saved * (4 + _state(member.config)) + 4 * keeps_best * (work.steps > 0))


def _dtype_bytes(config: RunConfig, device: Device) -> int:
    if config.model.dtype != "auto":
        return DTYPE_BYTES[config.model.dtype]
    mutable = config.peft.get("method") in ("full", "last_layer")
    return 2 if device.has_bfloat16 and not mutable else 4


def _trained_bytes(member: Member) -> float:
    """Gradients and the optimiser's state; an adapter's weights too, a base model's are counted already."""
    own = 4 if member.config.peft.get("method") == "adapter" else 0
    return _trainable(member) * (own + 4 + _state(member.config))


def _trainable(member: Member) -> int:
    return trainable_parameters(PeftMethod.from_config(member.config.peft), member.shape)


def _state(config: RunConfig) -> float:
    return state_bytes(config.train.optimizer, config.train.optimizer_args.get("momentum", 0.0))


def _training_bytes(member: Member, device: Device) -> float:
    if not member.work.steps:
        return 0.0
    work, shape, config = member.work, member.shape, member.config
    scale = (2 if device.has_bfloat16 else 4) / 2
    hidden = work.rows * work.width * shape.hidden * ACTIVATION_BYTES
    written_out = config.model.attn_implementation == "eager"
    attention = ATTENTION_BYTES * shape.heads * work.rows * work.width**2 * written_out
    kept = reached_layers(PeftMethod.from_config(config.peft), shape)
    return kept * (hidden + attention) * scale + _logit_bytes(work.reads, shape)


def _evaluation_bytes(member: Member, device: Device) -> float:
    work, shape = member.work, member.shape
    per_token = EVALUATION_COPIES * shape.hidden * (2 if device.has_bfloat16 else 4)
    answers = EVALUATION_TOKENS / max(work.own_tokens, 1.0) * max(1, 2 * len(member.config.task.labels))
    reads = EVALUATION_TOKENS if member.config.task.type == RUNNING_TEXT else answers
    return EVALUATION_TOKENS * per_token + _logit_bytes(reads, shape)


def _generation_bytes(member: Member, device: Device) -> float:
    """Keys and values of the answers that no scoring forward proves, and the forward that reads their prompts."""
    config, shape = member.config, member.shape
    writes = config.model.architecture is Architecture.CAUSAL_LM and not config.task.head
    if not writes or config.task.type == RUNNING_TEXT:
        return 0.0
    per_token = (shape.keys_and_values + EVALUATION_COPIES * shape.hidden) * _dtype_bytes(config, device)
    prompt = (member.work.prompt_tokens + config.task.max_new_tokens) * per_token
    return max(prompt, min(PROMPTS * prompt, GENERATION_BYTES))


def _logit_bytes(reads: float, shape: Shape) -> float:
    """More logits than `MAX_LOGITS` are computed one slice after another."""
    return LOGIT_COPIES * 4 * min(reads * shape.vocabulary, max(MAX_LOGITS, shape.vocabulary))
