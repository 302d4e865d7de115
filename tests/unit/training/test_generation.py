"""Greedy text is the argmax, whatever the checkpoint is set to; a batch is what its keys and values take, not what a
machine has free."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import Gemma2Config, GenerationConfig, GPT2Config, LlamaConfig, LlamaForCausalLM, PreTrainedConfig

from sweeper.launch import footprint
from sweeper.training import generation
from sweeper.training.generation import GENERATION_BYTES, PROMPTS, batches, generate, greedy, token_bytes

LLAMA_13B = LlamaConfig(hidden_size=5120, num_hidden_layers=40, num_attention_heads=40)
ASKED = [[5, 6, 7], [8, 9]]
END, NEW = 2, 12


class Numbers:
    """Tokens as they are."""

    pad_token_id = 0

    def decode(self, tokens: list[int], *, skip_special_tokens: bool) -> str:
        return " ".join(str(token) for token in tokens if not (skip_special_tokens and token in (0, END)))


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=99, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        initializer_range=0.2, dtype="float64",
    )  # fmt: skip
    return LlamaForCausalLM(config).double().eval()


@torch.no_grad()
def argmax(model: Any, prompt: list[int]) -> list[int]:
    written: list[int] = []
    while len(written) < NEW and written[-1:] != [END]:
        written.append(int(model(input_ids=torch.tensor([prompt + written])).logits[0, -1].argmax()))
    return written


@pytest.mark.parametrize("configured", [
    {}, {"repetition_penalty": 1.5, "suppress_tokens": [17, 4]}, {"no_repeat_ngram_size": 1},
    {"do_sample": True, "temperature": 0.7, "top_k": 3}, {"num_beams": 3}, {"bad_words_ids": [[16], [75]]},
])  # fmt: skip
def test_greedy_text_is_the_argmax_whatever_the_checkpoint_is_set_to(model: Any, configured: dict[str, Any]) -> None:
    model.generation_config = own = GenerationConfig(eos_token_id=END, **configured)
    settings = greedy(Numbers(), ends=[END], max_new_tokens=NEW)  # type: ignore[arg-type]
    texts = generate(model, Numbers(), ASKED, settings=settings)  # type: ignore[arg-type]
    expected = [argmax(model, prompt) for prompt in ASKED]
    assert texts == [Numbers().decode(written, skip_special_tokens=True) for written in expected]
    assert len(set(expected[0])) < len(expected[0])  # a penalty would show
    assert model.generation_config is own


def test_the_checkpoint_keeps_its_settings_where_a_call_fails(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise torch.OutOfMemoryError

    model.generation_config = own = GenerationConfig(eos_token_id=END, repetition_penalty=1.5)
    monkeypatch.setattr(model, "generate", fail)
    with pytest.raises(torch.OutOfMemoryError):
        generate(model, Numbers(), ASKED, settings=greedy(Numbers(), ends=[END], max_new_tokens=NEW))  # type: ignore[arg-type]
    assert model.generation_config is own


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (LLAMA_13B, 2 * 40 * 5120 + 12 * 5120),
        (
            LlamaConfig(hidden_size=64, num_hidden_layers=3, num_attention_heads=8, num_key_value_heads=2),
            2 * 3 * 2 * 8 + 12 * 64,
        ),
        (Gemma2Config(hidden_size=64, num_hidden_layers=26, num_key_value_heads=4, head_dim=256), 26 * 2048 + 12 * 64),
        (GPT2Config(n_embd=768, n_layer=12, n_head=12), 2 * 12 * 768 + 12 * 768),
    ],
    ids=["heads", "grouped", "head_dim", "other words"],
)
def test_a_token_keeps_a_key_and_a_value_in_every_layer_and_is_read_once(
    config: PreTrainedConfig, expected: int
) -> None:
    assert token_bytes(config, torch.bfloat16) == 2 * expected
    assert token_bytes(config, torch.float32) == 4 * expected


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize(("tokens", "size"), [(60, 64), (300, 15), (1000, 4), (4096, 1), (40_000, 1)])
def test_a_batch_takes_no_more_than_its_bytes(tokens: int, size: int, share: float) -> None:
    """Of Llama 2 13B, 0.9 MB a token: 64 prompts of a thousand tokens would take 60 GB."""
    per_token = token_bytes(LLAMA_13B, torch.bfloat16)
    found = list(batches([tokens] * 100, per_token, memory_share=share))
    assert sorted(number for batch in found for number in batch) == list(range(100))
    largest = max(map(len, found))
    assert largest == (
        size if share == 1 else max(1, min(PROMPTS // 2, int(GENERATION_BYTES / 2 / per_token // tokens)))
    )
    assert largest == 1 or largest * tokens * per_token <= GENERATION_BYTES * share


def test_a_batch_is_as_large_as_its_longest_allows() -> None:
    lengths = [10, 30, 20, 1000]
    assert list(batches(lengths, GENERATION_BYTES // 60)) == [[0, 2], [1], [3]]
    assert list(batches([], 1)) == []


def test_the_plan_counts_with_the_same_limits() -> None:
    limits = generation.PROMPTS, generation.GENERATION_BYTES, generation.HIDDEN_COPIES
    assert limits == (footprint.PROMPTS, footprint.GENERATION_BYTES, footprint.EVALUATION_COPIES)
