"""A linear classifier over TF-IDF: fitted by scikit-learn, kept as plain numbers, computed from those alone.

Every estimator of `sweeper.classical_options` is, once fitted, scores = tfidf(texts) W^T + b; of two labels most have
one score only, that of the second against the first. Shapes: N texts, V terms, L labels, S scores (L; or 1 of two).
"""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy.special import log_softmax

from sweeper.checks import ConfigError
from sweeper.classical_options import ESTIMATORS, options
from sweeper.config import ModelConfig

FOLDER = "baseline"  # below a run's artifacts
WEIGHTS, TERMS = "model.safetensors", "tfidf.json"
FITTED = {  # estimator -> its attributes for W and b; whether softmax(scores) are its likelihoods
    "logistic_regression": ("coef_", "intercept_", True),
    "multinomial_nb": ("feature_log_prob_", "class_log_prior_", True),
    "linear_svm": ("coef_", "intercept_", False),
}


@dataclass(frozen=True)
class Texts:
    texts: Sequence[str]
    labels: Sequence[int]


@dataclass(frozen=True)
class LinearText:
    estimator: str
    options: dict[str, Any]  # of the vectoriser
    vectorizer: Any  # scikit-learn's
    weight: np.ndarray  # [S, V]
    bias: np.ndarray  # [S]

    def scores(self, texts: Sequence[str]) -> np.ndarray:
        """[N, L], the label's own the highest: log-odds, log-likelihoods but for a constant, or distances."""
        scores = np.asarray(self.vectorizer.transform(texts) @ self.weight.T + self.bias)
        return np.hstack([np.zeros_like(scores), scores]) if scores.shape[1] == 1 else scores

    def log_likelihoods(self, scores: np.ndarray) -> list[tuple[float, ...]]:
        """Of each text's labels; empty of an estimator that only decides."""
        has_any = FITTED[self.estimator][2]
        return [tuple(own) for own in log_softmax(scores, axis=1).tolist()] if has_any else [()] * len(scores)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"weight": np.ascontiguousarray(self.weight), "bias": self.bias}, folder / WEIGHTS)
        idf = self.vectorizer.idf_.tolist() if self.vectorizer.use_idf else None
        terms = {"estimator": self.estimator, "options": self.options, "idf": idf,
                 "vocabulary": self.vectorizer.get_feature_names_out().tolist()}  # fmt: skip
        (folder / TERMS).write_text(json.dumps(terms, ensure_ascii=False), encoding="utf-8")


def fit(model: ModelConfig, rows: Texts, *, num_labels: int, seed: int) -> tuple[LinearText, int]:
    """The classifier, and how often it read a term of a text.

    Raises ConfigError where a label has no text, and for an estimator that stopped short of its optimum.
    """
    if absent := set(range(num_labels)) - set(rows.labels):
        raise ConfigError("task.train_size", len(rows.labels), f"no row has label number {min(absent)}", "take more")
    name, asked = str(model.estimator), options("tfidf", model.options)
    vectorizer = _vectorizer(asked)
    terms = vectorizer.fit_transform(rows.texts)
    module, _, kind = ESTIMATORS[name].partition(":")
    made = getattr(importlib.import_module(module), kind)(**options("estimator", model.options))
    if "random_state" in made.get_params():
        made.set_params(random_state=seed)
    _converge(made, terms, rows.labels)
    weight, bias, _ = FITTED[name]
    weights = np.asarray(getattr(made, weight), dtype=np.float64)
    biases = np.broadcast_to(np.asarray(getattr(made, bias), dtype=np.float64), len(weights)).copy()
    passes = int(np.max(getattr(made, "n_iter_", 1)))
    return LinearText(name, asked, vectorizer, weights, biases), passes * int(terms.nnz)


def _converge(made: Any, terms: Any, labels: Sequence[int]) -> None:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            made.fit(terms, labels)
        except ConvergenceWarning as warning:
            said = str(warning).partition("\n")[0].rstrip(".:")
            raise ConfigError("model.options.estimator.max_iter", made.max_iter, f"did not converge ({said})",
                              "allow more") from None  # fmt: skip


def load(folder: Path) -> LinearText:
    """What `LinearText.save` wrote. Raises ConfigError where a file is missing or damaged."""
    try:
        kept = json.loads((folder / TERMS).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS)
        asked = options("tfidf", {"tfidf": kept["options"]})
        vectorizer = _vectorizer(asked | {"vocabulary": kept["vocabulary"]}).fit([""])  # it learns no more terms
        if kept["idf"] is not None:
            vectorizer.idf_ = np.array(kept["idf"])
        return LinearText(kept["estimator"], asked, vectorizer, weights["weight"], weights["bias"])
    except Exception as error:  # safetensors has an exception of its own, without a public base
        raise ConfigError("run", folder, f"missing or damaged ({error})", "train the run again") from error


def _vectorizer(asked: dict[str, Any]) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(**asked)
