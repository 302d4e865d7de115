"""What this machine can do, for a forecast: its speed, the memory that each slot has, room on the disk.

Measures the processor (a tenth of a second) and asks nvidia-smi; imports no torch.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeper.launch.devices import SlotPlan, available_memory
from sweeper.launch.footprint import Device

MATRIX, MEASURE_S = 512, 0.1
# The share of that speed which training reaches: 0.35 to 0.5 of one thread's float32 (mini, LoRA, full);
# on GPUs a usual model FLOP utilisation for short rows.
CPU_EFFICIENCY, GPU_EFFICIENCY = 0.4, 0.3
# Dense bfloat16 (float16 before Ampere) tensor operations a second, in 1e12, from NVIDIA's data sheets. The first
# name that occurs in nvidia-smi's is taken.
GPU_TERAFLOPS = {
    "B200": 2250, "GH200": 989, "H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312, "A800": 312, "L40S": 362,
    "L40": 181, "L4": 121, "A40": 150, "A10G": 70, "A10": 125, "A30": 165, "A6000": 155, "6000 Ada": 364,
    "RTX 5090": 210, "RTX 4090": 165, "RTX 4080": 97, "RTX 3090": 71, "V100": 125, "T4": 65,
}  # fmt: skip
UNKNOWN_GPU = 50


@dataclass(frozen=True)
class Machine:
    """As a forecast sees it."""

    flops_per_s: float  # that one slot's training reaches
    device: Device  # of one slot
    free_disk: int

    @classmethod
    def measured(cls, slots: SlotPlan, output_dir: Path) -> Machine:
        place = next(folder for folder in (output_dir, *output_dir.absolute().parents) if folder.is_dir())
        free_disk = shutil.disk_usage(place).free
        if not slots.gpus:
            memory = available_memory() // slots.num_slots
            return cls(cpu_flops() * CPU_EFFICIENCY, Device(False, memory, _cpu_has_bfloat16()), free_disk)
        listing = _nvidia_smi("--query-gpu=index,uuid,name,memory.total,memory.free", "--format=csv,noheader,nounits")
        flops, free = slowest_gpu(listing, slots.gpus)
        sharing = -(-slots.num_slots // len(slots.gpus))
        memory_each = None if free is None else free // sharing
        return cls(flops * GPU_EFFICIENCY / sharing, Device(True, memory_each), free_disk)


def cpu_flops(seconds: float = MEASURE_S) -> float:
    """Float32 operations a second of one thread: by the processor's time, so that a busy machine does not matter."""
    import numpy as np

    square = np.ones((MATRIX, MATRIX), dtype=np.float32)
    square @ square  # the first product starts threads
    start, products = time.process_time(), 0
    while (spent := time.process_time() - start) < seconds:
        square @ square
        products += 1
    return products * 2 * MATRIX**3 / spent


def slowest_gpu(listing: str, gpus: Sequence[str]) -> tuple[float, int | None]:
    """Nominal operations a second, and free bytes (None: nvidia-smi does not say, as of a MIG instance)."""
    rows = [[field.strip() for field in line.split(",")] for line in listing.splitlines() if line.count(",") == 4]
    chosen = [row for row in rows if row[0] in gpus or row[1] in gpus]
    if not chosen:
        names = [row[2] for row in rows]
        return min(map(gpu_flops, names), default=UNKNOWN_GPU * 1e12), None
    free = [int(row[4]) * 2**20 for row in chosen if row[4].isdigit()]
    return min(gpu_flops(row[2]) for row in chosen), min(free, default=None)


def gpu_flops(name: str) -> float:
    known = next((flops for part, flops in GPU_TERAFLOPS.items() if re.search(rf"\b{part}\b", name)), UNKNOWN_GPU)
    return known * 1e12


def _nvidia_smi(*arguments: str) -> str:
    if shutil.which("nvidia-smi") is None:
        return ""
    return subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, timeout=30, check=False).stdout


def _cpu_has_bfloat16() -> bool:
    """As `training.base_model` asks torch: whether the processor multiplies bfloat16."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and "avx512_bf16" in cpuinfo.read_text(encoding="ascii", errors="replace")
