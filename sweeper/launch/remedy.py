"""What to do where a group needs more memory than its slot has: the mildest change that makes it fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from sweeper.config import RunConfig
from sweeper.launch.estimates import Estimates
from sweeper.launch.footprint import Member
from sweeper.launch.group import DataSize
from sweeper.launch.workload import Text

QLORA = {"name": "qlora", "method": "adapter", "type": "LORA", "r": 16, "target_modules": "all-linear",
         "quantization": {"type": "nf4"}}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class TooLarge:
    """A group that does not fit, its most demanding run first, and what that one reads."""

    members: Sequence[Member]
    size: DataSize
    texts: Mapping[str, Text]

    def remedy(self, estimates: Estimates, free: float, num_slots: int) -> str:
        """As overrides of the command line."""
        for size in range(len(self.members) - 1, 0, -1):
            if estimates.group_bytes(self.members[:size]) <= free:
                return f"hydra.launcher.max_group={size}"
        for override, config in self._changes():
            member = estimates.run(config, self.size, self.texts).member
            if estimates.group_bytes([member]) <= free:
                return f"hydra.launcher.max_group=1 {override}" if len(self.members) > 1 else override
        alone = estimates.group_bytes(self.members[:1])
        if not estimates.machine.device.is_gpu and alone <= free * num_slots:
            return "hydra.launcher.slots=1" + (" hydra.launcher.max_group=1" if len(self.members) > 1 else "")
        return "a smaller model, or a larger device"

    def _changes(self) -> Iterator[tuple[str, RunConfig]]:
        config = self.members[0].config
        pieces = 2 * config.train.gradient_accumulation_steps
        while pieces <= config.train.batch_size and self.members[0].work.steps:
            train = dataclasses.replace(config.train, gradient_accumulation_steps=pieces)
            yield f"train.gradient_accumulation_steps={pieces}", dataclasses.replace(config, train=train)
            pieces *= 2
        if (config.peft.get("quantization") or {}).get("type") != "nf4" and config.peft.get("method") != "none":
            yield "peft=qlora", dataclasses.replace(config, peft=QLORA)
