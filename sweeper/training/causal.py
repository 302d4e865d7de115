"""A causal language model's objective: write the answer after the prompt.

Training reads the answer's tokens in packed rows. Evaluation of a task with labels scores every label
after every prompt in one packed forward, and the same forward proves what greedy decoding would write:
where the argmax follows a label's tokens up to the end-of-sequence token, that label is the greedy text.
Only the rest is generated. Shapes: K runs, R rows, T tokens, N reads, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sweeper.config import LossOn, RunConfig
from sweeper.training.adapters import adapter_name
from sweeper.training.base_model import BaseModel, hidden_states, logits_at
from sweeper.training.generation import PROMPTS, decode, generate, greedy
from sweeper.training.methods import Method
from sweeper.training.objective import Batch, Forwarded, Part, Splits, Task
from sweeper.training.packing import Item, Read, Rows, Stack, pack, shared_prefix, stack, visible
from sweeper.training.stacked_lora import Lane
from tasks.prompting import Encoded, EncodedExample, encode
from tasks.task import Prediction

EVALUATION_TOKENS = 4096  # of one evaluation forward, all runs together: more would leave the CPU cache


@dataclass(frozen=True)
class CausalData:
    """One run's examples, tokenised."""

    task: Task
    prefix: list[int]  # shared by all training prompts
    train: list[Item]
    row_tokens: int
    parts: dict[Part, Encoded]
    max_new_tokens: int
    truncated: int
    loss_on: LossOn = LossOn.ANSWER

    @property
    def num_train(self) -> int:
        return len(self.train)

    @property
    def reads_prefix(self) -> bool:
        return self.loss_on is LossOn.ALL


class CausalObjective:
    def __init__(self, base: BaseModel, method: Method, *, memory_share: float = 1.0) -> None:
        self.base, self.method, self.memory_share = base, method, memory_share

    def prepare(self, config: RunConfig, task: Task, splits: Splits) -> CausalData:
        limits: dict[str, Any] = {"max_length": config.task.max_length, "too_long": config.task.too_long}
        parts = {
            part: encode(task, rows, self.base.tokenizer, style=config.model.prompt_style, **limits)
            for part, rows in splits.items()
        }
        train = parts.pop(Part.TRAIN)
        prefix = shared_prefix([example.prompt for example in train.examples])
        return CausalData(
            task=task,
            prefix=prefix,
            train=[training_item(example, prefix, config.task.loss_on) for example in train.examples],
            row_tokens=config.train.row_tokens,
            parts=parts,
            max_new_tokens=config.task.max_new_tokens,
            truncated=train.truncated + sum(part.truncated for part in parts.values()),
            loss_on=config.task.loss_on,
        )

    def weight(self, data: CausalData, indices: Sequence[int]) -> float:
        """How many target tokens these examples have."""
        in_prefix = max(0, len(data.prefix) - 1) if data.reads_prefix else 0
        return sum(in_prefix + len(data.train[index].reads) for index in indices)

    def loss_sums(self, batches: Sequence[Batch[CausalData]]) -> Forwarded:
        packed = [
            pack(batch.data.prefix, [batch.data.train[index] for index in batch.indices],
                 row_tokens=batch.data.row_tokens, pad=self.base.pad, read_prefix=batch.data.reads_prefix)
            for batch in batches
        ]  # fmt: skip
        stacked = stack(packed, pad=self.base.pad)
        lanes = [
            Lane(adapter_name(batch.index), *rows.shape, dropout_key=batch.dropout_key)
            for batch, rows in zip(batches, packed, strict=True)
        ]
        logits = self._read_logits(stacked, lanes)
        rows = stacked.rows
        losses = functional.cross_entropy(logits, rows.target.to(logits.device), reduction="none")
        weighted = losses * rows.weight.to(losses)
        sums = torch.zeros(len(batches), dtype=losses.dtype, device=losses.device)
        sums = sums.index_add(0, stacked.run.to(losses.device), weighted)
        return Forwarded(sums, [rows.num_tokens for rows in packed])

    @torch.no_grad()
    def predict(self, indices: Sequence[int], datas: Sequence[CausalData], part: Part) -> list[list[Prediction]]:
        """Per run, in the order of its split."""
        verdicts: list[list[Verdict | None]] = [[None] * len(data.parts[part].examples) for data in datas]
        for chunk in _chunks(datas, part, pad=self.base.pad, limit=EVALUATION_TOKENS * self.memory_share):
            lanes = [Lane(adapter_name(indices[run]), *rows.shape)
                     for run, rows in zip(chunk.runs, chunk.rows, strict=True)]  # fmt: skip
            stacked = stack(chunk.rows, pad=self.base.pad)
            logits = self._read_logits(stacked, lanes)
            for place, (run, examples) in enumerate(zip(chunk.runs, chunk.examples, strict=True)):
                found = self._judge(logits[stacked.run.to(logits.device) == place], datas[run].parts[part])
                for example, verdict in zip(examples, found, strict=True):
                    verdicts[run][example] = verdict
        return [
            self._predictions(index, data, part, judged)
            for index, data, judged in zip(indices, datas, verdicts, strict=True)
        ]

    def _read_logits(self, stacked: Stack, lanes: Sequence[Lane]) -> Tensor:
        """[N, V], one row for each read."""
        rows, device = stacked.rows, self.base.device
        self.method.use(lanes)
        owner, branch = rows.owner.to(device), rows.branch.to(device)
        inputs = {"input_ids": rows.input_ids.to(device), "position_ids": rows.position_ids.to(device)}
        mask = visible(owner, branch)
        virtual = self.method.virtual_tokens(len(owner))
        if virtual is not None:
            inputs, mask = self._with_virtual_tokens(inputs, mask, virtual)
        with self.base.autocast():
            hidden = hidden_states(self.base.model, attention_mask=self._attention_mask(mask), **inputs)
            if virtual is not None:
                hidden = hidden[:, virtual.shape[1] :]
            return logits_at(self.base.model, hidden.flatten(0, 1)[rows.read_at.to(device)])

    def _attention_mask(self, mask: Tensor) -> Tensor:
        """Boolean for SDPA; eager attention adds its mask, so there it must be a number."""
        if self.base.model.config._attn_implementation != "eager":
            return mask
        dtype = self.base.model.dtype
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)

    def _with_virtual_tokens(
        self, inputs: dict[str, Tensor], mask: Tensor, virtual: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Puts the learned embeddings in front of every row, visible to all of it."""
        embeddings = self.base.model.get_input_embeddings()(inputs["input_ids"])
        num_rows, length, _ = virtual.shape
        before = torch.arange(length, device=mask.device).expand(num_rows, -1)
        whole = mask.new_ones(num_rows, 1, mask.shape[-1] + length, mask.shape[-1] + length).tril()
        whole[:, :, length:, length:] = mask
        return {
            "inputs_embeds": torch.cat([virtual.to(embeddings.dtype), embeddings], dim=1),
            "position_ids": torch.cat([before, inputs["position_ids"] + length], dim=1),
        }, whole

    def _judge(self, logits: Tensor, encoded: Encoded) -> list[Verdict]:
        """logits [n * S, V], for each example its trunk's end and then every label token; n examples."""
        labels = encoded.label_tokens
        reads = 1 + sum(len(tokens) for tokens in labels)
        per_example = logits.view(-1, reads, logits.shape[-1])  # [n, S, V]
        greedy = per_example.argmax(-1)  # [n, S]
        log_probs = per_example.log_softmax(-1)
        ends = torch.tensor(sorted(self._end_tokens(encoded)), device=logits.device)
        scores, followed, start = [], [], 1
        for tokens in labels:
            before = [0, *range(start, start + len(tokens) - 1)]  # the reads that predict the label's tokens
            target = torch.tensor(tokens, device=logits.device)
            scores.append(log_probs[:, before, target].sum(-1))
            last = greedy[:, start + len(tokens) - 1]
            followed.append((greedy[:, before] == target).all(-1) & torch.isin(last, ends))
            start += len(tokens)
        likelihoods, proved = torch.stack(scores, 1).tolist(), torch.stack(followed, 1)
        certain, which = proved.any(1).tolist(), proved.int().argmax(1).tolist()
        return [
            Verdict(tuple(row), label if sure else None)
            for row, sure, label in zip(likelihoods, certain, which, strict=True)
        ]

    def _end_tokens(self, encoded: Encoded) -> set[int]:
        configured = self.base.model.generation_config.eos_token_id
        ends = configured if isinstance(configured, list) else [configured]
        return {encoded.eos, *(end for end in ends if end is not None)}

    def _predictions(
        self, index: int, data: CausalData, part: Part, verdicts: Sequence[Verdict | None]
    ) -> list[Prediction]:
        """Fills in the texts: a proved label's own, and for the rest what the model really generates."""
        encoded, tokenizer = data.parts[part], self.base.tokenizer
        label_texts = [decode(tokenizer, tokens) for tokens in encoded.label_tokens]
        open_ones = [number for number, verdict in enumerate(verdicts) if verdict is None or verdict.label is None]
        prompts = [encoded.examples[number].prompt for number in open_ones]
        self.method.use([Lane(adapter_name(index), 1, 1)])
        settings = greedy(tokenizer, ends=self._end_tokens(encoded), max_new_tokens=data.max_new_tokens)
        virtual = self.method.virtual_tokens(1)
        generated = generate(self.base.model, tokenizer, prompts, settings=settings,
                             virtual=None if virtual is None else virtual[0],
                             batch=math.ceil(PROMPTS * self.memory_share))  # fmt: skip
        texts = dict(zip(open_ones, generated, strict=True))
        predictions = []
        for number, (example, verdict) in enumerate(zip(encoded.examples, verdicts, strict=True)):
            assert verdict is not None
            text = texts[number] if number in texts else label_texts[verdict.label or 0]
            predictions.append(Prediction(id=example.id, gold=example.label, predicted=data.task.parse(text),
                                          text=text, log_likelihoods=verdict.log_likelihoods))  # fmt: skip
        return predictions


@dataclass(frozen=True)
class Verdict:
    log_likelihoods: tuple[float, ...]  # per label, of its tokens after the prompt
    label: int | None  # what greedy decoding writes, where the forward proves it


@dataclass
class _Chunk:
    """One evaluation forward: which runs are in it, and for each its rows and the examples that they hold."""

    runs: list[int]
    rows: list[Rows]
    examples: list[list[int]]


def training_item(example: EncodedExample, prefix: Sequence[int], loss_on: LossOn) -> Item:
    """What the example reads after the prefix; the prefix's own tokens are `pack`'s to read."""
    own = [*example.prompt[len(prefix) :], *example.answer]
    first = len(example.prompt) - len(prefix) if loss_on is LossOn.ANSWER else (0 if prefix else 1)
    return Item(own, reads=[Read(offset - 1, own[offset], 0) for offset in range(first, len(own))])


def scoring_item(example: EncodedExample, prefix: Sequence[int], label_tokens: Sequence[Sequence[int]]) -> Item:
    own = example.prompt[len(prefix) :]
    reads = [Read(len(own) - 1, 0, 0)]
    reads += [Read(offset, 0, branch) for branch, tokens in enumerate(label_tokens, start=1)
              for offset in range(len(tokens))]  # fmt: skip
    return Item(own, branches=label_tokens, reads=reads)


def _chunks(datas: Sequence[CausalData], part: Part, *, pad: int, limit: float) -> Iterator[_Chunk]:
    """Splits every run's examples, longest first, into packed pieces of about `limit` tokens, all runs together.

    A run with few examples is not in all of them.
    """
    prefixes = [shared_prefix([example.prompt for example in data.parts[part].examples]) for data in datas]
    items = [
        [scoring_item(example, prefix, data.parts[part].label_tokens) for example in data.parts[part].examples]
        for data, prefix in zip(datas, prefixes, strict=True)
    ]
    orders = [sorted(range(len(own)), key=lambda number, own=own: -len(own[number])) for own in items]  # type: ignore[misc]
    tokens = sum(len(item) for own in items for item in own)
    num_chunks = min(math.ceil(tokens / limit), max(len(own) for own in items))
    for piece in range(num_chunks):
        runs = [run for run, order in enumerate(orders) if piece < len(order)]
        examples = [sorted(orders[run][piece::num_chunks]) for run in runs]
        rows = [
            pack(prefixes[run], [items[run][number] for number in chosen], row_tokens=datas[run].row_tokens, pad=pad)
            for run, chosen in zip(runs, examples, strict=True)
        ]
        yield _Chunk(runs, rows, examples)
