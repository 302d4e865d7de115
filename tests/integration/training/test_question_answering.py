"""Written answers: a small random Llama learns to answer, or to say that there is no answer."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sweeper.config import DataConfig, PromptConfig, RunConfig, TaskConfig, run_config
from sweeper.peft_method import PeftMethod
from sweeper.tracking.run_folder import RunFolder, RunState
from sweeper.training.base_model import BaseKey, load_base_model
from sweeper.training.causal import CausalData, CausalObjective
from sweeper.training.methods import method_for
from sweeper.training.objective import Part
from tasks.encoded import Limits
from tasks.task import load_task
from tests.integration.training.small_runs import LORA, events_of, folder_of, train_folders

ANSWERS = ["good", "bad", "dull"]
FILLER = ["a", "the", "film", "plot", "is", "was", "very", "and"]


def write_questions(folder: Path) -> Path:
    """In SQuAD's layout; every fourth context does not tell."""
    rng = random.Random(0)
    for split, count in (("train", 120), ("test", 32)):
        paragraphs = []
        for number in range(count):
            words = [rng.choice(FILLER) for _ in range(rng.randint(2, 6))]
            answers = []
            if number % 4:
                words.append(rng.choice(ANSWERS))
                answers = [{"text": words[-1], "answer_start": len(" ".join([*words[:-1], ""]))}]
            asked = {"id": f"{split}-q{number}", "question": "is the film good ?", "answers": answers}
            paragraphs.append({"context": " ".join(words), "qas": [asked]})
        content = {"version": "v2.0", "data": [{"title": "Films", "paragraphs": paragraphs}]}
        (folder / f"{split}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def config(model: Path, data: Path, output: Path, **task: Any) -> RunConfig:
    made = RunConfig(peft=LORA | {"r": 8}, data_dir=str(data), output_dir=str(output))
    made.model.name, made.model.path, made.model.dtype = "tiny", str(model), "float32"
    values: dict[str, Any] = {
        "data": DataConfig(
            files={"train": ["train.json"], "test": ["test.json"]}, text="context", label="answers", id="id"
        ),
        "prompt": PromptConfig(user="{context} {question} :", answer=" {answer}", no_answer="not"),
        "selection_size": 12,
        "metrics": ["bleu", "rouge"],
    }
    made.task = TaskConfig(name="films", type="question_answering", **(values | task))
    for name, value in {"learning_rate": 2e-2, "batch_size": 12, "epochs": 8.0, "row_tokens": 64}.items():
        setattr(made.train, name, value)
    made.validate()
    return run_config(made.to_dict())


def trained(folders: list[RunFolder]) -> list[dict[str, float]]:
    train_folders(folders)
    for folder in folders:
        assert folder.state() is RunState.COMPLETE, folder.last("finished")
    return [{name: value for _, name, value in events_of(folder)} for folder in folders]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_questions(tmp_path_factory.mktemp("questions"))


def test_a_small_model_learns_to_answer_and_to_decline(llama_folder: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("sacrebleu", reason="needs the extra `text`")
    folder = folder_of(config(llama_folder, data, tmp_path))
    (found,) = trained([folder])
    assert found["test/exact_match"] >= 0.9
    assert found["test/no_answer_exact_match"] >= 0.7
    assert found["test/best_f1"] >= found["test/f1"] > found["test/has_answer_f1"] * 0.5
    assert found["test/rouge1"] == pytest.approx(found["test/exact_match"])  # answers are one word
    assert found["test/loss"] < 1
    assert found["eval/exact_match"] >= 0.8
    table = pd.read_parquet(folder.artifacts / "predictions.parquet")
    assert table["id"].tolist() == [f"test-q{number}" for number in range(32)]
    answers = json.loads((folder.artifacts / "answers.json").read_text("utf-8"))
    assert answers == dict(zip(table["id"], table["predicted"], strict=True))
    assert (folder.artifacts / "sample_answers.json").is_file()
    assert not (folder.artifacts / "confusion_matrix.png").exists()


def test_runs_of_a_group_answer_as_they_would_alone(llama_folder: Path, data: Path, tmp_path: Path) -> None:
    made = config(llama_folder, data, tmp_path, metrics=[])
    made.train.epochs = 1.0
    other = run_config(made.to_dict() | {"seed": 1})
    together = trained([folder_of(made, root=tmp_path / "a"), folder_of(other, root=tmp_path / "a")])
    alone = [*trained([folder_of(made, root=tmp_path / "b")]), *trained([folder_of(other, root=tmp_path / "b")])]
    for ours, theirs in zip(together, alone, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)


def test_new_questions_are_answered_without_any_candidate(llama_folder: Path, data: Path, tmp_path: Path) -> None:
    """Nothing is known of them, and the task has no no-answer form: everything is generated."""
    made = config(llama_folder, data, tmp_path, metrics=[])
    made.task.prompt.no_answer = None
    peft = PeftMethod.from_config(made.peft)
    base = load_base_model(BaseKey.of(made, peft))
    method = method_for(base, peft)
    method.add(0, peft, 0)
    objective = CausalObjective(base, method)
    frame = pd.DataFrame({"id": ["new"], "context": ["the film is dull"], "question": ["is it ?"]})
    task = load_task(made.task)
    encoded = task.encode(frame, base.tokenizer, Limits(128))
    prepared = CausalData(task, [], [], row_tokens=64, parts={Part.TEST: encoded}, max_new_tokens=4, truncated=0)
    ((answered,),) = objective.predict([0], [prepared], Part.TEST)
    assert answered.text is not None
    assert (answered.id, answered.question, answered.log_likelihoods) == ("new", "is it ?", ())
