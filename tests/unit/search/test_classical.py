"""Classical models at plan time: what scikit-learn would not take, what they cannot do, what means nothing to them."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable

import pytest

from sweeper.checks import ConfigError
from sweeper.classical_options import ESTIMATORS, VECTORIZER, arguments, options
from sweeper.launch.footprint import Device
from sweeper.launch.forecast import forecast_text
from sweeper.launch.group import group_key
from sweeper.launch.machine import Machine
from sweeper.search.plan import plan_text
from sweeper.search.study import Sweep

MakeSweep = Callable[..., Sweep]
MODELS = ("tfidf_logreg", "tfidf_nb", "tfidf_svm")


@pytest.mark.parametrize("where", [VECTORIZER, *ESTIMATORS.values()])
def test_the_arguments_read_off_the_source_are_those_of_the_class(where: str) -> None:
    module, _, name = where.partition(":")
    kind = getattr(__import__(module, fromlist=[name]), name)
    assert arguments(where) == set(inspect.signature(kind).parameters)


@pytest.mark.parametrize("model", MODELS)
def test_a_baseline_needs_no_weights_on_this_machine(
    make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    sweep = make_sweep(f"model={model}", "peft=full")
    assert "not on this machine" not in plan_text(sweep)
    config = sweep.config(sweep.space.cells[0], {})
    assert group_key(config) == config.content_hash()
    machine = Machine(1e10, Device(is_gpu=False, free_bytes=8 * 2**30), free_disk=2**40)
    assert "1 of 1 run" in forecast_text(sweep, machine)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["peft=lora"], "peft.method=adapter: model=tfidf_logreg is fitted whole; set peft=full"),
        (["peft=none"], "peft.method=none: model=tfidf_logreg is fitted whole; set peft=full"),
        (["peft=full", "+model.options.tfidf.ngram_rang=2"], "did you mean 'ngram_range'?"),
        (["peft=full", "+model.options.estimator.c=2"], "LogisticRegression does not take it here"),
        (["peft=full", "+model.options.estimator.alpha=2"], "model.options.estimator.alpha=2: LogisticRegression"),
        (["peft=full", "+model.options.estimator.random_state=2"], "LogisticRegression does not take it here"),
        (["peft=full", "+model.options.tfidf.input=filename"], "TfidfVectorizer does not take it here"),
        (["peft=full", "+model.options.svm={C:1}"], "model.options.svm={'C': 1}: unknown key; known here: tfidf"),
        (["peft=full", "model.options.estimator=3"], "is a group of keys, not a value"),
        (["peft=full", "model.estimator=logistic"], "did you mean 'logistic_regression'?"),
        (["peft=full", "task.type=question_answering", "task.labels=[]"], "task.type=question_answering"),
    ],
)
def test_what_a_classical_model_cannot_do(make_sweep: MakeSweep, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        make_sweep("model=tfidf_logreg", *overrides)
    assert message in str(raised.value)


def test_a_language_model_has_no_estimator(make_sweep: MakeSweep) -> None:
    with pytest.raises(ConfigError, match="belongs to a classical model"):
        make_sweep("model.estimator=linear_svm")
    with pytest.raises(ConfigError, match="belongs to a classical model"):
        make_sweep("+model.options.estimator.C=2")


def test_axes_of_the_training_do_not_multiply_its_runs_and_its_own_not_those_of_others(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("model=mini,tfidf_svm", "peft=full", "train.epochs=1,2,3", "model.options.estimator.C=0.1,1",
                       "task.train_size=10,20")  # fmt: skip
    numbers = {cell.values["model"]: 0 for cell in sweep.space.cells}
    for cell in sweep.space.cells:
        numbers[cell.values["model"]] += sweep.num_points(cell)
    assert numbers == {"mini": 6, "tfidf_svm": 4}
    assert sweep.space.notes == [
        "model=mini has no such key: model.options.estimator.C does not multiply its runs",
        "model=tfidf_svm is fitted in one go: train.epochs does not multiply its runs",
    ]


def test_pairs_are_tuples_for_scikit_learn() -> None:
    assert options("tfidf", {"tfidf": {"ngram_range": [1, 2], "min_df": 2}}) == {"ngram_range": (1, 2), "min_df": 2}
    assert options("estimator", {"tfidf": {}}) == {}


def test_a_plan_does_not_import_scikit_learn() -> None:
    code = ("import sys; from sweeper.classical_options import arguments, ESTIMATORS\n"
            "for where in ESTIMATORS.values(): arguments(where)\n"
            "sys.exit('sklearn' in sys.modules)")  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
