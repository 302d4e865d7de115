"""Classical models: the linear classifiers over TF-IDF that `model.estimator` names, and what they take.

Scikit-learn takes a second to import, so its source is read, not run; its own rules for values speak when it fits.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from sweeper.checks import ConfigError, one_of, suggestion
from sweeper.config import Architecture, RunConfig

ESTIMATORS = {
    "logistic_regression": "sklearn.linear_model._logistic:LogisticRegression",
    "multinomial_nb": "sklearn.naive_bayes:MultinomialNB",
    "linear_svm": "sklearn.svm._classes:LinearSVC",
}
VECTORIZER = "sklearn.feature_extraction.text:TfidfVectorizer"
GROUPS = ("tfidf", "estimator")  # of model.options
# Set by the run itself, or without effect on what it computes.
NO_OPTIONS = frozenset({"input", "encoding", "decode_error", "dtype", "vocabulary", "random_state", "warm_start",
                        "verbose", "n_jobs"})  # fmt: skip


def check(config: RunConfig) -> None:
    """Raises ConfigError for an option that scikit-learn does not take, and for what no classical model can do."""
    model = config.model
    if model.architecture is not Architecture.CLASSICAL:
        for key, value in (("estimator", model.estimator), ("options", model.options)):
            if value:
                raise ConfigError(f"model.{key}", value, "belongs to a classical model", "set model=tfidf_logreg, say")
        return
    one_of("model.estimator", str(model.estimator), ESTIMATORS)
    for group, given in model.options.items():
        _check_group(group, given, {"tfidf": VECTORIZER, "estimator": ESTIMATORS[str(model.estimator)]})
    if config.task.type != "classification":
        raise ConfigError("task.type", config.task.type, f"model={model.name} only classifies",
                          "choose a task of labels, or a language model")  # fmt: skip
    method = config.peft.get("method", "none")
    if method != "full":
        raise ConfigError("peft.method", method, f"model={model.name} is fitted whole", "set peft=full")


def _check_group(group: str, given: object, classes: Mapping[str, str]) -> None:
    if group not in GROUPS:
        raise ConfigError(f"model.options.{group}", given, "unknown key", f"known here: {', '.join(GROUPS)}")
    if not isinstance(given, Mapping):
        raise ConfigError(f"model.options.{group}", given, "is a group of keys, not a value",
                          f"set a key below it: model.options.{group}.<key>=...")  # fmt: skip
    taken, name = arguments(classes[group]) - NO_OPTIONS, classes[group].partition(":")[2]
    for key, value in given.items():
        if key not in taken:
            raise ConfigError(f"model.options.{group}.{key}", value, f"{name} does not take it here",
                              suggestion(str(key), taken) or f"known: {', '.join(sorted(taken))}")  # fmt: skip


def options(group: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Of GROUPS, as scikit-learn wants them: pairs of numbers as tuples."""
    return {key: tuple(value) if isinstance(value, list) and key == "ngram_range" else value
            for key, value in given.get(group, {}).items()}  # fmt: skip


@cache
def arguments(where: str) -> frozenset[str]:
    """Names that the constructor of `module:class` takes."""
    module, _, name = where.partition(":")
    for node in ast.parse(_source(module).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            made = next(item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__")
            return frozenset(argument.arg for argument in (*made.args.args[1:], *made.args.kwonlyargs))
    raise AssertionError(f"{where} is in no version of scikit-learn that is known here")


def _source(module: str) -> Path:
    """The module's file; none of its parents is imported."""
    package, *parts = module.split(".")
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"{package} is a dependency"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]).joinpath(*parts).with_suffix(".py")
