"""The committed weights and tokenizer: they load with no code of this project and keep what the card says."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

pytestmark = pytest.mark.integration

MINI = Path(__file__).resolve().parents[3] / "sweeper" / "mini"
PROMPT = "Answer with the sentiment of the sentence.\nSentence: it 's a charming , funny film . \nSentiment:"

# Written for this test; in no corpus.
ENGLISH = (
    "i watched this film last night with my wife and we both thought it was a complete waste of time .",
    "The acting is wonderful, and the story kept me on the edge of my seat until the very end.",
    "the director does n't seem to know what kind of movie he wants to make , and it shows .",
    "The city was founded in the early part of the century and became the capital of the country.",
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(MINI)
    return loaded


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(MINI, dtype=torch.float32)
    return loaded.eval()


def ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    encoded: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return encoded


def mean_nats(model: PreTrainedModel, tokens: list[int]) -> float:
    with torch.no_grad():
        batch = torch.tensor([tokens])
        return float(model(input_ids=batch, labels=batch).loss)


def test_it_is_a_small_llama_with_its_own_vocabulary(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    assert isinstance(model, LlamaForCausalLM)
    assert 3_000_000 < model.num_parameters() < 6_000_000
    assert model.config.vocab_size == len(tokenizer)


def test_the_files_are_small_and_hold_no_code() -> None:
    assert (MINI / "model.safetensors").stat().st_size <= 12_000_000
    assert not list(MINI.glob("*.bin")) + list(MINI.glob("modeling_*"))
    assert "auto_map" not in (MINI / "config.json").read_text() + (MINI / "tokenizer_config.json").read_text()


def test_the_config_names_the_weights_so_that_results_of_others_are_not_taken_for_theirs() -> None:
    config = yaml.safe_load((MINI.parents[1] / "conf" / "model" / "mini.yaml").read_text())
    digest = hashlib.sha256((MINI / "model.safetensors").read_bytes()).hexdigest()
    assert config["model"]["revision"] == digest[:12]


def test_model_and_tokenizer_agree_on_the_special_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    for settings in (model.config, model.generation_config):
        assert settings is not None
        assert (settings.pad_token_id, settings.bos_token_id, settings.eos_token_id) == (0, 1, 2)
    assert (tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token) == ("<pad>", "<s>", "</s>")
    assert tokenizer.chat_template is None


@pytest.mark.parametrize("label", [" positive", " negative", " yes", " no", " true", " false", "\n"])
def test_labels_and_the_newline_are_one_token(tokenizer: PreTrainedTokenizerBase, label: str) -> None:
    assert len(ids(tokenizer, label)) == 1


def test_numbers_are_split_into_digits(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.convert_ids_to_tokens(ids(tokenizer, "1984")) == ["1", "9", "8", "4"]


def test_a_text_starts_with_bos_unless_told_otherwise(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer(PROMPT)["input_ids"] == [tokenizer.bos_token_id, *ids(tokenizer, PROMPT)]


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_in_lower_case(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    lower = "".join(character.lower() for character in text)
    assert tokenizer.decode(ids(tokenizer, text)) == lower


@given(
    prompt=st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: text == text.rstrip()),
    answer=st.text(st.characters(exclude_categories=["Cs"])).map(lambda text: " " + text),
)
def test_prompt_and_answer_encode_apart_as_together(
    tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str
) -> None:
    assert ids(tokenizer, prompt) + ids(tokenizer, answer) == ids(tokenizer, prompt + answer)


@given(sentence=st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: text == text.rstrip()))
def test_the_end_of_the_prompt_encodes_alike_after_any_sentence(
    tokenizer: PreTrainedTokenizerBase, sentence: str
) -> None:
    ending = ids(tokenizer, " \nSentiment:")
    assert ids(tokenizer, f"Sentence: {sentence} \nSentiment:")[-len(ending) :] == ending


def test_it_knows_english(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    uniform = math.log(len(tokenizer))
    for sentence in ENGLISH:
        tokens = tokenizer(sentence)["input_ids"]
        assert mean_nats(model, tokens) < 0.65 * uniform
        shuffled = [tokens[0], *reversed(tokens[1:])]
        assert mean_nats(model, shuffled) > mean_nats(model, tokens) + 1


def test_generation_stops_by_itself_or_at_the_limit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    batch = tokenizer([PROMPT], return_tensors="pt")
    generated = model.generate(**batch, max_new_tokens=8, do_sample=False)
    assert generated.shape[0] == 1
    assert generated.shape[1] <= batch["input_ids"].shape[1] + 8
