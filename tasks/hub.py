"""Data sets of the Hugging Face hub: whether one can be had, decided in seconds, and its rows."""

from __future__ import annotations

import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.checks import ConfigError
from sweeper.config import DataConfig

if TYPE_CHECKING:
    import pandas as pd

TIMEOUT_S = 3.0
KEY = "task.data.hub_id"


@dataclass(frozen=True)
class Availability:
    usable: bool
    how: str  # a phrase: "cached", "not reachable: ..."


def availability(hub_id: str, *, allow_network: bool) -> Availability:
    """Looks for a local folder, then in the cache, then asks the hub once, for at most `TIMEOUT_S` seconds.

    Raises:
        ConfigError: the hub answers that it has no such data set, or none for this user.
    """
    if Path(hub_id).is_dir():
        return Availability(True, "a local folder")
    if _cached(hub_id):
        return Availability(True, "cached")
    if _offline():
        return Availability(False, "not cached, and HF_HUB_OFFLINE is set")
    if not allow_network:
        return Availability(False, "not cached, and the network was not asked")
    return _ask(hub_id)


def read(data: DataConfig, split: str, columns: Sequence[str], labels: Sequence[str]) -> pd.DataFrame:
    """The columns of `columns` that the split has; classes as names where the hub gives them the names of `labels`.

    Raises:
        ConfigError: no such split, or the download failed.
    """
    import datasets

    hub_split = data.hub_splits.get(split, split)
    try:
        table = datasets.load_dataset(str(data.hub_id), data.hub_name, split=hub_split, revision=data.revision)
    except (OSError, ValueError) as error:  # connection and look-up errors, an unknown split or configuration
        message = f"its split {hub_split!r} cannot be loaded: {' '.join(str(error).split())}"
        raise ConfigError(KEY, data.hub_id, message, "see task.data.hub_splits and task.data.hub_name") from None
    assert isinstance(table, datasets.Dataset)
    frame: pd.DataFrame = table.select_columns([name for name in columns if name in table.column_names]).to_pandas()
    return frame.assign(**_label_names(table, frame, labels))


def _label_names(table: Any, frame: pd.DataFrame, labels: Sequence[str]) -> dict[str, list[Any]]:
    """Names instead of numbers: the hub's order of the classes need not be the task's. -1, no label, stays."""
    import datasets

    named = {}
    for column in frame.columns:
        feature = table.features[column]
        if isinstance(feature, datasets.ClassLabel) and set(feature.names) == set(labels):
            names = feature.names
            numbers = frame[column].tolist()
            named[column] = [names[number] if 0 <= number < len(names) else number for number in numbers]
    return named


def _ask(hub_id: str) -> Availability:
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    request = urllib.request.Request(f"{endpoint}/api/datasets/{urllib.parse.quote(hub_id)}", method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            return Availability(True, "reachable")
    except urllib.error.HTTPError as error:
        if error.code in (401, 403, 404) and not os.environ.get("HF_TOKEN"):
            raise ConfigError(KEY, hub_id, f"the hub answers {error.code}: no such data set, or not without a token",
                              "correct the name, or set HF_TOKEN") from None  # fmt: skip
        # With a token only the library can tell; any other answer means that the hub has trouble.
        return Availability(error.code in (401, 403, 404), f"answered {error.code}")
    except OSError as error:  # URLError and time-outs
        return Availability(False, f"not reachable: {getattr(error, 'reason', error)}")


def _offline() -> bool:
    names = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    return any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in names)


def _cached(hub_id: str) -> bool:
    """A data set that `datasets` has prepared before; it is found again without the network."""
    from huggingface_hub import constants

    cache = Path(os.environ.get("HF_DATASETS_CACHE", Path(constants.HF_HOME, "datasets")))
    wanted = hub_id.replace("/", "___").lower()
    folders = [path for path in cache.iterdir() if path.name.lower() == wanted] if cache.is_dir() else []
    return any(next(folder.rglob("dataset_info.json"), None) for folder in folders)
