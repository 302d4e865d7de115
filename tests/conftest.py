"""What every test may rely on: no network, no telemetry, one thread, and the real data where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

# Before any test module imports the libraries that read these.
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    MLFLOW_DISABLE_TELEMETRY="true",
    TOKENIZERS_PARALLELISM="false",
)
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

settings.register_profile("repository", deadline=None)  # a busy machine is not a fault
settings.load_profile("repository")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The real data files: $SWEEPER_DATA, or the folder beside the repository."""
    folder = Path(os.environ.get("SWEEPER_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "sst2" / "train.tsv").is_file():
        pytest.skip("needs real data: set SWEEPER_DATA")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "integration" in item.path.relative_to(REPOSITORY).parts:
            item.add_marker(pytest.mark.integration)
