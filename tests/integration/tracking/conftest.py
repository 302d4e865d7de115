from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweeper.tracking.mlflow_view import MlflowView


@pytest.fixture(scope="session")
def output_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests, since making it takes seconds; every test has a task of its own."""
    return tmp_path_factory.mktemp("mlruns")


@pytest.fixture(scope="session")
def tasks() -> Iterator[str]:
    return (f"task{number}" for number in itertools.count())


@pytest.fixture
def task(tasks: Iterator[str]) -> str:
    return next(tasks)


@pytest.fixture
def open_view(output_dir: Path) -> Callable[[], MlflowView]:
    """A new coordinating process, as far as MLflow can tell."""
    return lambda: MlflowView(None, output_dir)


@pytest.fixture
def view(open_view: Callable[[], MlflowView]) -> MlflowView:
    return open_view()
