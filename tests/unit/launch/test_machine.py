from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.launch import machine as module
from sweeper.launch.devices import SlotPlan
from sweeper.launch.machine import CPU_EFFICIENCY, GPU_EFFICIENCY, Machine, cpu_flops, gpu_flops, slowest_gpu

LISTING = """\
0, GPU-aaaa, NVIDIA H200, 143771, 143000
1, GPU-bbbb, NVIDIA A100-SXM4-80GB, 81920, 70000
2, GPU-cccc, Tesla T4, 15360, [N/A]
"""
CPU = SlotPlan(2, gpus=None, cores=2, fixed_threads=None)


def test_the_processor_is_measured() -> None:
    assert 1e8 < cpu_flops(seconds=0.01) < 1e13


def test_the_slots_of_a_cpu_share_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_memory", lambda: 8 * 2**30)
    monkeypatch.setattr(module, "cpu_flops", lambda: 100e9)
    measured = Machine.measured(CPU, tmp_path / "not" / "there")
    assert measured.flops_per_s == 100e9 * CPU_EFFICIENCY
    assert (measured.device.is_gpu, measured.device.free_bytes) == (False, 4 * 2**30)
    assert measured.free_disk > 0


def test_slots_on_one_gpu_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_nvidia_smi", lambda *_: LISTING)
    measured = Machine.measured(SlotPlan(4, gpus=("0", "1"), cores=8, fixed_threads=None), tmp_path)
    assert measured.flops_per_s == 312e12 * GPU_EFFICIENCY / 2
    assert measured.device.free_bytes == 70000 * 2**20 // 2


@pytest.mark.parametrize(("gpus", "expected"), [
    (("0",), (989e12, 143000 * 2**20)), (("GPU-bbbb",), (312e12, 70000 * 2**20)), (("2",), (65e12, None)),
    (("MIG-dddd",), (65e12, None)),
])  # fmt: skip
def test_the_slowest_of_the_gpus_that_train_counts(gpus: tuple[str, ...], expected: tuple[float, int | None]) -> None:
    assert slowest_gpu(LISTING, gpus) == expected


def test_without_nvidia_smi_nothing_is_known_of_a_gpu() -> None:
    assert slowest_gpu("", ("0",)) == (module.UNKNOWN_GPU * 1e12, None)


@pytest.mark.parametrize(("name", "teraflops"), [
    ("NVIDIA H100 PCIe", 756), ("NVIDIA H100 80GB HBM3", 989), ("NVIDIA L4", 121), ("NVIDIA L40S", 362),
    ("NVIDIA A10G", 70), ("NVIDIA GeForce RTX 4090", 165), ("NVIDIA RTX A6000", 155), ("Something new", 50),
])  # fmt: skip
def test_gpus_by_name(name: str, teraflops: float) -> None:
    assert gpu_flops(name) == teraflops * 1e12
