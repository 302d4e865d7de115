"""Hydra's loader over the repository's own conf/, and a task small enough to count by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra

from sweeper.__main__ import open_hydra
from sweeper.search.command import read_command
from sweeper.search.storage import open_storage
from sweeper.search.study import Sweep

NUM_ROWS = 60


@pytest.fixture(scope="session")
def loader() -> ConfigLoader:
    hydra = open_hydra(config_dir=None)
    GlobalHydra.instance().clear()
    return hydra.config_loader


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for split, number in (("train", NUM_ROWS), ("dev", 10)):
        rows = [f"sentence number {index} of {split}\t{index % 2}" for index in range(number)]
        (folder / f"{split}.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def empty_studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Optuna takes a second to create a file."""
    folder = tmp_path_factory.mktemp("studies")
    open_storage(folder).remove_session()
    return folder / "optuna.db"


@pytest.fixture
def make_sweep(loader: ConfigLoader, small_data: Path, empty_studies: Path, tmp_path: Path) -> Callable[..., Sweep]:
    """`make_sweep("peft.r=4,8")`: that command with -m, one train size, on the small data, below tmp_path.

    Unless the command says so, no best point is run again on fresh seeds.
    """

    def make(*overrides: str, is_sweep: bool = True) -> Sweep:
        keys = {override.lstrip("+").partition("=")[0] for override in overrides}
        given = [f"data_dir={small_data}", "task.selection_size=20", f"output_dir={tmp_path / 'out'}"]
        if is_sweep:
            given.append("hydra.sweeper.confirm_seeds=0")
        if "task.train_size" not in keys:
            given.append("task.train_size=20")
        if is_sweep and "output_dir" not in keys and not (tmp_path / "out").exists():
            (tmp_path / "out").mkdir()
            shutil.copy(empty_studies, tmp_path / "out")
        kept = [line for line in given if line.partition("=")[0] not in keys]
        return read_command([*kept, *overrides], loader, is_sweep=is_sweep)

    return make
