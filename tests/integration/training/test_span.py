"""Answers cut out of their context by a small random BERT, through the loop."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModelForQuestionAnswering, BertConfig, PreTrainedTokenizerFast

from sweeper.config import Architecture, DataConfig, PromptConfig, RunConfig, TaskConfig, run_config
from sweeper.peft_method import PeftMethod
from sweeper.tracking.run_folder import RunFolder, RunState
from sweeper.training.base_model import BaseKey, load_base_model
from sweeper.training.methods import method_for
from sweeper.training.objective import Batch, Part
from sweeper.training.span import SpanObjective, best_spans
from tasks.encoded import Limits
from tasks.question_answering import QuestionAnsweringTask
from tasks.span_windows import SpanExample, Window
from tests.integration.training.small_runs import events_of, folder_of, train_folders

NAMES = ["anna", "bert", "carl"]
FILLER = ["the", "man", "who", "came", "here", "was", "not", "very", "old", ",", "but", "kind"]
METHODS: dict[str, dict[str, Any]] = {
    "full": {"name": "full", "method": "full"},
    "last_layer": {"name": "last_layer", "method": "last_layer", "layer": -1},
    "lora": {"name": "lora", "method": "adapter", "type": "LORA", "r": 8, "target_modules": "all-linear"},
}


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "?", *NAMES, *FILLER]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)  # fmt: skip
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.2,
    )  # fmt: skip
    AutoModelForQuestionAnswering.from_config(config).bert.save_pretrained(folder)
    return folder


def questions(count: int, seed: int) -> list[dict[str, Any]]:
    """Who is named? Every third context names nobody, and some are longer than a window."""
    rng, rows = random.Random(seed), []
    for number in range(count):
        words = [rng.choice(FILLER) for _ in range(rng.randint(3, 24))]
        answers = []
        if number % 3:
            place = rng.randrange(len(words))
            words[place] = rng.choice(NAMES)
            answers = [{"text": words[place], "answer_start": len(" ".join([*words[:place], ""]))}]
        rows.append({"context": " ".join(words), "question": "who ?", "answers": answers})
    return rows


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    for seed, (split, count) in enumerate((("train", 120), ("test", 40))):
        (folder / f"{split}.json").write_text(json.dumps(questions(count, seed)), encoding="utf-8")
    return folder


def config(model: Path, data: Path, output: Path, method: str = "full", **train: Any) -> RunConfig:
    made = RunConfig(peft=METHODS[method], data_dir=str(data), output_dir=str(output))
    made.model.name, made.model.path, made.model.dtype = "bert", str(model), "float32"
    made.model.architecture = Architecture.ENCODER
    made.task = TaskConfig(
        name="names", type="question_answering",
        data=DataConfig(files={"train": ["train.json"], "test": ["test.json"]}, text="context", label="answers"),
        prompt=PromptConfig(user="{context} {question}", answer=" {answer}", no_answer="nobody"),
        selection_size=20, max_length=18, max_new_tokens=3,
    )  # fmt: skip
    for name, value in ({"learning_rate": 5e-3, "batch_size": 10, "epochs": 8.0, "eval_every": "end"} | train).items():
        setattr(made.train, name, value)
    made.validate()
    return run_config(made.to_dict())


def trained(made: RunConfig) -> RunFolder:
    folder = folder_of(made)
    train_folders([folder])
    assert folder.state() is RunState.COMPLETE, folder.last("finished")
    return folder


def scores(folder: RunFolder) -> dict[str, float]:
    return {name: value for _, name, value in events_of(folder) if name.startswith("test/")}


@pytest.mark.parametrize("method", METHODS)
def test_a_small_encoder_learns_to_cut_names_out(bert_folder: Path, data: Path, tmp_path: Path, method: str) -> None:
    folder = trained(config(bert_folder, data, tmp_path, method, epochs=8.0 if method == "full" else 20.0))
    found = scores(folder)
    assert found["test/exact_match"] >= 0.8
    assert found["test/has_answer_f1"] >= 0.7
    assert found["test/no_answer_exact_match"] >= 0.7
    assert found["test/best_f1"] >= found["test/f1"]
    assert found["test/loss"] < 2
    table = pd.read_parquet(folder.artifacts / "predictions.parquet")
    answers = json.loads((folder.artifacts / "answers.json").read_text("utf-8"))
    assert answers == dict(zip(table["id"], table["predicted"], strict=True))
    declined = table["predicted"] == ""
    assert (table["span"] != "").all()
    assert table["predicted"].tolist() == table["span"].where(~declined, "").tolist()
    assert (table["no_answer_score"] > 0).tolist() == declined.tolist()


def test_a_run_gives_the_same_numbers_again(bert_folder: Path, data: Path, tmp_path: Path) -> None:
    made = [config(bert_folder, data, tmp_path / str(number), epochs=1.0) for number in range(2)]
    first, second = (scores(trained(own)) for own in made)
    assert first == second


@pytest.fixture(scope="module")
def objective(bert_folder: Path) -> SpanObjective:
    made = config(bert_folder, bert_folder, bert_folder)
    peft = PeftMethod.from_config(made.peft)
    base = load_base_model(BaseKey.of(made, peft))
    method = method_for(base, peft)
    method.add(0, peft, 0)
    return SpanObjective(base, method)


def prepared(objective: SpanObjective, rows: list[dict[str, Any]], *, no_answer: str | None = "nobody") -> Any:
    made = RunConfig()
    made.task = TaskConfig(
        type="question_answering", data=DataConfig(text="context", label="answers"), max_length=18, max_new_tokens=3,
        prompt=PromptConfig(user="{question}", answer=" {answer}", no_answer=no_answer),
    )  # fmt: skip
    texts = [[{"text": own["text"], "start": own["answer_start"]} for own in row["answers"]] for row in rows]
    frame = pd.DataFrame(rows).assign(
        id=[str(number) for number in range(len(rows))], answers=list(map(json.dumps, texts))
    )
    return objective.prepare(made, QuestionAnsweringTask(made.task), {Part.TRAIN: frame, Part.TEST: frame})


def test_the_loss_is_that_of_plain_transformers_window_by_window(objective: SpanObjective) -> None:
    data = prepared(objective, questions(9, seed=3))
    forwarded = objective.loss_sums([Batch(0, data, range(9), (0, 0, 0))])
    windows = data.windows(range(9))
    assert len(windows) == objective.weight(data, range(9)) > 9
    expected = 0.0
    for window in windows:  # one at a time: no padding
        outputs = objective.base.model(
            input_ids=torch.tensor(window.tokens[None].astype(np.int64)),
            token_type_ids=torch.tensor(window.types[None].astype(np.int64)),
            start_positions=torch.tensor([window.start]), end_positions=torch.tensor([window.end]),
        )  # fmt: skip
        expected += float(outputs.loss.detach())
    assert float(forwarded.sums[0].detach()) == pytest.approx(expected, rel=1e-5)
    assert forwarded.num_tokens == [sum(len(window.tokens) for window in windows)]


def test_loss_of_the_table_is_that_of_training_twice_over(objective: SpanObjective) -> None:
    """Training has the mean of start and end, the table the likelihood of both."""
    data = prepared(objective, questions(9, seed=4))
    (predictions,) = objective.predict([0], [data], Part.TEST)
    summed = -sum(prediction.log_likelihoods[0] for prediction in predictions)
    forwarded = objective.loss_sums([Batch(0, data, range(9), (0, 0, 0))])
    assert summed == pytest.approx(2 * float(forwarded.sums[0].detach()), rel=1e-5)


def test_memory_share_changes_no_answer(objective: SpanObjective) -> None:
    data = prepared(objective, questions(12, seed=5))
    (whole,) = objective.predict([0], [data], Part.TEST)
    tight = SpanObjective(objective.base, objective.method, memory_share=0.01)
    (pieces,) = tight.predict([0], [data], Part.TEST)
    assert [(own.id, own.text) for own in pieces] == [(own.id, own.text) for own in whole]
    for ours, theirs in zip(pieces, whole, strict=True):
        assert ours.log_likelihoods == pytest.approx(theirs.log_likelihoods, abs=1e-4)


def test_where_every_question_has_an_answer_none_is_declined(objective: SpanObjective) -> None:
    rows = [row for row in questions(12, seed=6) if row["answers"]]
    (predictions,) = objective.predict([0], [prepared(objective, rows, no_answer=None)], Part.TEST)
    assert all(prediction.text for prediction in predictions)
    assert all(len(prediction.log_likelihoods) == 1 for prediction in predictions)


def test_new_questions_are_answered_without_a_gold_answer(objective: SpanObjective) -> None:
    data = prepared(objective, questions(6, seed=7))
    (known,) = objective.predict([0], [data], Part.TEST)
    frame = pd.DataFrame(questions(6, seed=7)).drop(columns="answers").assign(id=list("012345"))
    new = data.task.encode_for_head(frame, objective.base.tokenizer, Limits(18))
    data.parts[Part.EVAL] = new
    (predictions,) = objective.predict([0], [data], Part.EVAL)
    assert [own.text for own in predictions] == [own.text for own in known]
    assert [own.log_likelihoods for own in predictions] == [own.log_likelihoods[1:] for own in known]


def test_the_best_span_is_that_of_trying_all() -> None:
    generator = torch.Generator().manual_seed(0)
    for trial in range(20):
        start, end = torch.randn(2, 1, 12, generator=generator)
        characters = np.stack([np.arange(12), np.arange(12) + 1], axis=1).astype(np.int32)
        characters[:4] = characters[-1:] = -1
        window = Window(np.zeros(12, dtype=np.int32), None, characters, 0, 0, 0)
        longest = 1 + trial % 5
        score, first, last = best_spans(start, end, [window], longest)
        spans = [(a, b) for a in range(4, 11) for b in range(a, min(a + longest, 11))]
        best = max(spans, key=lambda span: float(start[0, span[0]] + end[0, span[1]]))
        assert (first[0], last[0]) == best
        assert score[0] == pytest.approx(float(start[0, best[0]] + end[0, best[1]]))


def test_an_untrained_head_is_not_evaluated(bert_folder: Path, data: Path, tmp_path: Path) -> None:
    made = config(bert_folder, data, tmp_path)
    made.peft = {"name": "none", "method": "none"}
    folder = folder_of(run_config(made.to_dict()))
    train_folders([folder])
    finished = folder.last("finished")
    assert finished is not None
    assert "has no trained head" in finished["detail"]


def test_examples_of_a_split_are_its_questions(objective: SpanObjective) -> None:
    data = prepared(objective, questions(9, seed=8))
    assert data.num_train == 9
    assert all(isinstance(example, SpanExample) for example in data.parts[Part.TEST].examples)
