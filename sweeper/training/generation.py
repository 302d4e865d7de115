"""Greedy text for the prompts whose answer a scoring forward could not prove."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig, PreTrainedTokenizerBase

PROMPTS = 64  # of one generate call, where memory is not short


@torch.no_grad()
def generate(
    model: Any,  # anything with Transformers' `generate`
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    settings: GenerationConfig,
    virtual: Tensor | None = None,
    batch: int = PROMPTS,
) -> list[str]:
    """The continuation of each prompt up to its end-of-sequence token, decoded without special tokens.

    `virtual` [V, hidden] are learned embeddings in front of every prompt.
    """
    texts: list[str] = [""] * len(prompts)
    by_length = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))  # little padding in a batch
    for start in range(0, len(by_length), batch):
        chosen = by_length[start : start + batch]
        embeddings, mask = _padded(model, [prompts[number] for number in chosen], virtual)
        written = model.generate(inputs_embeds=embeddings, attention_mask=mask, generation_config=settings)
        for number, tokens in zip(chosen, written.tolist(), strict=True):
            texts[number] = decode(tokenizer, tokens)
    return texts


def greedy(tokenizer: PreTrainedTokenizerBase, *, ends: Iterable[int], max_new_tokens: int) -> GenerationConfig:
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        eos_token_id=sorted(ends),
        pad_token_id=tokenizer.pad_token_id,
    )


def _padded(model: Any, prompts: Sequence[Sequence[int]], virtual: Tensor | None) -> tuple[Tensor, Tensor]:
    """Embeddings [B, W, hidden] and mask [B, W], padded on the left, so that all go on from the last column."""
    embed = model.get_input_embeddings()
    rows = [embed(torch.tensor(prompt, device=model.device)) for prompt in prompts]
    if virtual is not None:
        rows = [torch.cat([virtual.to(row.dtype), row]) for row in rows]
    embeddings = pad_sequence(rows, batch_first=True, padding_side="left")
    mask = pad_sequence([row.new_ones(len(row), dtype=torch.long) for row in rows], batch_first=True,
                        padding_side="left")  # fmt: skip
    return embeddings, mask


def decode(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    text = tokenizer.decode(list(tokens), skip_special_tokens=True)
    assert isinstance(text, str)
    return text
