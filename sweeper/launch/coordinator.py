"""The one process that asks for runs, hands them to slots and keeps the books: study, MLflow, progress.

    free slot -> sweep.ask() -> run folders -> groups -> slot        (hand_out, fill_up)
    evaluations -> sweep.report(...) -> who leaves its group         (judge)
    events of live folders -> progress, results -> sweep.tell(...)   (follow)
    run folders -> MLflow                                            (publish)

The run folders are the truth; the study and MLflow are written here and nowhere else. Training, retries
and the meaning of a trial's value are others' business. A run that fails is a result, not an error.
"""

from __future__ import annotations

import errno
import time
from dataclasses import dataclass, field
from typing import Any

from sweeper.launch.attempt import Attempt
from sweeper.launch.books import Books
from sweeper.launch.conclusion import close_books, conclude, failure
from sweeper.launch.group import Waiting
from sweeper.launch.open_trials import OpenTrials
from sweeper.launch.progress import Progress
from sweeper.launch.retry import MEND, SAME_ERRORS, FirstErrors, Left, Retries, SameError
from sweeper.launch.run_lock import holder
from sweeper.launch.runs import Runs, display_name
from sweeper.launch.slots import Busy, Ended, GroupSettings, Judged, Slot, Slots
from sweeper.launch.stop import Stop, Stopped
from sweeper.launch.waiting_room import Family, Formed, WaitingRoom
from sweeper.launch.watchdog import Watchdog
from sweeper.search.study import RunResult, Sweep, TrialRuns
from sweeper.tracking.run_folder import Reason, RunFolder, RunState
from sweeper.training.control import Assignment, Departure

WAIT_S = 0.25  # between two looks at the live runs
RENEW_S = 5.0


@dataclass
class Coordinator:
    sweep: Sweep
    runs: Runs
    slots: Slots
    books: Books
    progress: Progress
    stop: Stop
    room: WaitingRoom
    retries: Retries
    watchdog: Watchdog
    deadline_s: float | None = None  # time.monotonic, after which no run begins
    trials: OpenTrials = field(default_factory=OpenTrials)
    training: dict[str, Waiting] = field(default_factory=dict)  # run id -> is, or was, in a group that still trains
    live: dict[str, Attempt] = field(default_factory=dict)  # run id -> has, or had one and must have it again
    folders: dict[str, RunFolder] = field(default_factory=dict)  # run id -> admitted, has no result yet
    first_errors: FirstErrors = field(default_factory=FirstErrors)
    failures: list[str] = field(default_factory=list)
    renewed_s: float = 0.0

    def run(self) -> int:
        """The exit code: 0 when every run that was asked for is complete or pruned, 1 when one failed."""
        try:
            self.work()
        except SameError as error:
            self.abandon(f"the first runs failed with the same error ({error})")
            self.progress.say(MEND, style="red")
            return 1
        except BaseException as error:
            self.abandon(f"stopped by {error}" if isinstance(error, Stopped) else "the coordinating process failed")
            raise
        self.slots.stop()
        return conclude(self.sweep, self.books, self.progress, self.failures, has_budget=self.deadline_s is not None)

    def work(self) -> None:
        """Until every asked run has ended. Slots come first: none waits while the books are kept."""
        while True:
            self.hand_out()
            self.books.publish(attempt.folder for attempt in self.live.values())
            self.progress.refresh()
            if not self.slots.busy and not self.room.held:
                return
            for message in self.slots.wait(WAIT_S):
                match message:
                    case Judged():
                        self.judge(message)
                    case Busy():
                        self.set_aside(message)
                    case Ended():
                        self.receive(message)
            self.follow()
            self.watchdog.look(self.live)
            self.renew()

    # Runs to slots.

    def hand_out(self) -> None:
        """A group for every free slot, as long as there are runs; then the places that became free in the others."""
        self.look_at_held()
        if self.is_over:
            self.put_off()
        free = self.slots.free
        more = self.ask_for(len(free))
        # As long as more runs will come, the free slots take all there are; the last ones are shared among all slots.
        num_slots = len(free) if more else self.slots.plan.num_slots
        groups = self.room.form(num_slots=num_slots) if free else []
        training = min(len(self.slots.busy) + len(groups), self.slots.plan.num_slots)
        for slot, group in zip(free, groups, strict=False):
            self.start(slot, group, group.threads or self.slots.plan.threads(training))
        for slot in self.slots.busy:
            self.fill_up(slot)

    def ask_for(self, num_free: int) -> bool:
        """Asks until there is enough at hand for so many free slots; False when the sweep has no more."""
        wanted = self.room.wanted(num_free)
        while len(self.room.families) < max(wanted, self.room.wanted(num_free)):
            with self.stop.deferred():
                if not self.ask():
                    return False
        return bool(wanted)

    def ask(self) -> bool:
        """Takes the next trial in; False when the sweep has no more, or no time for it."""
        if self.is_over or (trial := self.sweep.ask()) is None:
            return False
        self.trials.open(trial, [self.admit(trial, replicate) for replicate in range(len(trial.runs))])
        self.trials.tell(self.sweep)
        return True

    @property
    def is_over(self) -> bool:
        return self.deadline_s is not None and time.monotonic() > self.deadline_s

    def put_off(self) -> None:
        """To the next start: runs that are asked already, but have not begun. Their trials stay open."""
        for run_id in [run_id for run_id in (*self.room.runs, *self.room.held) if run_id not in self.live]:
            self.room.remove(run_id)
            del self.folders[run_id]

    def admit(self, trial: TrialRuns, replicate: int) -> str:
        """A run is trained once, however many trials ask for it, and not at all where its end is on disk."""
        folder = self.runs.folder(trial, replicate)
        run_id = folder.run_id
        if run_id in self.trials.results or run_id in self.folders:
            return run_id
        self.folders[run_id] = folder
        self.books.admitted(folder, trial.place)
        if self.has_result(folder):
            self.reuse(folder)
        else:
            self.room.admit(self.runs.waiting(run_id, trial.runs[replicate]))
        return run_id

    def has_result(self, folder: RunFolder) -> bool:
        """Complete, or given up by this very sweep: what another sweep gave up may be wanted here."""
        state, by_this = folder.state(), folder.identity.sweep_id == self.sweep.sweep_id
        pruned = by_this and state is RunState.PRUNED and self.sweep.prunes_by is not None
        failed = by_this and state is RunState.FAILED and not self.sweep.base.retry_failed
        return state is RunState.COMPLETE or pruned or failed

    def reuse(self, folder: RunFolder) -> None:
        self.progress.reuse(display_name(folder))
        last = folder.last("finished")
        assert last is not None
        self.conclude(Attempt(folder), last)

    def start(self, slot: Slot, group: Formed, threads: int) -> None:
        share = self.room.memory.of(group.families[0].longest.key).share
        assignments = [self.assignment(family) for family in group.families]
        self.slots.train(slot, assignments, GroupSettings(threads, share, group.together))

    def fill_up(self, slot: Slot) -> None:
        """Runs that join a group in training, in the places that others left, where that is the quicker way."""
        while members := [self.training[run_id] for run_id in slot.trained_ids if run_id in self.live]:
            if self.room.place_left(members) <= 0:
                return
            if not self.room.runs:
                with self.stop.deferred():
                    self.ask()
            left = [self.left(run) for run in members]
            others = [[self.left(self.training[run_id]) for run_id in other.trained_ids if run_id in self.live]
                      for other in self.slots.busy if other is not slot]  # fmt: skip
            if (family := self.room.joiner(members, left, others)) is None:
                return
            self.slots.join(slot, self.assignment(family))

    def left(self, run: Waiting) -> float:
        """Of its cost."""
        return run.cost * (1 - self.live[run.run_id].share)

    def assignment(self, family: Family) -> Assignment:
        """The runs of a family are in training from here on."""
        for run in self.room.take(family).members:
            folder = self.folders[run.run_id]
            self.training[run.run_id] = run
            if run.run_id not in self.live:
                self.live[run.run_id] = Attempt(folder)
            self.progress.start(run.run_id, display_name(folder))
        self.watchdog.started([run.run_id for run in family.members])
        return Assignment(self.folders[family.longest.run_id], [self.folders[run.run_id] for run in family.shorter])

    def look_at_held(self) -> None:
        """Runs that another process trains: their results are taken when they are there."""
        for run in self.room.due():
            folder = self.folders[run.run_id]
            if self.has_result(folder):
                self.reuse(folder)
            elif holder(folder.path) is not None:
                self.room.hold(run)
            else:
                self.room.admit(run)
        self.trials.tell(self.sweep)

    # What comes back.

    def judge(self, judged: Judged) -> None:
        """Reports the evaluations that a group waits with, and says who leaves."""
        self.follow()
        for run_id in judged.run_ids:
            if run_id in self.live:  # not ended meanwhile by the watchdog
                self.trials.report(self.sweep, run_id, *self.live[run_id].measured[self.sweep.objective])
        pruned = {run_id: self.trials.pruned.pop(run_id) for run_id in judged.run_ids if run_id in self.trials.pruned}
        self.slots.verdict(judged.slot, {run_id: Departure.pruned(why) for run_id, why in pruned.items()})

    def end_pruned(self) -> None:
        """The other replicates of pruned trials: wherever they train, or before they do."""
        while self.trials.pruned:
            run_id, why = self.trials.pruned.popitem()
            if (slot := self.slots.training(run_id)) is not None:
                self.slots.leave(slot, {run_id: Departure.pruned(why)})
            elif run_id in self.room:
                self.room.remove(run_id)
                attempt = self.live.pop(run_id, None) or Attempt(self.folders[run_id])
                if holder(attempt.folder.path) is None:
                    attempt.end(RunState.PRUNED, None, why)
                self.progress.skip(run_id, display_name(attempt.folder), why)
                self.conclude(attempt, attempt.finished or {"state": RunState.PRUNED, "reason": None, "detail": why})

    def set_aside(self, busy: Busy) -> None:
        """Runs that another process trains. Its events were followed too, so that they may have ended by now."""
        for run_id, who in busy.by.items():
            run = self.training.pop(run_id)
            if self.live.pop(run_id, None) is not None:
                self.room.hold(run)
                self.progress.hold(run_id, who)
        unread = {run_id: self.training.pop(run_id) for run_id in busy.unread}
        self.room.admit(*(run for run_id, run in unread.items() if run_id in self.live))

    def receive(self, ended: Ended) -> None:
        """A group has left its slot: what its runs lack now they get again, or never, by the cause."""
        self.follow()
        if ended.disk_full is not None:
            raise OSError(errno.ENOSPC, ended.disk_full, self.sweep.base.output_dir)
        members = {run_id: self.training.pop(run_id) for run_id in ended.run_ids}
        left = [Left(run, self.live[run_id]) for run_id, run in members.items() if run_id in self.live]
        again, why = self.retries.again(ended, left) if left else ([], "")
        self.room.admit(*again)
        if why:
            self.progress.say(why, style="yellow")

    def follow(self) -> None:
        """New events of live runs to the progress; runs that finished to the study."""
        with self.stop.deferred():
            for run_id, attempt in list(self.live.items()):
                self.progress.take(run_id, attempt.take())
                if attempt.finished is not None:
                    del self.live[run_id]
                    self.progress.end(run_id)
                    self.conclude(attempt, attempt.finished)
                    self.first_errors.note(attempt.finished["reason"], attempt.finished["detail"])
            self.trials.tell(self.sweep)
            self.end_pruned()

    def conclude(self, attempt: Attempt, finished: dict[str, Any]) -> None:
        """The result of a run that has ended, to its trials and the books."""
        folder, state = attempt.folder, finished["state"]
        measured = {name: value for name, (_, value) in attempt.measured.items()}
        objectives = {name: measured[name] for name in self.sweep.objectives if name in measured}
        self.books.ended(folder)
        del self.folders[folder.run_id]
        loss = measured.get("eval/loss")
        self.trials.ended(RunResult(folder.run_id, state, objectives, finished["reason"], loss))
        if state == RunState.FAILED:
            self.failures.append(failure(folder, finished))

    def renew(self) -> None:
        """The sweep's lease, for those who look from other machines."""
        if (now := time.monotonic()) > self.renewed_s + RENEW_S:
            self.renewed_s = now
            self.sweep.renew()

    def abandon(self, why: str) -> None:
        """Stops the workers; what they had not finished is KILLED, here and in MLflow, and can be resumed."""
        self.progress.say(f"{why}: ending {len(self.live)} runs, the same command goes on with them", style="yellow")
        self.slots.stop()
        self.first_errors.ended = SAME_ERRORS  # what is still to be read stops nothing any more
        for attempt in self.live.values():
            if holder(attempt.folder.path) is None:  # else another process trains it, and says how it ends
                attempt.end(RunState.KILLED, Reason.KILLED, why)
        self.follow()
        close_books(self.books, self.progress, RunState.KILLED)
