"""What scores of written text need beside this project: their packages, and for METEOR the WordNet data.

Nothing is downloaded. WordNet is looked for on nltk's data path (which the variable NLTK_DATA extends) and in the
folder `nltk_data` below $SWEEPER_DATA.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from sweeper.checks import ConfigError

PACKAGES = {"bleu": "sacrebleu", "meteor": "nltk", "rouge": "rouge_score"}  # family of metrics -> what computes it


def check(families: Sequence[str]) -> None:
    """Raises ConfigError where one of task.metrics cannot be computed here."""
    for family in families:
        if importlib.util.find_spec(PACKAGES[family]) is None:
            raise ConfigError("task.metrics", family, f"needs the package {PACKAGES[family]}",
                              "pip install 'sweeper[text]', or leave it out")  # fmt: skip
    if "meteor" in families:
        _root()


@cache
def wordnet() -> Any:
    """nltk's WordNet, read once per process. Raises ConfigError where it is not at hand."""
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The multilingual functions are not available")  # nor needed
        return WordNetCorpusReader(_root(), None)


def _root() -> Any:
    import nltk.data

    own = str(Path(os.environ.get("SWEEPER_DATA", "")).expanduser() / "nltk_data")
    if "SWEEPER_DATA" in os.environ and own not in nltk.data.path:
        nltk.data.path.append(own)  # nltk reads no file that is outside of its path
    for name in ("corpora/wordnet", "corpora/wordnet.zip/wordnet/"):
        try:
            return nltk.data.find(name)
        except LookupError:
            continue
    raise ConfigError("task.metrics", "meteor", "needs the WordNet data of nltk, which is not on its data path",
                      "python -m nltk.downloader wordnet (or a folder that has it in NLTK_DATA), or leave it out"
                      )  # fmt: skip
