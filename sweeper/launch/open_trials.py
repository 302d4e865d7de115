"""The trials that are asked and not yet told: their runs, what they reported, which were pruned.

A run may belong to several trials: it ends early only when each of them is pruned.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sweeper.search.study import RunResult, Sweep, TrialRuns
from sweeper.tracking.run_folder import RunState


@dataclass
class OpenTrial:
    trial: TrialRuns
    run_ids: list[str]  # index = replicate
    reported: set[int] = field(default_factory=set)  # replicates whose final value the study has heard
    pruned: str | None = None  # why


@dataclass
class OpenTrials:
    results: dict[str, RunResult] = field(default_factory=dict)  # run id -> how it ended
    pruned: dict[str, str] = field(default_factory=dict)  # run id -> why it shall end; whoever ends it takes it out
    _open: list[OpenTrial] = field(default_factory=list)

    def open(self, trial: TrialRuns, run_ids: list[str]) -> None:
        self._open.append(OpenTrial(trial, run_ids))

    def ended(self, result: RunResult) -> None:
        self.results[result.run_id] = result
        self.pruned.pop(result.run_id, None)

    def report(self, sweep: Sweep, run_id: str, step: int, value: float) -> None:
        """An intermediate value of a run that trains."""
        for member in self._open:
            if run_id in member.run_ids and member.pruned is None:
                member.pruned = sweep.report(member.trial, member.run_ids.index(run_id), step, value)
                self._mark(member)

    def tell(self, sweep: Sweep) -> None:
        """Closes the trials whose runs have all ended. One that was stopped stays open, to be asked again."""
        still_open = []
        for member in self._open:
            if sweep.prunes_by == "replicate":
                self._report_replicates(sweep, member)
            results = [self.results[run_id] for run_id in member.run_ids if run_id in self.results]
            if len(results) < len(member.run_ids):
                still_open.append(member)
            elif all(result.state != RunState.KILLED for result in results):
                sweep.tell(member.trial, results)
        self._open = still_open

    def _report_replicates(self, sweep: Sweep, member: OpenTrial) -> None:
        for replicate, run_id in enumerate(member.run_ids):
            value = self.results[run_id].objectives.get(sweep.objective) if run_id in self.results else None
            if value is not None and replicate not in member.reported and member.pruned is None:
                member.reported.add(replicate)
                member.pruned = sweep.report(member.trial, replicate, replicate, value)
        self._mark(member)

    def _mark(self, member: OpenTrial) -> None:
        """Its runs that have no end yet and that no other trial wants."""
        if member.pruned is None:
            return
        wanted = {run_id for other in self._open if other.pruned is None for run_id in other.run_ids}
        for run_id in member.run_ids:
            if run_id not in self.results and run_id not in wanted:
                self.pruned[run_id] = member.pruned
