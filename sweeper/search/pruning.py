"""Which trials are not worth going on with: Optuna's pruners by name, asked of the trials of one cell.

A cell of a hundred examples is never measured against one of ten thousand, though both may be trials of one study.
So every cell has a study of its own in memory that holds nothing but its trials, for the pruner alone. What the
pruner notes of a trial (the rungs of ASHA and Hyperband) and the values themselves are kept in the sweep's study.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sweeper.checks import ConfigError, one_of
from sweeper.config import RunConfig
from sweeper.search.arguments import built
from sweeper.search.history import PRUNER, VERDICT
from sweeper.search.options import PRUNERS, SearchOptions
from sweeper.search.storage import towards

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.pruners import BasePruner
    from optuna.study import Study
    from optuna.trial import FrozenTrial

ARGS = "hydra.sweeper.pruner_args"
WILCOXON = "wilcoxon"


def prunes_by(pruner: str) -> str | None:
    """What its intermediate values are: evaluations of a run ("step") or replicates' final values ("replicate")."""
    if pruner == "none":
        return None
    return "replicate" if pruner == WILCOXON else "step"


def make_pruner(name: str, arguments: Mapping[str, Any], key: str = ARGS) -> BasePruner:
    """Raises ConfigError for arguments that the pruner does not take."""
    from optuna import pruners

    if name == "patient":
        return _patient(arguments, key)
    classes: dict[str, type[BasePruner]] = {
        "none": pruners.NopPruner, "median": pruners.MedianPruner, "percentile": pruners.PercentilePruner,
        "asha": pruners.SuccessiveHalvingPruner, "hyperband": pruners.HyperbandPruner,
        WILCOXON: pruners.WilcoxonPruner, "threshold": pruners.ThresholdPruner,
    }  # fmt: skip
    return built(classes[name], key, arguments, {})


def _patient(arguments: Mapping[str, Any], key: str) -> BasePruner:
    """`wrapped` names the pruner whose word counts once patience is at its end; none: patience alone decides."""
    from optuna.pruners import PatientPruner

    given = dict(arguments)
    wrapped, wrapped_args = given.pop("wrapped", None), given.pop("wrapped_args", {})
    allowed = sorted(set(PRUNERS) - {"patient", WILCOXON})
    if wrapped is None:
        raise ConfigError(f"{key}.wrapped", None, "patient wraps another pruner", f"one of {', '.join(allowed)}")
    one_of(f"{key}.wrapped", str(wrapped), allowed)
    if not isinstance(wrapped_args, Mapping):
        raise ConfigError(f"{key}.wrapped_args", wrapped_args, "must be a dictionary")
    inner = None if wrapped == "none" else make_pruner(str(wrapped), wrapped_args, f"{key}.wrapped_args")
    return built(PatientPruner, key, given, {"wrapped_pruner": inner})


def check_pruner(search: SearchOptions, num_replicates: int) -> None:
    """Raises ConfigError for a pruner that cannot work, or whose arguments break when it is asked."""
    if search.pruner == "none":
        if search.pruner_args:
            raise ConfigError(ARGS, search.pruner_args, "there is no pruner to take them", "set hydra.sweeper.pruner")
        return
    if len(search.objectives) > 1:
        raise ConfigError("hydra.sweeper.pruner", search.pruner, "a pruner compares by one objective",
                          f"hydra.sweeper.objective={search.objectives[0]}")  # fmt: skip
    if search.pruner == WILCOXON and num_replicates < 2:
        raise ConfigError("hydra.sweeper.pruner", search.pruner, "it compares replicates, and there is one a point",
                          "set replicates=5")  # fmt: skip
    _try(search)


def _try(search: SearchOptions) -> None:
    """Two trials of three values each: some arguments are refused only by the arithmetic."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = CellPruner(search, "a trial of the pruner")
    try:
        for number in range(2):
            pruner.open(number)
            for step in (1, 2, 3):
                pruner.report(number, step, 0.5 - 0.1 * number)
            pruner.tell(number, "COMPLETE", 0.5)
    except Exception as error:  # whatever arithmetic makes of them
        rule = f"{type(pruner.study.pruner).__name__} cannot compare with them ({str(error).splitlines()[0]})"
        raise ConfigError(ARGS, search.pruner_args, rule) from error


def check_evaluations(search: SearchOptions, config: RunConfig) -> None:
    """Raises ConfigError where a run has no evaluation to be judged by, or none to be pruned by."""
    if not config.task.selection_size:
        raise ConfigError("task.selection_size", 0, f"a sweep judges its trials by {search.objectives[0]}, on rows "
                          "that are held out", "task.selection_size=1000, say")  # fmt: skip
    if prunes_by(search.pruner) == "step" and config.train.eval_every == "end":
        raise ConfigError("train.eval_every", "end", "pruning needs evaluations during training",
                          "train.eval_every=epoch")  # fmt: skip


@dataclass
class CellPruner:
    """The trials of one cell, by their numbers in the sweep's study."""

    search: SearchOptions
    name: str  # decides, with a trial's place in the cell, which bracket of Hyperband it is in
    study: Study = field(init=False)
    _trials: dict[int, Trial] = field(default_factory=dict)  # the open ones
    _pruned: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        from optuna.study import create_study

        pruner = make_pruner(self.search.pruner, self.search.pruner_args)
        directions = towards(self.search.objectives[:1])
        self.study = create_study(directions=directions, study_name=self.name, pruner=pruner)

    def recall(self, trial: FrozenTrial) -> None:
        """One of an earlier process, in the order of their numbers."""
        # The values of another kind of pruner mean something else.
        comparable = prunes_by(trial.user_attrs.get(PRUNER, "none")) == prunes_by(self.search.pruner)
        self.open(trial.number, trial.intermediate_values if comparable else {}, trial.system_attrs)
        if VERDICT in trial.user_attrs and trial.user_attrs[PRUNER] == self.search.pruner:
            self._pruned.add(trial.number)  # its process ended before its runs had left
        if trial.state.is_finished():
            self.tell(trial.number, trial.state.name, trial.values[0] if trial.values else None)

    def open(
        self, number: int, values: Mapping[int, float] | None = None, notes: Mapping[str, Any] | None = None
    ) -> None:
        """`values` by step, `notes`: what the pruner had kept of the trial. Nothing new of a trial that is open."""
        from optuna import Trial
        from optuna.trial import TrialState, create_trial

        if number not in self._trials:
            whole = create_trial(
                state=TrialState.RUNNING, intermediate_values=dict(values or {}), system_attrs=dict(notes or {})
            )
            # `add_trial` does not say which trial it made.
            trial_id = self.study._storage.create_new_trial(self.study._study_id, whole)
            self._trials[number] = Trial(self.study, trial_id)

    def report(self, number: int, step: int, value: float) -> bool:
        """Asks the pruner about it. False for what is known already, and of a trial that is to be pruned anyway."""
        trial = self._trials[number]
        if number in self._pruned or step in trial.storage.get_trial(trial._trial_id).intermediate_values:
            return False
        trial.report(value, step)
        if trial.should_prune():
            self._pruned.add(number)
        return True

    def is_pruned(self, number: int) -> bool:
        return number in self._pruned

    def notes(self, number: int) -> dict[str, Any]:
        """What the pruner keeps of the trial for later comparisons."""
        trial = self._trials[number]
        return trial.storage.get_trial(trial._trial_id).system_attrs

    def tell(self, number: int, state: str, value: float | None) -> None:
        """A trial without intermediate values compares with nothing, however good it became."""
        from optuna.trial import TrialState

        if number not in self._trials:  # answered without training
            return
        trial = self._trials.pop(number)
        compares = trial.storage.get_trial(trial._trial_id).intermediate_values
        told = TrialState[state] if compares else TrialState.FAIL
        self.study.tell(trial, value if told is TrialState.COMPLETE else None, state=told)
        self._pruned.discard(number)
