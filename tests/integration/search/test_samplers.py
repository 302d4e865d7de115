"""The samplers that load scipy or torch, on Optuna's own storage."""

from __future__ import annotations

import pytest

from sweeper.search.options import SAMPLERS, SearchOptions
from sweeper.search.space import Dimension
from sweeper.search.storage import distribution, make_sampler

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
