"""What this machine can train on, found without importing torch, and how many slots that makes.

Owns the choice of slots and threads. A slot is a place that trains one group at a time: a GPU, or a
share of the processor's cores.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from sweeper.search.options import LauncherOptions

GIB = 2**30
# Resident in a worker beside its weights: interpreter, torch, transformers, activations of small rows.
WORKER_BYTES = GIB // 2
BYTES_PER_PARAMETER = 8  # weights, gradients and copies of a base model on a CPU, generously


@dataclass(frozen=True)
class SlotPlan:
    """One entry per slot; `gpus` is None on a CPU."""

    num_slots: int
    gpus: tuple[str, ...] | None  # what CUDA_VISIBLE_DEVICES names, shared in turn where slots outnumber them
    cores: int
    fixed_threads: int | None  # asked for; else the cores are divided among the slots that train

    def gpu(self, slot: int) -> str | None:
        return self.gpus[slot % len(self.gpus)] if self.gpus else None

    def threads(self, training: int) -> int:
        """For a group that starts when `training` slots, its own included, have work."""
        return self.fixed_threads or max(1, self.cores // min(max(training, 1), self.num_slots))

    @property
    def description(self) -> str:
        place = f"{len(self.gpus)} GPU" + "s" * (len(self.gpus) > 1) if self.gpus else f"CPU ({self.cores} cores)"
        return f"{self.num_slots} slot{'s' * (self.num_slots > 1)} on {place}"


def plan_slots(options: LauncherOptions, *, num_runs: int, num_parameters: int) -> SlotPlan:
    """`num_runs` still to train, of a base model of `num_parameters`: no slot is made that would stay empty."""
    gpus, cores = visible_gpus(), available_cores()
    if options.slots is not None:
        wanted = options.slots
    elif gpus:
        wanted = len(gpus)
    else:
        # One thread a slot: two one-thread processes beat one of two threads by 1.15 to 1.6 on small models.
        each = WORKER_BYTES + BYTES_PER_PARAMETER * num_parameters
        wanted = min(cores, max(1, available_memory() // each))
    return SlotPlan(max(1, min(wanted, num_runs)), gpus or None, cores, options.threads)


def visible_gpus() -> tuple[str, ...]:
    """Values for CUDA_VISIBLE_DEVICES, one a GPU (or a MIG instance); empty without GPUs or with a CPU-only torch."""
    if "+cpu" in metadata.version("torch"):
        return ()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        named = [name.strip() for name in chosen.split(",")]
        return tuple(name for name in named if name and name != "-1")
    if shutil.which("nvidia-smi"):
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False).stdout
        return gpus_of_listing(listing)
    return tuple(str(index) for index, _ in enumerate(sorted(Path("/proc/driver/nvidia/gpus").glob("*"))))


def gpus_of_listing(listing: str) -> tuple[str, ...]:
    """From `nvidia-smi -L`: MIG instances by UUID where there are any, else the GPUs' numbers."""
    instances = re.findall(r"UUID: (MIG-[^)\s]+)", listing)
    return tuple(instances or re.findall(r"^GPU (\d+):", listing, flags=re.MULTILINE))


def available_cores() -> int:
    """Cores that this process may use: its affinity, and the container's quota where there is one."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        allowed, _, period = quota.read_text(encoding="ascii").partition(" ")
        if allowed != "max":
            return max(1, min(affinity, round(int(allowed) / int(period))))
    return affinity


def available_memory() -> int:
    """Bytes that can be had without swapping; what a container still allows where that is less."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        found = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text(encoding="ascii"))
        free = int(found.group(1)) * 1024 if found else free
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and (allowed := limit.read_text(encoding="ascii").strip()) != "max":
        free = min(free, max(0, int(allowed) - int(used.read_text(encoding="ascii"))))
    return free


def kernel_memory_kills() -> int:
    """How many processes the kernel has ended so far for want of memory, in this container or on this machine."""
    for path in (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat")):
        if path.is_file():
            found = re.search(r"^oom_kill (\d+)$", path.read_text(encoding="ascii"), flags=re.MULTILINE)
            if found:
                return int(found.group(1))
    return 0
