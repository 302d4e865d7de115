"""Language modelling end to end: the perplexity is Transformers' own, and training on a text lowers it."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sweeper.config import DataConfig, RunConfig, TaskConfig
from sweeper.training.base_model import load_base_model
from sweeper.training.causal import CausalData, CausalObjective
from sweeper.training.objective import Part
from tasks.encoded import Limits
from tasks.language_modeling import LanguageModelingTask
from tests.integration.training.conftest import WORDS, attach
from tests.integration.training.small_runs import LORA, MakeConfig, events_of, folder_of, train_folders
from tests.integration.training.test_exactness import key, lora

RUNNING: dict[str, Any] = {"type": "language_modeling", "name": "text", "selection_size": 4, "max_length": 48}
NONE = {"name": "none", "method": "none"}


def running(
    make_config: MakeConfig, peft: dict[str, Any], data: Path, files: dict[str, list[str]], **changes: Any
) -> RunConfig:
    """`changes`: of the task, under its name, and of the training."""
    own = RUNNING | changes.pop("task", {})
    config = make_config(**changes)
    config.peft = peft
    config.data_dir, config.train.metric_for_best_model = str(data), "eval/loss"
    config.task = TaskConfig(data=DataConfig(files=files, text="text"), **own)
    config.validate()
    return config


def passage(rng: random.Random, length: int) -> str:
    return " ".join(rng.choice(WORDS.split()) for _ in range(length))


def write_text(folder: Path, *, seed: int = 0) -> Path:
    """Stories of one or several blocks, the same few words over and over."""
    rng = random.Random(seed)
    sentence = "the film is not very good . the plot was bright and moving"
    for split, count in (("train", 40), ("test", 8)):
        texts = [" ".join([sentence] * rng.randint(1, 6)) + " " + passage(rng, 3) for _ in range(count)]
        (folder / f"{split}.txt").write_text("<|endoftext|>".join(texts), "utf-8")
    return folder


@pytest.mark.parametrize("max_length", [12, 200], ids=["cut", "whole"])
def test_perplexity_is_that_of_transformers_own_loss(llama_folder: Path, max_length: int) -> None:
    rng = random.Random(3)
    rows = pd.DataFrame({"id": [f"t{number}" for number in range(9)],
                         "text": [passage(rng, rng.randint(1, 60)) for _ in range(9)]})  # fmt: skip
    task = LanguageModelingTask(TaskConfig(type="language_modeling", data=DataConfig(text="text")))
    base = load_base_model(key(llama_folder))
    method = attach(base, [lora()], [0])
    encoded = task.encode(rows, base.tokenizer, Limits(max_length))
    own = CausalData(task, [], [], 64, {Part.TEST: encoded}, max_new_tokens=4, truncated=0)
    (predictions,) = CausalObjective(base, method).predict([0], [own], Part.TEST)
    assert [prediction.text for prediction in predictions] == [None] * len(predictions)  # nothing is generated
    method.detach()
    theirs = AutoModelForCausalLM.from_pretrained(llama_folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(llama_folder)
    nats, tokens = 0.0, 0
    for text in rows["text"]:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        for start in range(0, len(ids), max_length - 2):
            block = torch.tensor([[tokenizer.bos_token_id, *ids[start : start + max_length - 2]]])
            with torch.no_grad():
                nats += float(theirs(input_ids=block, labels=block).loss) * (block.shape[1] - 1)
            tokens += block.shape[1] - 1
    scores = task.score(predictions)
    assert scores["loss"] == pytest.approx(nats / tokens, rel=1e-5)
    assert scores["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-4)
    assert scores["bits_per_character"] == pytest.approx(nats / math.log(2) / rows["text"].str.len().sum(), rel=1e-5)


def test_training_on_text_lowers_the_perplexity_of_unseen_text(make_config: MakeConfig, tmp_path: Path) -> None:
    data = write_text(tmp_path)
    scores = {}
    for name, peft in (("none", NONE), ("lora", LORA)):
        files = {"train": ["train.txt"], "test": ["test.txt"]}
        config = running(make_config, peft, data, files, epochs=6.0, learning_rate=2e-2, row_tokens=96)
        folder = folder_of(config)
        train_folders([folder])
        scores[name] = {metric: value for _, metric, value in events_of(folder)}
    assert scores["lora"]["test/perplexity"] < 0.2 * scores["none"]["test/perplexity"]
    assert scores["lora"]["eval/perplexity"] == pytest.approx(math.exp(scores["lora"]["eval/loss"]))
    table = pd.read_parquet(folder.artifacts / "predictions.parquet")
    assert table["id"].str.startswith("test-").all()
    assert scores["lora"]["data/test_examples"] == len(table) > 8  # some texts are several blocks
    sample = json.loads((folder.artifacts / "sample_blocks.json").read_text("utf-8"))
    assert sample["columns"] == list(table.columns)
    assert not (folder.artifacts / "confusion_matrix.png").exists()


def test_training_on_real_text_lowers_the_perplexity_of_the_embedded_model(
    make_config: MakeConfig, data_dir: Path
) -> None:
    mini = Path(__file__).parents[3] / "sweeper" / "mini"
    found = []
    for peft in (NONE, LORA):
        files = {split: [f"lm_text/wikitext-2/{name}.txt"] for split, name in (("train", "valid"), ("test", "test"))}
        config = running(make_config, peft, data_dir, files, max_steps=20, batch_size=4, learning_rate=2e-3,
                         task={"train_size": 60, "test_size": 16, "max_length": 96})  # fmt: skip
        config.model.path = str(mini)
        folder = folder_of(config)
        train_folders([folder])
        found.append({metric: value for _, metric, value in events_of(folder)}["test/perplexity"])
    assert found[1] < 0.9 * found[0]
