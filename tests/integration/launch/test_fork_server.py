"""What the fork server has imported must bear a fork."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweeper.launch import fork_server
from sweeper.launch.fork_server import ENVIRONMENT, modules_to_preload
from sweeper.launch.worker import TRAINER

pytestmark = pytest.mark.integration

PROGRAM = """
import importlib, os, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
import torch
threads = [open(f"/proc/self/task/{number}/comm").read().strip() for number in os.listdir("/proc/self/task")]
assert len(threads) == 1, f"a fork would lose threads: {threads}"
assert not torch.cuda.is_initialized(), "a fork would lose CUDA"
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize("on_gpu", [False, True])
def test_preloaded_modules_start_neither_threads_nor_cuda(repository: Path, on_gpu: bool) -> None:
    modules = modules_to_preload(TRAINER, on_gpu=on_gpu)
    command = [sys.executable, "-c", PROGRAM, *modules]
    done = subprocess.run(
        command, cwd=repository, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_cpu_fork_server_imports_all_that_the_trainer_needs() -> None:
    assert modules_to_preload(TRAINER, on_gpu=False) == ["sweeper.training.trainers"]


@pytest.mark.parametrize("chosen", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_how_threads_wait_is_ours_to_say_only_where_nobody_has(monkeypatch: pytest.MonkeyPatch, chosen: str) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    assert fork_server._waiting() == {"GOMP_SPINCOUNT": "1000"}
    monkeypatch.setenv(chosen, "20")
    assert fork_server._waiting() == {}
