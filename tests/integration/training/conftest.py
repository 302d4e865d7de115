"""A random two-layer Llama and a small word-level tokenizer, saved as real model folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, PreTrainedTokenizerFast

from sweeper.peft_method import PeftMethod
from sweeper.training.base_model import BaseModel
from sweeper.training.methods import Method, method_for
from tests.integration.training.small_runs import MakeConfig, small_config, write_sentences

WORDS = (
    "a film the plot is was not very good bad dull bright moving slow Sentence : Sentiment positive negative . , and"
)


def save_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3}
    for piece in [*(f"Ġ{word}" for word in WORDS.split()), *WORDS.split(), "Ċ", "Ġ", *(chr(c) for c in range(33, 127))]:
        vocabulary.setdefault(piece, len(vocabulary))
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    fast.save_pretrained(folder)
    return fast


def save_llama(folder: Path, *, seed: int = 0) -> Path:
    tokenizer = save_tokenizer(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        initializer_range=0.2,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def gemma_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gemma 2: soft caps on attention and logits, alternating sliding windows, eager attention."""
    folder = tmp_path_factory.mktemp("gemma")
    tokenizer = save_tokenizer(folder)
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, sliding_window=256, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        initializer_range=0.2,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sentences(tmp_path_factory.mktemp("data"))


@pytest.fixture
def make_config(llama_folder: Path, tiny_data: Path, tmp_path: Path) -> MakeConfig:
    return small_config(llama_folder, tiny_data, tmp_path)


def attach(base: BaseModel, methods: Sequence[PeftMethod], seeds: Sequence[int]) -> Method:
    """A group of runs of these methods, as the loop puts it on its base model."""
    method = method_for(base, methods[0])
    for index, (own, seed) in enumerate(zip(methods, seeds, strict=True)):
        method.add(index, own, seed)
    return method
