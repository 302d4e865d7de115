from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.checks import ConfigError
from sweeper.config import DataConfig, PromptConfig, TaskConfig
from sweeper.metrics import TASK_METRICS
from tasks.encoded import Encoded, Limits
from tasks.language_modeling import LanguageModelingTask
from tasks.task import Prediction, load_task

MINI = Path(__file__).parents[3] / "sweeper" / "mini"
LONG = "Light is refracted by glass, as Newton shews; the colours spread over the wall of the dark chamber. " * 3
CONFIG = TaskConfig(type="language_modeling", data=DataConfig(text="passage"))


@cache
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(MINI)


def rows(*texts: str) -> pd.DataFrame:
    return pd.DataFrame({"id": [f"test-{number}" for number in range(len(texts))], "passage": list(texts)})


def encoded(*texts: str, max_length: int = 16) -> Encoded:
    return LanguageModelingTask(CONFIG).encode(rows(*texts), tokenizer(), Limits(max_length))


def prediction(name: str, nats: float, tokens: int, block: str) -> Prediction:
    return Prediction(name, None, (-nats,), num_tokens=tokens, block=block)


def test_the_type_has_its_task() -> None:
    assert isinstance(load_task(CONFIG), LanguageModelingTask)


@given(text=st.text(min_size=1, max_size=80).filter(str.strip), max_length=st.integers(8, 24))
def test_blocks_hold_every_token_and_every_character_once(text: str, max_length: int) -> None:
    examples = encoded(text, max_length=max_length).examples
    tokens = tokenizer()(text, add_special_tokens=False)["input_ids"]
    assert [token for example in examples for token in example.candidates[0]] == tokens
    assert "".join(example.block for example in examples) == text
    assert max(len(example.prompt) + len(example.answer) for example in examples) <= max_length


def test_every_block_starts_after_bos_and_the_last_of_a_text_learns_to_end() -> None:
    found = encoded(LONG, "Short.")
    eos, bos = tokenizer().eos_token_id, tokenizer().bos_token_id
    names = [example.id for example in found.examples]
    assert names[0] == "test-0#0"
    assert names[-2:] == [f"test-0#{len(names) - 2}", "test-1#0"]
    assert all(example.prompt == [bos] for example in found.examples)
    assert [example.answer[-1] == eos for example in found.examples] == [False] * (len(names) - 2) + [True, True]
    assert all(eos not in example.candidates[0] for example in found.examples)  # it is no text
    assert (found.writes, found.truncated, found.eos) == (False, 0, eos)


def test_a_tokenizer_without_bos_starts_with_its_end() -> None:
    class WithoutStart:
        def __getattr__(self, name: str) -> Any:
            return None if name == "bos_token_id" else getattr(tokenizer(), name)

        def __call__(self, *arguments: Any, **options: Any) -> Any:
            return tokenizer()(*arguments, **options)

    found = LanguageModelingTask(CONFIG).encode(rows("Short."), WithoutStart(), Limits(16))
    assert found.examples[0].prompt == [tokenizer().eos_token_id]


def test_a_block_longer_than_the_model_reads_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"task.max_length=4096: this model reads at most 1024 tokens"):
        encoded("Short.", max_length=4096)


def test_no_rows_make_no_blocks() -> None:
    assert encoded().examples == []


def test_a_token_weighs_the_same_in_every_block() -> None:
    scores = LanguageModelingTask(CONFIG).score([prediction("a", 30.0, 10, "x" * 40), prediction("b", 1.0, 1, "y" * 5)])
    assert set(scores) == {metric.name for metric in TASK_METRICS["language_modeling"]}
    assert scores["loss"] == pytest.approx(31 / 11)
    assert scores["perplexity"] == pytest.approx(math.exp(31 / 11))
    assert scores["bits_per_character"] == pytest.approx(31 / math.log(2) / 45)


def test_a_perplexity_that_no_float_holds_is_left_to_the_loss() -> None:
    scores = LanguageModelingTask(CONFIG).score([prediction("a", 8000.0, 10, "x" * 40)])
    assert scores["loss"] == 800
    assert "perplexity" not in scores


def test_the_table_has_each_blocks_text_and_loss() -> None:
    """Also where another split has rows of the same ids, and by another task's hand than the one that encoded them."""
    examples = encoded(LONG).examples
    assert encoded("Another text.").examples[0].id == examples[0].id
    table = LanguageModelingTask(CONFIG).table([prediction(own.id, 6.0, 3, own.block) for own in examples])
    assert table["id"].tolist() == [example.id for example in examples]
    assert "".join(table["text"]) == LONG
    assert table["num_characters"].sum() == len(LONG)
    assert set(table["loss"]) == {2.0}


def test_a_block_is_kept_once() -> None:
    """Of a text of many blocks nothing but the tokens that are read, and the text itself."""
    examples = encoded(LONG).examples
    assert len(examples) > 3
    assert all(example.candidates[0] is example.answer for example in examples[:-1])


def test_best_and_worst_blocks_are_left_as_a_table_of_mlflow(tmp_path: Path) -> None:
    task = LanguageModelingTask(CONFIG)
    task.leave([prediction(str(number), float(number), 1, f"Text number {number}.") for number in range(14)], tmp_path)
    left = json.loads((tmp_path / "sample_blocks.json").read_text("utf-8"))
    assert left["columns"] == ["id", "text", "loss", "num_tokens", "num_characters"]
    assert [row[2] for row in left["data"]] == [0, 1, 2, 3, 4, 9, 10, 11, 12, 13]
    assert left["data"][0][1] == "Text number 0."


def test_it_has_no_labels_and_no_head() -> None:
    task = LanguageModelingTask(CONFIG)
    assert task.labels == []
    assert task.confusion([]) is None
    assert task.parse("positive") is None
    with pytest.raises(ConfigError, match=r"task.type=language_modeling: .* choose a causal language model"):
        task.encode_for_head(rows("a"), tokenizer(), Limits(16))


def test_a_prompt_that_would_not_be_read_is_refused() -> None:
    CONFIG.validate()
    with pytest.raises(ConfigError, match=r"task.prompt=...: task.type=language_modeling reads the text as it is"):
        TaskConfig(type="language_modeling", prompt=PromptConfig(user="Continue: {text}")).validate()
