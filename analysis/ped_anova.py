"""How much each hyperparameter decides whether a trial is among the best: PED-ANOVA, as Optuna has it.

Watanabe et al. 2023, https://arxiv.org/abs/2304.10255. Works on an in-memory study made of finished trials; the
study that the sweep searched with is not read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MIN_TRIALS = 10  # of which the best tenth is compared with all
WIDE = 10.0  # largest to smallest of positive numbers, beyond which their logarithms are compared
Trial = tuple[Mapping[str, str], float]  # hyperparameters as MLflow spells them, and the value: more is better


def importances(trials: Sequence[Trial]) -> dict[str, float]:
    """Shares of 1, the largest first, of every hyperparameter in which the trials differ.

    A trial may lack some (conditions). Nothing for fewer than MIN_TRIALS, or where no trial is better than another.
    """
    names = varying([params for params, _ in trials])
    if len(trials) < MIN_TRIALS or len({value for _, value in trials}) < 2 or not names:
        return {}
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    spaces = {name: distribution([params[name] for params, _ in trials if name in params]) for name in names}
    for params, value in trials:
        own = {name: spaces[name] for name in names if name in params}
        chosen = {name: _value(params[name], space) for name, space in own.items()}
        study.add_trial(optuna.trial.create_trial(params=chosen, distributions=own, value=value))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def varying(params: Sequence[Mapping[str, str]]) -> list[str]:
    """The hyperparameters of more than one value, in the order in which they come."""
    names = dict.fromkeys(name for one in params for name in one)
    return [name for name in names if len({one[name] for one in params if name in one}) > 1]


def distribution(values: Sequence[str]) -> BaseDistribution:
    """Numbers between the smallest and the largest that was tried, logarithmic where they are positive and lie wide
    apart; else categories."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    numbers = [number for value in values if (number := _number(value)) is not None]
    if len(numbers) < len(values):
        return CategoricalDistribution(sorted(set(values)))
    low, high = min(numbers), max(numbers)
    is_log = low > 0 and high / low > WIDE
    if all(isinstance(number, int) for number in numbers):
        return IntDistribution(int(low), int(high), log=is_log)
    return FloatDistribution(low, high, log=is_log)


def _value(text: str, space: BaseDistribution) -> Any:
    from optuna.distributions import CategoricalDistribution

    return text if isinstance(space, CategoricalDistribution) else _number(text)


def _number(text: str) -> int | float | None:
    """None for text, and for what is no finite number."""
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else None
    return None
