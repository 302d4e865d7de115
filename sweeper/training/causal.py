"""A causal language model's objective: write the answer after the prompt.

Training reads the answer's tokens in packed rows. Evaluation scores the candidate answers after every prompt
in one packed forward, which mostly proves what greedy decoding would write, too (`scoring`). Only the rest is
generated. Shapes: K runs, R rows, T tokens, N reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from sweeper.config import LossOn, RunConfig
from sweeper.training.adapters import adapter_name
from sweeper.training.base_model import BaseModel, hidden_states, logits_at
from sweeper.training.generation import configured_ends, decode, generate, greedy
from sweeper.training.methods import Method
from sweeper.training.objective import Batch, Forwarded, Part, Splits, Task
from sweeper.training.packing import Item, Stack, pack, shared_prefix, stack, visible
from sweeper.training.scoring import Verdict, chunks, judge, slice_of
from sweeper.training.stacked_lora import Lane
from tasks.encoded import Encoded, EncodedExample, Limits
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
        asked = config.task
        limits = Limits(asked.max_length, asked.too_long, config.model.prompt_style, asked.max_new_tokens)
        parts = self.base.encodings.of(config, splits, lambda rows: task.encode(rows, self.base.tokenizer, limits))
        train = parts.pop(Part.TRAIN, Encoded([], 0, -1))  # zero-shot, or a finished run that is asked
        prefix = shared_prefix([example.prompt for example in train.examples])
        return CausalData(
            task=task,
            prefix=prefix,
            train=[training_item(example, prefix, config.task.loss_on) for example in train.examples],
            row_tokens=config.train.row_tokens,
            parts=parts,
            max_new_tokens=config.task.max_new_tokens,
            truncated=train.truncated + sum(parts[part].truncated for part in parts if part is not Part.FIT),
            loss_on=config.task.loss_on,
        )

    def weight(self, data: CausalData, indices: Sequence[int]) -> float:
        """How many target tokens these examples have."""
        in_prefix = max(0, len(data.prefix) - 1) if data.reads_prefix else 0
        return sum(in_prefix + data.train[index].num_targets for index in indices)

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
        losses = self._losses(self._read(stacked, lanes), stacked.rows.target)
        weighted = losses * stacked.rows.weight.to(losses)
        sums = torch.zeros(len(batches), dtype=losses.dtype, device=losses.device)
        sums = sums.index_add(0, stacked.run.to(losses.device), weighted)
        return Forwarded(sums, [rows.num_tokens for rows in packed])

    @torch.no_grad()
    def predict(self, indices: Sequence[int], datas: Sequence[CausalData], part: Part) -> list[list[Prediction]]:
        """Per run, in the order of its split."""
        encoded = [data.parts[part] for data in datas]
        verdicts: list[list[Verdict | None]] = [[None] * len(own.examples) for own in encoded]
        pieces = chunks([own.examples for own in encoded], row_tokens=[data.row_tokens for data in datas],
                        pad=self.base.pad, limit=EVALUATION_TOKENS * self.memory_share)  # fmt: skip
        for chunk in pieces:
            lanes = [Lane(adapter_name(indices[run]), *rows.shape)
                     for run, rows in zip(chunk.runs, chunk.rows, strict=True)]  # fmt: skip
            hidden = self._read(stack(chunk.rows, pad=self.base.pad), lanes)
            places = [(run, number) for run, own in zip(chunk.runs, chunk.examples, strict=True) for number in own]
            examples = [encoded[run].examples[number] for run, number in places]
            with self.base.autocast():
                found = judge(self.base.model, hidden, examples, [self._ends(encoded[run]) for run, _ in places])
            for (run, number), verdict in zip(places, found, strict=True):
                verdicts[run][number] = verdict
        return [
            self._predictions(index, data, part, judged)
            for index, data, judged in zip(indices, datas, verdicts, strict=True)
        ]

    def _read(self, stacked: Stack, lanes: Sequence[Lane]) -> Tensor:
        """[N, hidden], one row for each read."""
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
        return hidden.flatten(0, 1)[rows.read_at.to(device)]

    def _losses(self, hidden: Tensor, target: Tensor) -> Tensor:
        """[N] nats. Where the logits of all reads are too many to keep, slices of them are computed again in the
        backward."""

        def loss(part: Tensor, gold: Tensor) -> Tensor:
            with self.base.autocast():
                logits = logits_at(self.base.model, part)
            return functional.cross_entropy(logits, gold, reduction="none")

        target, step = target.to(hidden.device), slice_of(self.base.model)
        if len(hidden) <= step:
            return loss(hidden, target)
        pieces = zip(hidden.split(step), target.split(step), strict=True)
        return torch.cat([checkpoint(loss, *piece, use_reentrant=False) for piece in pieces])

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

    def _ends(self, encoded: Encoded) -> set[int]:
        return {encoded.eos, *configured_ends(self.base.model)}

    def _predictions(
        self, index: int, data: CausalData, part: Part, verdicts: Sequence[Verdict | None]
    ) -> list[Prediction]:
        """Fills in the texts: a proved candidate's own, and for the rest what the model really generates."""
        encoded = data.parts[part]
        texts = self._written(index, data, encoded, verdicts) if encoded.writes else {}
        predictions = []
        for number, (example, verdict) in enumerate(zip(encoded.examples, verdicts, strict=True)):
            assert verdict is not None
            text = texts.get(number)
            predictions.append(Prediction(
                example.id, text, verdict.log_likelihoods, gold=example.label,
                predicted=None if text is None else data.task.parse(text), references=example.references,
                question=example.question, num_tokens=sum(map(len, example.candidates[:1])),
                block=example.block,
            ))  # fmt: skip
        return predictions

    def _written(
        self, index: int, data: CausalData, encoded: Encoded, verdicts: Sequence[Verdict | None]
    ) -> dict[int, str]:
        """By the number of the example."""
        tokenizer, texts, open_ones = self.base.tokenizer, {}, []
        decoded = cache(lambda tokens: decode(tokenizer, tokens))  # labels are few, and written often
        for number, (example, verdict) in enumerate(zip(encoded.examples, verdicts, strict=True)):
            if verdict is None or verdict.written is None:
                open_ones.append(number)
            else:
                written = example.candidates[verdict.written]
                texts[number] = decoded(tuple(written[: data.max_new_tokens]))  # where greedy decoding stops
        self.method.use([Lane(adapter_name(index), 1, 1)])
        settings = greedy(tokenizer, ends=self._ends(encoded), max_new_tokens=data.max_new_tokens)
        virtual = self.method.virtual_tokens(1)
        generated = generate(self.base.model, tokenizer, [encoded.examples[number].prompt for number in open_ones],
                             settings=settings, virtual=None if virtual is None else virtual[0],
                             memory_share=self.memory_share)  # fmt: skip
        return texts | dict(zip(open_ones, generated, strict=True))


def training_item(example: EncodedExample, prefix: Sequence[int], loss_on: LossOn) -> Item:
    """What the example reads after the prefix; the prefix's own tokens are `pack`'s to read."""
    own = [*example.prompt[len(prefix) :], *example.answer]
    first = len(example.prompt) - len(prefix) if loss_on is LossOn.ANSWER else (0 if prefix else 1)
    return Item(own, learnt_from=first)
