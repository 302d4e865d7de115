"""Which runs share a forward, and which of them start together.

Pure arithmetic over configs: owns the group key, the estimated cost of a run and the cut of the runs at
hand into groups. Knows nothing of processes, folders or studies.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sweeper.config import FULL, Architecture, RunConfig
from sweeper.peft_method import PeftMethod

# What may differ between runs of one group: how many rows a run trains and reports on, and which.
ROWS_OF_A_TASK = frozenset({"train_size", "selection_size", "test_size", "subset_seed"})
EMBEDDED_PARAMETERS = 5_000_000  # order of magnitude, where the config gives no number
CLASSICAL_PARAMETERS = 50_000  # a word, a weight: order of magnitude of a vocabulary
FORWARD_SHARE = 1 / 3  # of a training step's cost, that an example costs in evaluation
# K equal runs in one forward take K ** 0.65 times as long as one: 1.6 times as fast at K = 4, 2.1 at K = 8
# (measured for models of 3 to 25 million parameters on a CPU).
SHARING_EXPONENT = 0.65


def group_key(config: RunConfig) -> str:
    """Runs with the same key can share a forward; a run that can't be stacked has a key of its own."""
    method = PeftMethod.from_config(config.peft)
    if config.model.architecture is not Architecture.CAUSAL_LM or config.task.head or not method.stackable:
        return config.content_hash()
    plain = config.to_dict()
    key = {
        "model": plain["model"],
        "quantization": plain["peft"].get("quantization"),
        "task": {name: value for name, value in plain["task"].items() if name not in ROWS_OF_A_TASK},
        # A group's rows are padded to its widest run, so very different batches would train mostly padding.
        "examples_per_forward": config.train.batch_size // config.train.gradient_accumulation_steps,
        "row_tokens": config.train.row_tokens,
    }
    return json.dumps(key, sort_keys=True)


@dataclass(frozen=True)
class DataSize:
    """Rows at hand: what `full` means for a run's data."""

    train: int
    selection: int
    test: int


def estimated_cost(config: RunConfig, size: DataSize) -> float:
    """Examples trained, plus those evaluated at a forward's price, times the weights they pass through."""
    train = config.train
    rows = _rows(config.task.train_size, size.train)
    steps = 0.0
    if config.makes_steps:
        steps = max(math.ceil(rows / train.batch_size) * train.epochs, train.min_steps)
        steps = steps if train.max_steps is None else min(steps, train.max_steps)
    trained = steps * train.batch_size
    by_word = {"end": 0.0, "epoch": trained / rows}
    evaluations = by_word[train.eval_every] if train.eval_every in by_word else steps / train.eval_every
    looked_at = size.selection + (rows if config.task.score_train else 0)
    evaluated = _rows(config.task.test_size, size.test) + max(1.0, evaluations) * looked_at
    return (trained + FORWARD_SHARE * evaluated) * num_parameters(config)


def num_parameters(config: RunConfig) -> int:
    is_classical = config.model.architecture is Architecture.CLASSICAL
    return config.model.num_parameters or (CLASSICAL_PARAMETERS if is_classical else EMBEDDED_PARAMETERS)


def _rows(asked: object, available: int) -> int:
    return available if asked == FULL else min(int(str(asked)), available)


@dataclass(frozen=True)
class Waiting:
    """A run that wants a slot."""

    run_id: str
    key: str
    cost: float
    family: str | None = None  # of runs that differ in their epochs only: `sharing.share_key`
    epochs: float = 0.0
    examples: int = 1  # of one forward, as configured
    alone: bool = False  # shares no forward: what it does to its neighbours is not known yet

    @property
    def bucket(self) -> tuple[str, str]:
        """Runs of one bucket may share a forward."""
        return self.key, self.run_id if self.alone else ""


@dataclass(frozen=True)
class Group:
    """Runs of one key, the longest first, and the time they take together (in units of cost)."""

    runs: tuple[Waiting, ...]
    time: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "time", shared_time([run.cost for run in self.runs]))


def shared_time(costs: Sequence[float]) -> float:
    """Of runs that start together in one forward; a finished run leaves it. `costs` fall."""
    following = (*costs[1:], 0.0)
    return sum(
        (cost - after) * math.pow(running, SHARING_EXPONENT)
        for running, (cost, after) in enumerate(zip(costs, following, strict=True), start=1)
    )


def pays_to_join(newcomer: float, group: Sequence[float], others: Sequence[Sequence[float]]) -> bool:
    """Whether the last slot ends no later if a run of this cost joins a group than if it waits for the next free slot.

    `group` and `others`: what is left of the costs of their members, for this slot and for the other ones.
    """
    joined = shared_time(sorted([*group, newcomer], reverse=True))
    elsewhere = [shared_time(sorted(left, reverse=True)) for left in others]
    waited = sorted([shared_time(sorted(group, reverse=True)), *elsewhere])
    return max(joined, *elsewhere, 0.0) <= max(waited[0] + newcomer, waited[-1])


def form_groups(
    waiting: Sequence[Waiting], *, num_slots: int, max_group: int, limits: Mapping[str, int] = {}
) -> list[Group]:
    """Every waiting run in one group of at most `max_group`, or what `limits` says for its key; the longest first.

    Cuts until each slot has a group (or each run is alone), then for as long as another cut lets the
    last slot finish earlier: runs of similar length stay together, a long one trains beside the short ones.
    """
    buckets: dict[tuple[str, str], list[Waiting]] = {}
    for run in sorted(waiting, key=lambda run: (-run.cost, run.run_id)):
        buckets.setdefault(run.bucket, []).append(run)
    limits = {key: min(max_group, limits.get(key, max_group)) for key, _ in buckets}
    groups = [Group(tuple(runs)) for runs in buckets.values()]
    while cut := _next_cut(groups, num_slots, limits):
        groups = cut
    return _longest_first(groups)


def _next_cut(groups: Sequence[Group], num_slots: int, limits: Mapping[str, int]) -> list[Group] | None:
    """The groups with one of them cut in two, or None where they are good as they are."""
    divisible = [group for group in groups if len(group.runs) > 1]
    if not divisible:
        return None
    too_large = [group for group in divisible if len(group.runs) > limits[group.runs[0].key]]
    if too_large:
        return _cut(groups, too_large[0])
    if len(groups) < num_slots:
        return _cut(groups, max(divisible, key=lambda group: group.time))
    now = _makespan(groups, num_slots)
    candidate = min((_cut(groups, group) for group in divisible), key=lambda cut: _makespan(cut, num_slots))
    return candidate if _makespan(candidate, num_slots) < now * (1 - 1e-9) else None


def _cut(groups: Sequence[Group], group: Group) -> list[Group]:
    """Cut where the two parts, each of neighbours in length, take the most equal times."""
    halves = [(Group(group.runs[:at]), Group(group.runs[at:])) for at in range(1, len(group.runs))]
    best = min(halves, key=lambda pair: max(pair[0].time, pair[1].time))
    return [other for other in groups if other is not group] + list(best)


def _makespan(groups: Sequence[Group], num_slots: int) -> float:
    """When the last slot ends if the longest group always goes to the first free slot."""
    slots = [0.0] * num_slots
    for group in _longest_first(groups):
        slots[slots.index(min(slots))] += group.time
    return max(slots)


def _longest_first(groups: Sequence[Group]) -> list[Group]:
    return sorted(groups, key=lambda group: (-group.time, group.runs[0].run_id))
