"""A finished run, put together again, says what the run itself said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from sweeper.checks import ConfigError
from sweeper.config import Architecture, RunConfig, run_config
from sweeper.model_digest import with_digest
from sweeper.peft_method import PeftMethod
from sweeper.tracking.run_folder import RunFolder, RunState
from sweeper.training import predictor
from sweeper.training.base_model import BaseKey
from sweeper.training.control import Alone, Assignment
from sweeper.training.data import run_splits
from sweeper.training.objective import Part
from sweeper.training.predictor import Predictor
from sweeper.training.trainers import train_group
from tests.integration.training import test_span
from tests.integration.training.small_runs import MakeConfig, folder_of

bert_folder, names = test_span.bert_folder, test_span.data  # fixtures
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"name": "lora", "method": "adapter", "type": "LORA", "r": 4, "target_modules": "all-linear"},
    "qlora": {"name": "qlora", "method": "adapter", "type": "LORA", "r": 4, "target_modules": "all-linear",
              "quantization": {"type": "nf4"}},
    "dora": {"name": "dora", "method": "adapter", "type": "LORA", "r": 4, "target_modules": ["q_proj"],
             "use_dora": True},
    "pissa": {"name": "pissa", "method": "adapter", "type": "LORA", "r": 2, "target_modules": ["q_proj"],
              "init_lora_weights": "pissa"},
    "prompt": {"name": "prompt", "method": "adapter", "type": "PROMPT_TUNING", "num_virtual_tokens": 4},
    "full": {"name": "full", "method": "full"},
    "last_layer": {"name": "last_layer", "method": "last_layer"},
    "none": {"name": "none", "method": "none"},
}  # fmt: skip


def trained(config: RunConfig, peft: dict[str, Any]) -> RunFolder:
    config.peft = peft
    folder = folder_of(config)
    train_group([Assignment(folder)], control=Alone())
    assert folder.state() is RunState.COMPLETE, folder.last("finished")
    return folder


def table_again(folder: RunFolder) -> pd.DataFrame:
    """predictions.parquet, made by the restored run."""
    config = run_config(folder.identity.config)
    rows = run_splits(config, digest=folder.identity.data["digest"])[Part.TEST]
    asked = Predictor.load(config, folder.artifacts)
    return asked.task.table([one for batch in asked.trained.predict(rows) for one in batch])


def assert_as_the_run(folder: RunFolder) -> None:
    again, own = table_again(folder), pd.read_parquet(folder.artifacts / "predictions.parquet")
    numbers = list(own.select_dtypes("number").columns)
    assert numbers
    assert again.drop(columns=numbers).equals(own.drop(columns=numbers))
    np.testing.assert_allclose(again[numbers], own[numbers], atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_restored_run_predicts_as_the_run_did(
    method: str, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained(make_config(epochs=1.0, seed=3), METHODS[method])
    monkeypatch.setattr(predictor, "BATCH", 10)  # of 24 rows
    assert_as_the_run(folder)


@pytest.mark.parametrize("method", ["lora", "full", "last_layer"])
def test_a_restored_head_predicts_as_the_run_did(method: str, make_config: MakeConfig) -> None:
    folder = trained(make_config(epochs=1.0, task={"head": True}), METHODS[method])
    assert_as_the_run(folder)


@pytest.mark.parametrize("estimator", ["logistic_regression", "linear_svm"])
def test_a_restored_baseline_predicts_as_the_run_did(estimator: str, make_config: MakeConfig) -> None:
    config = make_config()
    config.model.architecture, config.model.estimator, config.model.path = Architecture.CLASSICAL, estimator, None
    folder = trained(config, METHODS["full"])
    again, own = table_again(folder), pd.read_parquet(folder.artifacts / "predictions.parquet")
    pd.testing.assert_frame_equal(again, own)
    rows = pd.DataFrame({"id": ["row 1"], "sentence": ["the film is very bright"]})
    (answer,) = Predictor.load(config, folder.artifacts).answers(rows)
    assert answer["label"] == "positive"
    assert ("probabilities" in answer) == (estimator == "logistic_regression")


def test_what_was_trained_is_in_it(make_config: MakeConfig) -> None:
    """The base model alone says something else, so the tests above see the adapter."""
    tuned, untuned = trained(make_config(), METHODS["lora"]), trained(make_config(), METHODS["none"])
    scores = ["log_likelihood_negative", "log_likelihood_positive"]
    assert not np.allclose(table_again(tuned)[scores], table_again(untuned)[scores], atol=0.1)


def test_a_label_answers_with_probabilities_and_the_text(make_config: MakeConfig) -> None:
    folder = trained(make_config(epochs=15.0), METHODS["lora"])
    rows = pd.DataFrame({"id": ["row 1", "row 2"], "sentence": ["the film is very bright", "the plot was dull"]})
    good, bad = Predictor.load(run_config(folder.identity.config), folder.artifacts).answers(rows)
    assert (good["label"], bad["label"]) == ("positive", "negative")
    assert good["probabilities"]["positive"] > 0.5 > bad["probabilities"]["positive"]
    assert sum(good["probabilities"].values()) == pytest.approx(1)
    assert (good["text"], good["irregular"]) == ("positive", False)


def test_an_irregular_output_is_no_label(make_config: MakeConfig) -> None:
    folder = trained(make_config(), METHODS["none"])  # random weights
    rows = pd.DataFrame({"id": ["row 1"], "sentence": ["the film is very bright"]})
    (answer,) = Predictor.load(run_config(folder.identity.config), folder.artifacts).answers(rows)
    assert answer["label"] is None
    assert answer["irregular"]
    assert answer["text"] not in ("positive", "negative")
    assert sum(answer["probabilities"].values()) == pytest.approx(1)


def questions(config: RunConfig, folder: Path, no_answer: str | None) -> RunConfig:
    """Of two words after `the film is`, the answer is the first; every third has none."""
    config.task.type, config.task.labels, config.task.prompt.no_answer = "question_answering", [], no_answer
    config.task.prompt.user, config.task.prompt.answer = "{text} Sentence : {question} :", " {answer}"
    config.task.data.text, config.task.max_new_tokens = "context", 2
    config.task.data.files = {split: [f"{split}.jsonl"] for split in ("train", "test")}
    config.train.metric_for_best_model, config.data_dir = "eval/f1", str(folder)
    words = ["good", "bad", "bright", "dull"]
    for split, count in (("train", 48), ("test", 12)):
        rows = []
        for number in range(count):
            word = words[number % 4]
            text = f"a film is {word} {words[(number + 1) % 4]} , {number % 7}"
            answers = [] if no_answer and number % 3 == 0 else [{"text": word, "start": text.index(word)}]
            rows.append(json.dumps({"context": text, "question": f"what is film {number}", "label": answers}))
        (folder / f"{split}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return config


@pytest.mark.parametrize("no_answer", ["negative", None])
def test_a_restored_run_writes_answers(no_answer: str | None, make_config: MakeConfig, tmp_path: Path) -> None:
    config = questions(make_config(epochs=1.0, task={"selection_size": 8}), tmp_path, no_answer)
    assert_answers_as_the_run(config, METHODS["lora"])


@pytest.mark.parametrize("method", test_span.METHODS)
def test_a_restored_run_cuts_answers_out(method: str, bert_folder: Path, names: Path, tmp_path: Path) -> None:
    config = test_span.config(bert_folder, names, tmp_path, epochs=1.0)
    assert_answers_as_the_run(config, test_span.METHODS[method])


def assert_answers_as_the_run(config: RunConfig, peft: dict[str, Any]) -> None:
    folder = trained(config, peft)
    asked = Predictor.load(config, folder.artifacts)
    rows = run_splits(config, digest=folder.identity.data["digest"])[Part.TEST][["id", "context", "question"]]
    answers = list(asked.answers(rows))
    own = pd.read_parquet(folder.artifacts / "predictions.parquet")
    assert [answer["answer"] for answer in answers] == own["predicted"].tolist()
    if config.task.prompt.no_answer:
        found = [answer["no_answer_score"] for answer in answers]
        np.testing.assert_allclose(found, own["no_answer_score"], atol=1e-4)
    else:
        assert all("no_answer_score" not in answer for answer in answers)


def test_running_text_is_measured_per_row(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(epochs=1.0, task={"selection_size": 4})
    config.task.type, config.task.labels, config.task.max_length = "language_modeling", [], 8
    config.task.prompt.user, config.task.prompt.answer = "", ""
    config.train.metric_for_best_model = "eval/loss"
    folder = trained(config, METHODS["lora"])
    texts = ["the film is good", "the plot was not very good , and the film was not very bad , but bright"]
    rows = pd.DataFrame({"id": ["row 1", "row 2"], "sentence": texts})
    short, long = Predictor.load(config, folder.artifacts).answers(rows)
    assert short["num_tokens"] == 4
    assert long["num_tokens"] > 8  # several blocks, one answer
    assert short["perplexity"] == pytest.approx(np.exp(short["loss"]))


def test_missing_and_damaged_weights_are_refused(make_config: MakeConfig) -> None:
    folder = trained(make_config(epochs=1.0), METHODS["lora"])
    config, weights = run_config(folder.identity.config), folder.artifacts / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ConfigError, match="damaged"):
        Predictor.load(config, folder.artifacts)
    weights.unlink()
    with pytest.raises(ConfigError, match="is missing; train the run again"):
        Predictor.load(config, folder.artifacts)


def test_another_base_model_is_refused(make_config: MakeConfig, gemma_folder: Path) -> None:
    folder = trained(make_config(epochs=1.0), METHODS["last_layer"])
    config = run_config(folder.identity.config)
    config.model.path = str(gemma_folder)
    with pytest.raises(ConfigError, match="does not fit this base model"):
        Predictor.load(config, folder.artifacts)
    config = run_config(folder.identity.config)
    config.model.revision = "0123abc"
    with pytest.raises(ConfigError, match="the run was trained on None"):
        Predictor.load(config, folder.artifacts)


def test_the_embedded_weights_are_those_of_the_run(make_config: MakeConfig) -> None:
    folder = trained(make_config(epochs=1.0), METHODS["none"])
    config = run_config(folder.identity.config)
    config.model.path, config.model.embedded, config.model.revision = None, True, "0123456789ab"
    with pytest.raises(ConfigError, match=r"model.revision=0123456789ab: this version of the package embeds"):
        Predictor.load(config, folder.artifacts)


@pytest.mark.parametrize("method", ["lora", "none", "full"])
def test_other_weights_in_the_run_s_folder_are_refused_unless_it_left_them_all(
    method: str, make_config: MakeConfig, llama_folder: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(llama_folder, tmp_path / "model"))
    config = make_config(epochs=1.0)
    config.model.path = str(model)
    config = with_digest(config)
    folder = trained(config, METHODS[method])
    assert BaseKey.of(config, PeftMethod.from_config(METHODS[method])).digest == config.model.digest is not None
    assert_as_the_run(folder)
    weights = load_file(model / "model.safetensors")
    save_file({name: weight * 1.01 for name, weight in weights.items()}, model / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    if method == "full":
        assert_as_the_run(folder)
        return
    with pytest.raises(ConfigError, match="its weights or its tokenizer are others"):
        Predictor.load(run_config(folder.identity.config), folder.artifacts)
    moved = run_config(folder.identity.config)
    moved.model.path = str(llama_folder)  # the same files in another place
    Predictor.load(moved, folder.artifacts)
