"""The samplers that load scipy or torch, on Optuna's own storage."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.checks import ConfigError
from sweeper.search.asking import Asker
from sweeper.search.kept import open_study
from sweeper.search.options import SAMPLERS, SearchOptions
from sweeper.search.space import Cell, Dimension, Space
from sweeper.search.storage import check_sampler, distribution, make_sampler, open_storage, towards

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_every_sampler_by_name_draws_inside_the_space(name: str) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    dimensions = {
        "rate": Dimension(low=1e-5, high=1e-3, log=True),
        "rank": Dimension(low=2, high=8, step=2, integer=True),
        "dropout": Dimension(choices=(0.0, 0.1)),
    }
    study = optuna.create_study(sampler=make_sampler(SearchOptions(sampler=name), num_known=0))
    for _ in range(12):
        study.enqueue_trial({"cell": "a"})
        trial = study.ask({"cell": distribution(Dimension(choices=("a", "b")))} |
                          {key: distribution(dimension) for key, dimension in dimensions.items()})  # fmt: skip
        assert 1e-5 <= trial.params["rate"] <= 1e-3
        assert trial.params["rank"] in dimensions["rank"].values()
        assert trial.params["dropout"] in (0.0, 0.1)
        assert trial.params["cell"] == "a"
        study.tell(trial, trial.params["rate"])


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_every_sampler_draws_conditional_keys_without_a_word(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    cell = Cell({}, {}, {
        "rate": Dimension(low=1e-5, high=1e-3, log=True),
        "rank": Dimension(choices=(2, 4)),
        "dropout": Dimension(low=0.0, high=0.3, when={"rank": (4,)}),
    })  # fmt: skip
    study = optuna.create_study(sampler=make_sampler(SearchOptions(sampler=name), num_known=0))
    asker = Asker(Space((cell,), (0,)), lambda cell, point: pytest.fail("asks for no config"), study_per_cell=True)
    for _ in range(15):
        opened = asker.sampled(study, cell)
        assert ("dropout" in opened.point) == (opened.point["rank"] == 4)
        study.tell(opened.number, opened.point["rate"])
    assert len({len(trial.params) for trial in study.trials}) == 2
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["qmc", "cmaes"])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_what_a_sampler_keeps_with_a_study_outlives_the_process(name: str, tmp_path: Path) -> None:
    """A sequence that starts over would draw its first points again; an evolution would forget its path."""
    from optuna.storages import InMemoryStorage

    options, drawn = SearchOptions(sampler=name), []
    for _ in range(4):
        storage = open_storage(tmp_path)
        kept = open_study("a study", towards(["eval/accuracy"]), InMemoryStorage(), storage)
        kept.study.sampler = make_sampler(options, num_known=len(kept.trials))
        for _ in range(4):
            trial = kept.study.ask()
            drawn.append((trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)))
            kept.tell(trial.number, [sum(drawn[-1])], "COMPLETE")
        storage.remove_session()
    assert len(set(drawn)) == 16
    notes = {key for trial in kept.trials for key in trial.system_attrs}
    assert name == "qmc" or any(key.startswith("cma:generation") for key in notes), notes


def test_the_samplers_that_take_several_objectives() -> None:
    objectives, space = ["eval/accuracy", "perf/train_s"], {"x": Dimension(low=0.0, high=1.0)}
    for name in set(SAMPLERS) - {"cmaes"}:
        check_sampler(SearchOptions(sampler=name, objective=objectives), space)
    with pytest.raises(ConfigError, match="cannot search for several objectives"):
        check_sampler(SearchOptions(sampler="cmaes", objective=objectives), space)
