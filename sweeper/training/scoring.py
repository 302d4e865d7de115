"""Evaluation by one forward: how likely each candidate answer is, and what greedy decoding would write.

An example is its prompt and, as branches, its candidates (every label of a classification; a question's accepted
answer and its no-answer form; a block of running text). Where the argmax follows a candidate's tokens up to an
end-of-sequence token, greedy decoding writes that candidate. Shapes: N reads, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from sweeper.training.base_model import logits_at
from sweeper.training.packing import Item, Rows, pack, shared_prefix
from tasks.encoded import EncodedExample

MAX_LOGITS = 2**26  # numbers at a time: 256 MiB in float32


@dataclass(frozen=True)
class Verdict:
    log_likelihoods: tuple[float, ...]  # per candidate, of its tokens after the prompt
    written: int | None  # the candidate that greedy decoding writes, where the forward proves it


def scoring_item(example: EncodedExample, prefix: Sequence[int]) -> Item:
    return Item(example.prompt[len(prefix) :], branches=example.candidates)


@dataclass
class _Questions:
    """What is asked of N reads: whether the one at `before` predicts `target`, a token of candidate `owner`.

    The reads come as `packing.Item.reads` has them: of each example the prompt's end, then every candidate's tokens.
    """

    before: list[int] = field(default_factory=list)
    target: list[int] = field(default_factory=list)
    owner: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)  # per candidate, the read after its last token

    @classmethod
    def of(cls, examples: Sequence[EncodedExample]) -> _Questions:
        asked, trunk = cls(), 0
        for example in examples:
            start = trunk + 1
            for tokens in example.candidates:
                asked.before += [trunk, *range(start, start + len(tokens) - 1)]
                asked.target += tokens
                asked.owner += [len(asked.last)] * len(tokens)
                start += len(tokens)
                asked.last.append(start - 1)
            trunk = start
        return asked


@torch.no_grad()
def judge(
    model: PreTrainedModel, hidden: Tensor, examples: Sequence[EncodedExample], ends: Sequence[set[int]]
) -> list[Verdict]:
    """hidden [N, width], the reads of these examples one after another; `ends`: end-of-sequence tokens of each."""
    asked = _Questions.of(examples)
    device, num_candidates = hidden.device, len(asked.last)
    places = partial(torch.tensor, dtype=torch.long, device=device)  # examples without candidates have none
    before, target, owner, last = map(places, (asked.before, asked.target, asked.owner, asked.last))
    greedy, log_probs = _outcomes(model, hidden, before, target)
    scores = log_probs.new_zeros(num_candidates).index_add_(0, owner, log_probs)
    astray = torch.zeros(num_candidates, dtype=torch.long, device=device)
    astray.index_add_(0, owner, (greedy[before] != target).long())
    after = greedy[last].tolist()
    verdicts, start = [], 0
    likelihoods, followed = scores.tolist(), (astray == 0).tolist()
    for example, end in zip(examples, ends, strict=True):
        own = range(start, start + len(example.candidates))
        written = next((number - start for number in own if followed[number] and after[number] in end), None)
        verdicts.append(Verdict(tuple(likelihoods[number] for number in own), written))
        start = own.stop
    return verdicts


def _outcomes(model: PreTrainedModel, hidden: Tensor, before: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The argmax after each read [N], and the log-probability of each asked token; a slice of the logits at a time."""
    greedy: list[Tensor] = []
    log_probs: Tensor | None = None
    step = slice_of(model)
    for start in range(0, len(hidden), step):
        logits = logits_at(model, hidden[start : start + step])
        greedy.append(logits.argmax(-1))
        here = ((before >= start) & (before < start + step)).nonzero()[:, 0]
        found = logits.log_softmax(-1)[before[here] - start, target[here]]
        log_probs = found.new_zeros(len(before)) if log_probs is None else log_probs
        log_probs[here] = found
    assert log_probs is not None, "no example is without a read"
    return torch.cat(greedy), log_probs


def slice_of(model: PreTrainedModel) -> int:
    """How many reads' logits are in memory at a time."""
    return max(1, MAX_LOGITS // int(model.config.get_text_config().vocab_size))


@dataclass
class Chunk:
    """One evaluation forward: which runs are in it, and for each its rows and the examples that they hold."""

    runs: list[int]
    rows: list[Rows]
    examples: list[list[int]]


def chunks(
    examples: Sequence[Sequence[EncodedExample]], *, row_tokens: Sequence[int], pad: int, limit: float
) -> Iterator[Chunk]:
    """Splits every run's examples, longest first, into packed pieces of about `limit` tokens, all runs together.

    A run with few examples is not in all of them.
    """
    prefixes = [shared_prefix([example.prompt for example in own]) for own in examples]
    items = [[scoring_item(example, prefix) for example in own] for own, prefix in zip(examples, prefixes, strict=True)]
    orders = [sorted(range(len(own)), key=lambda number, own=own: -len(own[number])) for own in items]  # type: ignore[misc]
    tokens = sum(len(item) for own in items for item in own)
    num_chunks = min(math.ceil(tokens / limit), max(len(own) for own in items))
    for piece in range(num_chunks):
        runs = [run for run, order in enumerate(orders) if piece < len(order)]
        chosen = [sorted(orders[run][piece::num_chunks]) for run in runs]
        rows = [
            pack(prefixes[run], [items[run][number] for number in numbers], row_tokens=row_tokens[run], pad=pad)
            for run, numbers in zip(runs, chosen, strict=True)
        ]
        yield Chunk(runs, rows, chosen)
