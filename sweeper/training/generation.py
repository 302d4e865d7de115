"""Greedy text for the prompts whose answer a scoring forward could not prove."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerBase

BATCH = 64  # prompts of one generate call


@torch.no_grad()
def generate(
    model: Any,  # anything with Transformers' `generate`
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    ends: Iterable[int],
    max_new_tokens: int,
) -> list[str]:
    """The continuation of each prompt up to its end-of-sequence token, decoded without special tokens."""
    settings = GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        eos_token_id=sorted(ends),
        pad_token_id=tokenizer.pad_token_id,
    )
    texts: list[str] = [""] * len(prompts)
    by_length = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))  # little padding in a batch
    for start in range(0, len(by_length), BATCH):
        chosen = by_length[start : start + BATCH]
        width = max(len(prompts[number]) for number in chosen)
        ids = torch.full((len(chosen), width), int(tokenizer.pad_token_id), device=model.device)
        mask = torch.zeros_like(ids)
        for row, number in enumerate(chosen):  # padded on the left, so that all continue from the last column
            ids[row, width - len(prompts[number]) :] = torch.tensor(prompts[number])
            mask[row, width - len(prompts[number]) :] = 1
        written: Tensor = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
        for row, number in enumerate(chosen):
            # PEFT's prompt tuning generates from embeddings, whose tokens come back without the prompt.
            new = written[row, width:] if written.shape[1] > width else written[row]
            texts[number] = decode(tokenizer, new.tolist())
    return texts


def decode(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    text = tokenizer.decode(list(tokens), skip_special_tokens=True)
    assert isinstance(text, str)
    return text
