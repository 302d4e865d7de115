"""Greedy text for the prompts whose answer a scoring forward could not prove."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedTokenizerBase

# Of one generate call where memory is not short: constants, so that no batch hangs on what a machine has free.
PROMPTS = 64
GENERATION_BYTES = 4 * 2**30  # of keys and values, and of the forward that reads the prompts
HIDDEN_COPIES = 12  # of a layer's hidden states, alive at a time without a backward


@torch.no_grad()
def generate(
    model: Any,  # anything with Transformers' `generate`
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    settings: GenerationConfig,
    virtual: Tensor | None = None,
    memory_share: float = 1.0,
) -> list[str]:
    """The continuation of each prompt up to its end-of-sequence token, decoded without special tokens.

    `virtual` [V, hidden] are learned embeddings in front of every prompt. See `control.Control` for `memory_share`.
    """
    texts: list[str] = [""] * len(prompts)
    more = settings.max_new_tokens + (0 if virtual is None else len(virtual))
    per_token = token_bytes(model.config, model.dtype)
    for chosen in batches([len(prompt) + more for prompt in prompts], per_token, memory_share=memory_share):
        embeddings, mask = _padded(model, [prompts[number] for number in chosen], virtual)
        with _only(settings, model):
            written = model.generate(inputs_embeds=embeddings, attention_mask=mask, generation_config=settings)
        for number, tokens in zip(chosen, written.tolist(), strict=True):
            texts[number] = decode(tokenizer, tokens)
    return texts


@contextmanager
def _only(settings: GenerationConfig, model: Any) -> Iterator[None]:
    """Transformers fills what they leave open from the checkpoint's, whose penalties make greedy text no argmax."""
    configured, model.generation_config = model.generation_config, settings
    try:
        yield
    finally:
        model.generation_config = configured


def batches(lengths: Sequence[int], per_token: int, *, memory_share: float = 1.0) -> Iterator[list[int]]:
    """Numbers of texts of so many tokens, the shortest first, so that a batch has little padding.

    A batch takes PROMPTS and GENERATION_BYTES at most, at `per_token` bytes; a text that takes more is alone.
    """
    most, room = math.ceil(PROMPTS * memory_share), GENERATION_BYTES * memory_share / per_token
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda number: lengths[number]):
        if batch and (len(batch) == most or (len(batch) + 1) * lengths[number] > room):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def token_bytes(config: PreTrainedConfig, dtype: torch.dtype) -> int:
    """Keys and values of one token over all layers (of a sliding window more than it keeps), and HIDDEN_COPIES."""
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    kept = 2 * text.num_hidden_layers * heads * head_dim
    return int((kept + HIDDEN_COPIES * text.hidden_size) * dtype.itemsize)


def configured_ends(model: Any) -> set[int]:
    """The tokens that end an answer by the model's own settings, of which there may be none, one or several."""
    configured = model.generation_config.eos_token_id
    ends = configured if isinstance(configured, list) else [configured]
    return {end for end in ends if end is not None}


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
