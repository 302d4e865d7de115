from __future__ import annotations

import errno

import pytest

from sweeper.checks import ConfigError
from sweeper.training.failure import Diverged, described, is_disk_full, is_out_of_memory, one_line


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("tried to allocate 20.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        OSError(12, "Cannot allocate memory"),
    ],
    ids=str,
)
def test_every_allocators_error_is_out_of_memory(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [ValueError("out of memory of what was said"), RuntimeError("shape mismatch"), KeyError("x")], ids=str
)
def test_other_errors_are_not(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_detail_is_the_first_line_of_the_message_with_its_type() -> None:
    assert one_line(ValueError("first\nsecond")) == "ValueError: first"
    assert one_line(KeyError()) == "KeyError"


@pytest.mark.parametrize(
    ("error", "reason", "detail"),
    [
        (Diverged("loss nan at step 3"), "diverged", "loss nan at step 3"),
        (ConfigError("a.b", 3, "must be 4"), "error", "a.b=3: must be 4"),
        (KeyError("x"), "error", "KeyError: 'x'"),
        (MemoryError(), "out of memory", "MemoryError"),
    ],
)
def test_a_failure_says_why_in_one_line(error: Exception, reason: str, detail: str) -> None:
    assert described(error)[:2] == (reason, detail)


def test_only_what_nobody_foresaw_has_a_traceback() -> None:
    assert described(Diverged("x"))[2] is None
    assert described(ConfigError("a", 1, "b"))[2] is None
    assert "KeyError" in str(described(KeyError("x"))[2])


def test_a_full_disk_is_known_by_its_number_or_its_words() -> None:
    assert is_disk_full(OSError(errno.ENOSPC, "no room"))
    assert is_disk_full(RuntimeError("SafetensorError: I/O error: No space left on device (os error 28)"))
    assert not is_disk_full(OSError(errno.ENOENT, "no such file"))
