"""An answer cut out of its context: start and end of a span, for encoders.

As published for BERT (https://arxiv.org/abs/1810.04805): cross-entropy of start and end in every window of an
example, where [CLS] stands for no answer; the answer is the best span of all windows, unless the windows' least score
of [CLS] is higher. Shapes: W windows, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sweeper.config import RunConfig
from sweeper.training.adapters import adapter_name
from sweeper.training.head import EVALUATION_TOKENS, HeadData, HeadObjective, by_length
from sweeper.training.objective import Batch, Forwarded, Part, Splits, Task
from sweeper.training.stacked_lora import Lane
from tasks.span_windows import UNKNOWN, SpanExample, Window
from tasks.task import Prediction


@dataclass(frozen=True)
class SpanData(HeadData):
    max_answer_tokens: int
    may_decline: bool  # whether questions can be without an answer

    def examples(self, part: Part) -> list[SpanExample]:
        return [example for example in self.parts[part].examples if isinstance(example, SpanExample)]

    def windows(self, indices: Sequence[int]) -> list[Window]:
        """Of these training examples."""
        chosen = [self.parts[Part.TRAIN].examples[index] for index in indices]
        return [window for example in chosen if isinstance(example, SpanExample) for window in example.windows]


@dataclass
class _Reading:
    """What the windows of one example say."""

    nowhere: float = float("inf")  # the least score of [CLS]
    best: float = -float("inf")  # score of the best span
    text: str = ""
    log_likelihood: float = 0.0  # of the first accepted answer's ends in every window


class SpanObjective(HeadObjective):
    def prepare(self, config: RunConfig, task: Task, splits: Splits) -> SpanData:
        data = super().prepare(config, task, splits)
        declines = config.task.prompt.no_answer is not None
        return SpanData(data.task, data.parts, data.truncated, config.task.max_new_tokens, declines)

    def weight(self, data: SpanData, indices: Sequence[int]) -> float:  # type: ignore[override]
        """How many windows these examples have."""
        return len(data.windows(indices))

    def loss_sums(self, batches: Sequence[Batch[SpanData]]) -> Forwarded:  # type: ignore[override]
        (batch,) = batches
        windows = batch.data.windows(batch.indices)
        start, end = self._scores(windows, batch.dropout_key)
        gold = torch.tensor([[window.start, window.end] for window in windows], device=start.device)
        losses = functional.cross_entropy(start, gold[:, 0], reduction="sum")
        losses = losses + functional.cross_entropy(end, gold[:, 1], reduction="sum")
        return Forwarded(losses[None] / 2, [sum(len(window.tokens) for window in windows)])

    @torch.no_grad()
    def predict(  # type: ignore[override]
        self, indices: Sequence[int], datas: Sequence[SpanData], part: Part
    ) -> list[list[Prediction]]:
        (data,) = datas
        examples = data.examples(part)
        readings = [_Reading() for _ in examples]
        places = [(number, window) for number, example in enumerate(examples) for window in example.windows]
        lengths = [len(window.tokens) for _, window in places]
        for chosen in by_length(lengths, limit=EVALUATION_TOKENS * self.memory_share):
            owners = [places[place][0] for place in chosen]
            windows = [places[place][1] for place in chosen]
            self._read([examples[owner] for owner in owners], windows, [readings[owner] for owner in owners], data)
        return [[_prediction(*pair, data) for pair in zip(examples, readings, strict=True)]]

    def _read(
        self, examples: Sequence[SpanExample], windows: Sequence[Window], readings: Sequence[_Reading], data: SpanData
    ) -> None:
        """Adds what one forward says of these windows to the readings of their examples."""
        start, end = self._scores(windows, None)
        score, first, last = best_spans(start, end, windows, data.max_answer_tokens)
        rows = torch.arange(len(windows), device=start.device)
        cls = torch.tensor([window.nowhere for window in windows], device=start.device)
        nowhere = (start[rows, cls] + end[rows, cls]).tolist()
        likelihoods = _log_likelihoods(start, end, windows)
        for number, (example, window, reading) in enumerate(zip(examples, windows, readings, strict=True)):
            reading.nowhere = min(reading.nowhere, nowhere[number])
            reading.log_likelihood += likelihoods[number]
            if score[number] > reading.best:
                reading.best = score[number]
                begin, stop = window.characters[first[number], 0], window.characters[last[number], 1]
                reading.text = example.context[begin:stop]

    def _scores(self, windows: Sequence[Window], dropout_key: tuple[int, ...] | None) -> tuple[Tensor, Tensor]:
        """Scores of start and of end [W, T], float32 or better; padding has none (minus infinity)."""
        width = max(len(window.tokens) for window in windows)
        self.method.use([Lane(adapter_name(0), len(windows), width, dropout_key)])
        mask = self._padded([np.ones(len(window.tokens), dtype=np.int64) for window in windows], 0)
        inputs = {"input_ids": self._padded([window.tokens for window in windows], self.base.pad)}
        types = [window.types for window in windows if window.types is not None]
        if types:
            inputs["token_type_ids"] = self._padded(types, 0)
        with self.base.autocast():
            outputs = self.method.model(attention_mask=mask, **inputs)
        padding = mask == 0
        start, end = (
            (logits if logits.dtype == torch.float64 else logits.float()).masked_fill(padding, -torch.inf)
            for logits in (outputs.start_logits, outputs.end_logits)
        )
        return start, end

    def _padded(self, rows: Sequence[np.ndarray], value: int) -> Tensor:
        tensors = [torch.from_numpy(row.astype(np.int64)) for row in rows]
        return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value).to(self.base.device)


def best_spans(
    start: Tensor, end: Tensor, windows: Sequence[Window], max_tokens: int
) -> tuple[list[float], list[int], list[int]]:
    """Per window the score of its best span of at most `max_tokens` tokens of the context, and its first and last."""
    outside = torch.ones_like(start, dtype=torch.bool)
    for row, window in enumerate(windows):
        outside[row, : len(window.tokens)] = torch.from_numpy(window.characters[:, 0] < 0)
    starts, ends = start.masked_fill(outside, -torch.inf), end.masked_fill(outside, -torch.inf)
    reach = functional.pad(ends, (0, max_tokens - 1), value=-torch.inf).unfold(1, max_tokens, 1)  # [W, T, max_tokens]
    best, place = (starts[:, :, None] + reach).flatten(1).max(dim=1)
    first = place // max_tokens
    return best.tolist(), first.tolist(), (first + place % max_tokens).tolist()


def _log_likelihoods(start: Tensor, end: Tensor, windows: Sequence[Window]) -> list[float]:
    """Of the gold start and end in each window; 0 where they are not known."""
    gold = torch.tensor([[window.start, window.end] for window in windows], device=start.device)
    known = gold[:, 0] != UNKNOWN
    at = gold.clamp_min(0)
    found = start.log_softmax(-1).gather(1, at[:, :1]) + end.log_softmax(-1).gather(1, at[:, 1:])
    return list(found[:, 0].masked_fill(~known, 0.0).tolist())


def _prediction(example: SpanExample, reading: _Reading, data: SpanData) -> Prediction:
    """The no-answer score is by how much [CLS] is ahead of the best span."""
    ahead = reading.nowhere - reading.best
    known = example.windows[0].start != UNKNOWN
    scores = [reading.log_likelihood] * known + [ahead] * data.may_decline
    text = "" if data.may_decline and ahead > 0 else reading.text
    return Prediction(
        example.id, text, tuple(scores), references=example.references, question=example.question, span=reading.text
    )
