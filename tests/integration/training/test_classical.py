"""Classical baselines through the engine: scikit-learn's own answers, and everything else that a run leaves."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC

from sweeper.checks import ConfigError
from sweeper.config import Architecture, ModelConfig, RunConfig
from sweeper.tracking.run_folder import RunFolder, RunState
from sweeper.training import classical, linear_text
from sweeper.training.control import Alone, Assignment
from sweeper.training.data import run_splits
from sweeper.training.linear_text import Texts
from sweeper.training.objective import Part
from sweeper.training.trainers import train_group
from tasks.task import load_task
from tests.integration.training.small_runs import LORA, MakeConfig, folder_of, reason_of

OPTIONS: dict[str, Any] = {"tfidf": {"ngram_range": [1, 2]}, "estimator": {}}
OURS = {"logistic_regression": LogisticRegression, "multinomial_nb": MultinomialNB, "linear_svm": LinearSVC}
FULL = {"name": "full", "method": "full"}


def baseline(config: RunConfig, estimator: str, *, options: dict[str, Any] | None = None) -> RunConfig:
    model = ModelConfig(name=f"tfidf_{estimator}", architecture=Architecture.CLASSICAL, estimator=estimator,
                        options=OPTIONS | (options or {}))  # fmt: skip
    return dataclasses.replace(config, model=model, peft=FULL)


def train(config: RunConfig) -> RunFolder:
    folder = folder_of(config)
    train_group([Assignment(folder)], control=Alone())
    return folder


def pipeline(estimator: str) -> Pipeline:
    return make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), OURS[estimator]())


def rows_of(config: RunConfig, folder: RunFolder) -> dict[Part, pd.DataFrame]:
    return run_splits(config, digest=folder.identity.data["digest"])


@pytest.mark.parametrize("estimator", OURS)
def test_predictions_are_those_of_scikit_learns_own_pipeline(make_config: MakeConfig, estimator: str) -> None:
    config = baseline(make_config(task={"train_size": 40}), estimator)
    folder = train(config)
    assert folder.state() is RunState.COMPLETE
    rows, theirs = rows_of(config, folder), pipeline(estimator)
    theirs.fit(rows[Part.TRAIN]["sentence"], rows[Part.TRAIN]["label"])
    table = pd.read_parquet(folder.artifacts / "predictions.parquet")
    expected = theirs.predict(rows[Part.TEST]["sentence"])
    assert table["predicted"].tolist() == [config.task.labels[label] for label in expected]
    assert folder.summary()["test/accuracy"] == (expected == rows[Part.TEST]["label"]).mean()
    columns = [f"log_likelihood_{label}" for label in config.task.labels]
    if estimator == "linear_svm":
        assert not set(columns) & set(table.columns)
        assert not {"test/loss", "eval/loss", "test/likelihood_accuracy"} & folder.summary().keys()
    else:
        likelihoods = theirs.predict_log_proba(rows[Part.TEST]["sentence"])
        np.testing.assert_allclose(table[columns].to_numpy(), likelihoods, rtol=1e-9)
        gold = rows[Part.TEST]["label"].to_numpy()
        assert folder.summary()["test/loss"] == pytest.approx(-likelihoods[np.arange(len(gold)), gold].mean())


@pytest.mark.parametrize("estimator", OURS)
def test_a_restored_baseline_answers_as_the_run_did(make_config: MakeConfig, estimator: str) -> None:
    config = baseline(make_config(task={"train_size": 40}), estimator)
    folder = train(config)
    restored = classical.restore(config, folder.artifacts, load_task(config.task))
    rows = rows_of(config, folder)[Part.TEST].drop(columns="label")
    (answers,) = restored.predict(rows)
    table = pd.read_parquet(folder.artifacts / "predictions.parquet")
    assert [answer.id for answer in answers] == table["id"].tolist()
    assert [config.task.labels[answer.predicted or 0] for answer in answers] == table["predicted"].tolist()
    if estimator != "linear_svm":
        shown = table[[f"log_likelihood_{label}" for label in config.task.labels]].to_numpy()
        np.testing.assert_array_equal([answer.log_likelihoods for answer in answers], shown)


def test_what_a_run_leaves(make_config: MakeConfig) -> None:
    config = baseline(make_config(task={"train_size": 40, "score_train": True}), "logistic_regression")
    folder = train(config)
    left = {path.relative_to(folder.artifacts).as_posix() for path in folder.artifacts.rglob("*") if path.is_file()}
    assert left == {"baseline/model.safetensors", "baseline/tfidf.json", "predictions.parquet", "config.yaml",
                    "confusion_matrix.png", "confusion_matrix.csv", "irregular.json"}  # fmt: skip
    kept, summary = json.loads((folder.artifacts / "baseline" / "tfidf.json").read_text()), folder.summary()
    counts = pd.read_csv(folder.artifacts / "confusion_matrix.csv", index_col="gold")
    assert [*counts.index, "None"] == [*counts.columns] == [*config.task.labels, "None"]
    assert np.diag(counts).sum() / counts.to_numpy().sum() == pytest.approx(summary["test/accuracy"])
    assert len(kept["vocabulary"]) == len(kept["idf"])
    assert summary["perf/trainable_parameters"] == summary["perf/total_parameters"] == len(kept["idf"]) + 1
    assert summary["data/train_examples"] == 40
    assert summary["perf/train_s"] > 0
    assert summary["perf/train_flops"] == 6 * summary["perf/train_tokens"] > 0
    assert {"fit/accuracy", "eval/accuracy", "test/accuracy", "fit/loss"} <= summary.keys()
    assert summary["fit/accuracy"] >= summary["test/accuracy"]
    events, _ = folder.read()
    assert [event["event"] for event in events if event["event"] in ("started", "finished")] == ["started", "finished"]


def test_three_labels_have_three_scores() -> None:
    words = ["good", "bad", "odd"]
    texts = Texts([f"{word} film number {number}" for number in range(12) for word in words], [0, 1, 2] * 12)
    for estimator, kind in OURS.items():
        ours, _ = linear_text.fit(ModelConfig(estimator=estimator), texts, num_labels=3, seed=0)
        theirs = make_pipeline(TfidfVectorizer(), kind()).fit(texts.texts, texts.labels)
        asked = ["a good film", "bad", "an odd number", "nothing known"]
        assert ours.scores(asked).argmax(axis=1).tolist() == theirs.predict(asked).tolist()


def test_the_seed_is_the_runs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    fit = LinearSVC.fit
    monkeypatch.setattr(LinearSVC, "fit", lambda self, *rows: (seen.append(self.random_state), fit(self, *rows))[1])
    texts = Texts(["good film", "bad film"], [1, 0])
    for seed in (3, 4):
        linear_text.fit(ModelConfig(estimator="linear_svm"), texts, num_labels=2, seed=seed)
    assert seen == [3, 4]


def test_options_without_idf_survive_the_disk(tmp_path: Path) -> None:
    model = ModelConfig(estimator="multinomial_nb", options={"tfidf": {"use_idf": False, "ngram_range": [1, 2]}})
    ours, _ = linear_text.fit(model, Texts(["good film", "bad film"], [1, 0]), num_labels=2, seed=0)
    ours.save(tmp_path / "baseline")
    np.testing.assert_array_equal(linear_text.load(tmp_path / "baseline").scores(["good bad film"]),
                                  ours.scores(["good bad film"]))  # fmt: skip


@pytest.mark.parametrize(
    ("options", "task", "detail"),
    [
        ({"tfidf": {"min_df": 1000}}, {}, "max_df corresponds to < documents than min_df"),
        ({"estimator": {"C": -1.0}}, {}, "The 'C' parameter of LogisticRegression must be"),
        ({}, {"train_size": 1}, "task.train_size=1: no row has label number"),
    ],
)
def test_what_scikit_learn_refuses_fails_this_run_with_its_words(
    make_config: MakeConfig, options: dict[str, Any], task: dict[str, Any], detail: str
) -> None:
    broken = baseline(make_config(task=task), "logistic_regression", options=options)
    folders = [folder_of(broken), folder_of(baseline(make_config(), "multinomial_nb"))]
    train_group([Assignment(folder) for folder in folders], control=Alone())
    reason, said = reason_of(folders[0])
    assert reason == "error"
    assert detail in said
    assert folders[1].state() is RunState.COMPLETE


@pytest.mark.parametrize("estimator", ["logistic_regression", "linear_svm"])
def test_a_fit_that_stops_short_of_its_optimum_is_no_result(make_config: MakeConfig, estimator: str) -> None:
    folders = [folder_of(baseline(make_config(), estimator, options={"estimator": {"max_iter": number}}))
               for number in (1, 1000)]  # fmt: skip
    train_group([Assignment(folder) for folder in folders], control=Alone())
    reason, said = reason_of(folders[0])
    assert reason == "error"
    assert said.startswith("model.options.estimator.max_iter=1: did not converge (")
    assert said.endswith("; allow more")
    assert not list(folders[0].artifacts.glob("*.parquet"))
    assert folders[1].state() is RunState.COMPLETE


def test_an_interrupted_run_is_fitted_again_and_its_points_stand_once(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = baseline(make_config(), "linear_svm")
    folder = folder_of(config)

    def killed(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as once:
        once.setattr(linear_text.LinearText, "save", killed)
        with pytest.raises(MemoryError):
            train_group([Assignment(folder)], control=Alone())
    train_group([Assignment(folder)], control=Alone())
    assert folder.state() is RunState.COMPLETE
    events, _ = folder.read()
    points = [name for event in events if event["event"] == "metrics" for name in event["values"]]
    assert len(points) == len(set(points))


def test_a_damaged_baseline_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing or damaged"):
        linear_text.load(tmp_path)


def test_other_architectures_go_to_the_loop(make_config: MakeConfig) -> None:
    folder = folder_of(make_config(peft=LORA, max_steps=2))
    train_group([Assignment(folder)], control=Alone())
    assert folder.state() is RunState.COMPLETE
    assert (folder.artifacts / "adapter").is_dir()
