"""Why a run failed, as its record tells it: a reason, one line for tables, and a traceback where it helps."""

from __future__ import annotations

import errno
import traceback

from sweeper.checks import ConfigError
from sweeper.tracking.run_folder import Reason

# What the allocators of torch, CUDA, cuBLAS, bitsandbytes and the kernel say; torch's own error is known by its name.
OUT_OF_MEMORY_TEXTS = (
    "out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "failed to allocate",
    "cublas_status_alloc_failed", "cudaerrormemoryallocation",
)  # fmt: skip


class Diverged(ArithmeticError):
    """A loss, a gradient or a weight is no longer a number."""


def described(error: BaseException) -> tuple[Reason, str, str | None]:
    """Reason, detail and traceback, for `RunFolder.finish` and `Attempt.fail`."""
    if isinstance(error, Diverged):
        return Reason.DIVERGED, str(error), None
    if isinstance(error, ConfigError):
        return Reason.ERROR, str(error), None
    reason = Reason.OUT_OF_MEMORY if is_out_of_memory(error) else Reason.ERROR
    return reason, one_line(error), "".join(traceback.format_exception(error))


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    allocates = isinstance(error, RuntimeError | OSError)
    return allocates and any(text in str(error).lower() for text in OUT_OF_MEMORY_TEXTS)


def is_disk_full(error: BaseException) -> bool:
    """Safetensors has no number for it, only the words."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error)


def one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
