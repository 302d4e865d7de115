"""A classification head's objective, for encoders and for causal models with `task.head=true`.

Rows hold one example each, padded to the longest beside them; a batch is cut into pieces of similar lengths, and
evaluation goes through its rows by length, so that little is padded. A group of one: every run has its own head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sweeper.config import RunConfig
from sweeper.training.adapters import adapter_name
from sweeper.training.base_model import BaseModel
from sweeper.training.methods import Method
from sweeper.training.objective import Batch, Forwarded, Part, Splits, Task
from sweeper.training.stacked_lora import Lane
from tasks.encoded import Encoded, EncodedExample, Limits
from tasks.task import Prediction

EVALUATION_TOKENS = 4096  # of one evaluation forward, padding included
CPU_FORWARD, GPU_FORWARD = 64, 8192  # so many tokens cost about as much as a forward more


@dataclass(frozen=True)
class HeadData:
    task: Task
    parts: dict[Part, Encoded]
    truncated: int

    @property
    def num_train(self) -> int:
        return len(self.parts[Part.TRAIN].examples) if Part.TRAIN in self.parts else 0


class HeadObjective:
    def __init__(self, base: BaseModel, method: Method, *, memory_share: float = 1.0) -> None:
        self.base, self.method, self.memory_share = base, method, memory_share

    def prepare(self, config: RunConfig, task: Task, splits: Splits) -> HeadData:
        limits = Limits(config.task.max_length, config.task.too_long)
        tokenizer = self.base.tokenizer
        parts = self.base.encodings.of(config, splits, lambda rows: task.encode_for_head(rows, tokenizer, limits))
        truncated = sum(parts[part].truncated for part in parts if part is not Part.FIT)
        return HeadData(task, parts, truncated)

    def weight(self, data: HeadData, indices: Sequence[int]) -> float:
        return len(indices)

    def loss_sums(self, batches: Sequence[Batch[HeadData]]) -> Forwarded:
        (batch,) = batches
        examples = [batch.data.parts[Part.TRAIN].examples[index] for index in batch.indices]
        num_tokens = sum(len(example.prompt) for example in examples)
        price = GPU_FORWARD if self.base.device.type == "cuda" else CPU_FORWARD
        logits, gold = [], []
        for number, chosen in enumerate(alike([len(example.prompt) for example in examples], price)):
            piece = [examples[place] for place in chosen]
            key = (*batch.dropout_key, number)
            logits.append(self._logits(piece, Lane(adapter_name(0), len(piece), _width(piece), key)))
            gold += [example.label for example in piece]
        whole = torch.cat(logits)
        loss = functional.cross_entropy(whole, torch.tensor(gold, device=whole.device), reduction="sum")
        return Forwarded(loss[None], [num_tokens])

    @torch.no_grad()
    def predict(self, indices: Sequence[int], datas: Sequence[HeadData], part: Part) -> list[list[Prediction]]:
        (data,) = datas
        examples = data.parts[part].examples
        predictions: dict[int, Prediction] = {}
        lengths = [len(example.prompt) for example in examples]
        for chosen in by_length(lengths, limit=EVALUATION_TOKENS * self.memory_share):
            batch = [examples[number] for number in chosen]
            logits = self._logits(batch, Lane(adapter_name(0), len(batch), _width(batch)))
            for number, example, row in zip(chosen, batch, logits.log_softmax(-1).tolist(), strict=True):
                best = max(range(len(row)), key=row.__getitem__)
                predictions[number] = Prediction(example.id, None, tuple(row), gold=example.label, predicted=best)
        return [[predictions[number] for number in range(len(examples))]]

    def _logits(self, examples: Sequence[EncodedExample], lane: Lane) -> Tensor:
        """[B, labels], float32 or better."""
        self.method.use([lane])
        device, width = self.base.device, _width(examples)
        ids = torch.tensor(
            [[*example.prompt, *[self.base.pad] * (width - len(example.prompt))] for example in examples]
        )
        mask = torch.tensor([[1] * len(example.prompt) + [0] * (width - len(example.prompt)) for example in examples])
        with self.base.autocast():
            logits: Tensor = self.method.model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
        return logits if logits.dtype == torch.float64 else logits.float()


def _width(examples: Sequence[EncodedExample]) -> int:
    return max(len(example.prompt) for example in examples)


def alike(lengths: Sequence[int], price: int) -> list[list[int]]:
    """Indices in pieces of similar lengths, the shortest first: the cut that costs the fewest tokens, padding counted,
    where a forward more costs `price` of them."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    best: list[tuple[int, int]] = [(0, 0)]  # of the first so many: the cost, and where their last piece begins
    for stop in range(1, len(order) + 1):
        width = lengths[order[stop - 1]]
        best.append(min((best[start][0] + (stop - start) * width + price, start) for start in range(stop)))
    pieces, stop = [], len(order)
    while stop:
        pieces.append(order[best[stop][1] : stop])
        stop = best[stop][1]
    return pieces[::-1]


def by_length(lengths: Sequence[int], *, limit: float) -> list[list[int]]:
    """Indices in batches of at most `limit` tokens, the longest first: what does not fit shows at once."""
    batches: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        width = lengths[batches[-1][0]] if batches else 0
        if not batches or (len(batches[-1]) + 1) * width > limit:
            batches.append([])
        batches[-1].append(number)
    return batches
