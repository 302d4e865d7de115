"""Texts of a chat model: greedy at first, others when asked again, none beyond what the model reads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import GenerationConfig

from sweeper.checks import ConfigError
from sweeper.training.base_model import load_base_model
from sweeper.training.writing import ChatWriter
from tasks.task import Prompt
from tests.integration.training.test_exactness import key

PROMPTS = [Prompt("", "the film is"), Prompt("a good plot", "was it not very dull and slow , the film ?")]


@pytest.fixture(scope="module")
def writer(llama_folder: Path) -> ChatWriter:
    return ChatWriter(load_base_model(key(llama_folder)), max_new_tokens=12)


def test_the_first_attempt_is_greedy(writer: ChatWriter) -> None:
    tokenizer = writer.base.tokenizer
    settings = GenerationConfig(do_sample=False, max_new_tokens=12, eos_token_id=2, pad_token_id=0)
    for prompt, text in zip(PROMPTS, writer(PROMPTS, attempt=0), strict=True):
        whole = f"{prompt.system}\n{prompt.user}" if prompt.system else prompt.user
        ids = torch.tensor([[1, *tokenizer(whole, add_special_tokens=False)["input_ids"]]])
        out = writer.base.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        assert text == tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


def test_a_further_attempt_is_another_text_and_the_same_for_a_seed(writer: ChatWriter) -> None:
    state = torch.get_rng_state()
    first, second, third = (writer(PROMPTS, attempt=attempt) for attempt in (0, 1, 2))
    assert first != second != third
    assert writer(PROMPTS, attempt=1) == second
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's numbers are drawn


def test_no_attempt_hangs_on_what_the_checkpoint_is_set_to(writer: ChatWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = [writer(PROMPTS, attempt=attempt) for attempt in (0, 1)]
    own = GenerationConfig(eos_token_id=2, do_sample=True, top_k=1, repetition_penalty=1.5, suppress_tokens=[20])
    monkeypatch.setattr(writer.base.model, "generation_config", own)
    assert [writer(PROMPTS, attempt=attempt) for attempt in (0, 1)] == plain


def test_a_prompt_that_leaves_no_room_for_its_answer_is_refused(writer: ChatWriter) -> None:
    writer.check(PROMPTS)
    with pytest.raises(ConfigError, match=r"max_new_tokens=12: the writer reads 512 tokens, and a prompt alone has up"):
        writer.check([*PROMPTS, Prompt("", " film" * 505)])
