"""What runs and groups would cost on this machine: priors by arithmetic, corrected by the runs that finished here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweeper.config import RunConfig
from sweeper.launch.correction import Correction, Measured
from sweeper.launch.footprint import Member, checkpoint_bytes, disk_bytes, group_bytes, weight_bytes
from sweeper.launch.group import DataSize
from sweeper.launch.machine import Machine
from sweeper.launch.model_shape import Shape, shape_of
from sweeper.launch.past_runs import PastRun, kind_of
from sweeper.launch.workload import Text, train_rows, workload

START_S = 10.0  # until the first worker has imported everything
LOAD_S, ROWS_PER_S, BYTES_PER_S = 1.0, 7000, 1e9  # of a group: at least; tokenised; read

Texts = Mapping[tuple[str, str], Mapping[str, Text]]  # (task, kind of source) -> split -> text


@dataclass(frozen=True)
class RunEstimate:
    member: Member
    train_s: float  # alone, evaluations included
    load_s: float
    disk_bytes: float
    checkpoint_bytes: float


class Estimates:
    def __init__(self, machine: Machine, past: Sequence[PastRun], texts: Texts) -> None:
        self.machine = machine
        self._shapes: dict[str, Shape] = {}
        read = [(run, run.texts(texts)) for run in past]
        pairs = [(run, self._member(run.config, run.rows(text), text)) for run, text in read]
        self.seconds = Correction([
            Measured(run.kind, self._seconds(member, run.size), (run.train_s, run.eval_s, run.load_s),
                     run.group)
            for run, member in pairs
        ])  # fmt: skip
        self.memory = Correction([
            Measured(run.kind, (group_bytes([member] * run.group_size, machine.device),), (run.peak_bytes,),
                     run.group)
            for run, member in pairs
        ])  # fmt: skip
        self.disk = Correction([Measured(run.kind, (disk_bytes(member),), (run.disk_bytes,)) for run, member in pairs])

    def run(self, config: RunConfig, size: DataSize, texts: Mapping[str, Text]) -> RunEstimate:
        member = self._member(config, size, texts)
        kind = kind_of(config)
        train_s, eval_s, load_s = self.seconds.corrected(kind, self._seconds(member, size))
        (disk,) = self.disk.corrected(kind, (disk_bytes(member),))
        return RunEstimate(member, train_s + eval_s, load_s, disk, checkpoint_bytes(member))

    def group_bytes(self, members: Sequence[Member]) -> float:
        prior = group_bytes(members, self.machine.device)
        return self.memory.corrected(kind_of(members[0].config), (prior,))[0]

    def _member(self, config: RunConfig, size: DataSize, texts: Mapping[str, Text]) -> Member:
        key = f"{config.model}"
        if key not in self._shapes:
            self._shapes[key] = shape_of(config.model)
        return Member(config, self._shapes[key], workload(config, self._shapes[key], size, texts))

    def _seconds(self, member: Member, size: DataSize) -> tuple[float, float, float]:
        """Training, evaluating, loading."""
        speed, rows = self.machine.flops_per_s, train_rows(member.config, size) + size.selection + size.test
        load = LOAD_S + rows / ROWS_PER_S + weight_bytes(member.config, member.shape, self.machine.device) / BYTES_PER_S
        return member.work.train_flops / speed, member.work.eval_flops / speed, load
