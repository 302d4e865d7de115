"""How `mini` is trained: token windows, mixed precision, Muon and AdamW, one loop.

Knows no text and no files but the model's own; `recipe` brings those.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    Document = tuple[str, str]  # a text and its answer, often empty
    Loss = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. Learning rates rise over `warmup_share` of the steps, then fall linearly to zero."""

    tokens: int
    seed: int = 0
    window_tokens: int = 256
    windows_per_step: int = 32
    windows_per_pass: int = 4  # gradient accumulation: small passes keep the logits in the CPU's cache
    matrix_lr: float = 0.02  # Muon, for the matrices inside the layers
    embedding_lr: float = 0.004  # AdamW, for the (tied) embedding and the norms
    warmup_share: float = 0.03
    weight_decay: float = 0.05

    @property
    def tokens_per_step(self) -> int:
        return self.window_tokens * self.windows_per_step

    @property
    def steps(self) -> int:
        return math.ceil(self.tokens / self.tokens_per_step)

    def lr_factor(self, step: int) -> float:
        warmup_steps = max(1, round(self.warmup_share * self.steps))
        return min((step + 1) / warmup_steps, (self.steps - step) / max(1, self.steps - warmup_steps), 1.0)


def token_windows(
    documents: Sequence[Document],
    tokenizer: PreTrainedTokenizerFast,
    window_tokens: int,
    *,
    text_weight: int = 1,
    answer_weight: int = 1,
) -> torch.Tensor:
    """All documents end to end, each between <s> and </s>, cut to windows `[N, 2, window_tokens + 1]`.

    The windows hold token ids and what each counts in the loss.
    Neighbouring windows share one token, so that every token but the first is predicted once.
    """
    import numpy
    import torch

    parts = []
    for start in range(0, len(documents), 1000):  # Python lists of all ids at once would fill the memory
        some = documents[start : start + 1000]
        texts = tokenizer([text for text, _ in some], verbose=False)["input_ids"]
        answers = tokenizer([answer for _, answer in some], add_special_tokens=False)["input_ids"]
        for text, answer in zip(texts, answers, strict=True):
            ids = [*text, *answer, tokenizer.eos_token_id]
            weights = [text_weight] * len(text) + [answer_weight] * len(answer) + [text_weight]
            parts.append(numpy.array([ids, weights], dtype=numpy.int32))
    stream = torch.from_numpy(numpy.concatenate(parts, axis=1))
    return stream.unfold(1, window_tokens + 1, window_tokens).transpose(0, 1).contiguous()


def shuffled_batches(windows: torch.Tensor, schedule: Schedule) -> Iterator[torch.Tensor]:
    """Batches of `windows_per_step` windows without end; every pass over the windows has an order of its own."""
    import torch

    generator = torch.Generator().manual_seed(schedule.seed)
    order = torch.randperm(len(windows), generator=generator)
    while True:
        while len(order) < schedule.windows_per_step:
            order = torch.cat([order, torch.randperm(len(windows), generator=generator)])
        chosen, order = order[: schedule.windows_per_step], order[schedule.windows_per_step :]
        yield windows[chosen].long()


def make_loss(model: LlamaForCausalLM, *, compiled: bool) -> Loss:
    """Weighted mean next-token loss in nats over windows `[B, 2, T + 1]`."""
    import torch
    from torch.nn import functional

    def loss(windows: torch.Tensor) -> torch.Tensor:
        ids, weights = windows.unbind(1)
        hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
        logits = model.lm_head(hidden).float()  # [B, T, vocabulary]
        nats = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        shares = weights[:, 1:].flatten() / weights[:, 1:].sum()
        return torch.dot(nats, shares)

    return torch.compile(loss, dynamic=False) if compiled else loss


def mean_loss(loss: Loss, windows: torch.Tensor, windows_per_pass: int) -> float:
    """Weighted mean loss in nats over the full passes of `windows`; a rest too small for a pass is left out."""
    import torch

    passes = [part.long() for part in torch.split(windows, windows_per_pass) if len(part) == windows_per_pass]
    weights = [part[:, 1, 1:].sum().item() for part in passes]
    with torch.no_grad():
        nats = [loss(part).item() * weight for part, weight in zip(passes, weights, strict=True)]
    return sum(nats) / sum(weights)


class MasterWeights:
    """Single-precision weights and optimizers behind a bfloat16 model, which could not hold small updates itself."""

    def __init__(self, model: LlamaForCausalLM, schedule: Schedule) -> None:
        import torch

        self.working = dict(model.named_parameters())
        self.masters = {name: torch.nn.Parameter(weight.detach().float()) for name, weight in self.working.items()}
        matrices = [weight for name, weight in self.masters.items() if weight.ndim == 2 and "layers" in name]
        others = [weight for name, weight in self.masters.items() if weight.ndim == 1 or "layers" not in name]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=schedule.matrix_lr, weight_decay=schedule.weight_decay),
            torch.optim.AdamW(others, lr=schedule.embedding_lr, betas=(0.9, 0.95), weight_decay=0.0),
        ]
        self.peak_lrs = (schedule.matrix_lr, schedule.embedding_lr)

    def take_gradients(self, share: float) -> None:
        """Moves `share` of the model's gradients here, adding up over passes."""
        for name, working in self.working.items():
            assert working.grad is not None, name
            gradient = working.grad.float().mul_(share)
            master = self.masters[name]
            master.grad = gradient if master.grad is None else master.grad.add_(gradient)
            working.grad = None

    def step(self, lr_factor: float) -> None:
        import torch

        for optimizer, peak_lr in zip(self.optimizers, self.peak_lrs, strict=True):
            optimizer.param_groups[0]["lr"] = peak_lr * lr_factor
            optimizer.step()
            optimizer.zero_grad()
        with torch.no_grad():
            for name, working in self.working.items():
                working.copy_(self.masters[name])


@dataclass(frozen=True)
class Report:
    """Where progress goes: a line of JSON per report, and the model at each save."""

    folder: Path
    every_steps: int = 50
    save_every_steps: int = 200

    def write(self, **figures: object) -> None:
        line = json.dumps(figures)
        print(line, flush=True)
        with (self.folder / "pretraining.jsonl").open("a") as file:
            file.write(line + "\n")


def pretrain(
    model: LlamaForCausalLM,
    loss: Loss,
    *,
    windows: torch.Tensor,
    validation: torch.Tensor,
    schedule: Schedule,
    report: Report,
) -> None:
    """The whole training loop: accumulate, step, now and then measure and save."""
    import torch

    weights = MasterWeights(model, schedule)
    batches = shuffled_batches(windows, schedule)
    started_s, recent = time.monotonic(), 0.0
    for step in range(schedule.steps):
        parts = torch.split(next(batches), schedule.windows_per_pass)
        for part in parts:
            part_loss = loss(part)
            torch.autograd.backward(part_loss)
            weights.take_gradients(1 / len(parts))
            recent += part_loss.item() / len(parts) / report.every_steps
        weights.step(schedule.lr_factor(step))
        done = step + 1
        if done % report.every_steps == 0:
            tokens = done * schedule.tokens_per_step
            tokens_per_s = round(tokens / (time.monotonic() - started_s))
            report.write(step=done, tokens=tokens, train_loss=round(recent, 4), tokens_per_s=tokens_per_s)
            recent = 0.0
        if done % report.save_every_steps == 0:
            held_out_loss = mean_loss(loss, validation, schedule.windows_per_pass)
            report.write(step=done, held_out_loss=round(held_out_loss, 4))
            model.save_pretrained(report.folder)
