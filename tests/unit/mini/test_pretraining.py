from __future__ import annotations

import math

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sweeper.mini.pretraining import Schedule, make_loss, mean_loss, shuffled_batches, token_windows


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """One letter, one token: a is 2, b is 3 and so on; a text begins with <s>."""
    vocabulary = {"<s>": 0, "</s>": 1} | {letter: place + 2 for place, letter in enumerate("abcdefgh")}
    letters = Tokenizer(models.WordLevel(vocabulary, unk_token="a"))
    letters.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    letters.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=letters, bos_token="<s>", eos_token="</s>")


def test_windows_hold_every_document_and_what_its_tokens_count(tokenizer: PreTrainedTokenizerFast) -> None:
    documents = [("a b", ""), ("c", "d e"), ("f g h", "")]
    windows = token_windows(documents, tokenizer, 4, text_weight=0, answer_weight=6)
    assert windows.shape == (3, 2, 5)
    ids = [*windows[0, 0].tolist(), *windows[1, 0, 1:].tolist(), *windows[2, 0, 1:].tolist()]  # one token is shared
    assert ids == [0, 2, 3, 1, 0, 4, 5, 6, 1, 0, 7, 8, 9]
    assert windows[1].tolist() == [[0, 4, 5, 6, 1], [0, 0, 6, 6, 0]]


def tiny_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=10, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, head_dim=4
    )
    return LlamaForCausalLM(config)


def test_the_loss_is_the_weighted_mean_of_the_tokens_losses() -> None:
    model, generator = tiny_llama(), torch.Generator().manual_seed(0)
    ids = torch.randint(10, (2, 6), generator=generator)
    weights = torch.tensor([[9, 1, 0, 0, 0, 0], [9, 0, 0, 5, 0, 0]])  # the first token is not predicted
    nats = -model(input_ids=ids).logits.log_softmax(-1)
    expected = (nats[0, 0, ids[0, 1]] + 5 * nats[1, 2, ids[1, 3]]) / 6
    loss = make_loss(model, compiled=False)
    windows = torch.stack([ids, weights], dim=1)
    assert loss(windows).item() == pytest.approx(expected.item(), rel=1e-6)
    assert mean_loss(loss, windows, windows_per_pass=1) == pytest.approx(expected.item(), rel=1e-6)


def test_a_model_that_knows_nothing_guesses_uniformly() -> None:
    model = tiny_llama()
    torch.nn.init.zeros_(model.lm_head.weight)
    windows = torch.ones(2, 2, 6, dtype=torch.long)
    assert make_loss(model, compiled=False)(windows).item() == pytest.approx(math.log(10))


def test_steps_cover_the_token_budget() -> None:
    schedule = Schedule(tokens=8192 * 10 + 1)
    assert schedule.tokens_per_step == 8192
    assert schedule.steps == 11


def test_the_learning_rate_rises_then_falls_to_almost_nothing() -> None:
    schedule = Schedule(tokens=8192 * 100, warmup_share=0.1)
    factors = [schedule.lr_factor(step) for step in range(schedule.steps)]
    assert factors[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert factors[9:] == sorted(factors[9:], reverse=True)
    assert max(factors) == 1.0
    assert 0 < factors[-1] < 0.02


@pytest.mark.parametrize("documents", [3, 10, 64])  # fewer than a batch, not a multiple of one, a multiple
def test_every_window_comes_once_per_pass(documents: int) -> None:
    schedule = Schedule(tokens=1, windows_per_step=4)
    windows = torch.arange(documents, dtype=torch.int32).unsqueeze(1)
    batches = shuffled_batches(windows, schedule)
    drawn = torch.cat([next(batches) for _ in range(documents)]).flatten()
    for number in range(4):
        one_pass = drawn[number * documents : (number + 1) * documents]
        assert sorted(one_pass.tolist()) == list(range(documents))


def test_the_seed_decides_the_order() -> None:
    windows = torch.arange(100, dtype=torch.int32).unsqueeze(1)
    first, again, other = (next(shuffled_batches(windows, Schedule(tokens=1, seed=seed))) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
