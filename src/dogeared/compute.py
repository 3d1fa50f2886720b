"""Where to compute, and in which precision.

``auto`` takes an accelerator where there is one, and bfloat16 where the hardware multiplies matrices in it: several
times faster there, and of no use elsewhere. float16 is for accelerators that are fast in it alone; whoever trains in it
must scale the loss (``training/loop.py``). Master weights and optimizer states stay in float32 in every case.
"""

import ctypes
import sys
from functools import cache
from typing import Any, Literal

import torch

__all__ = [
    "Precision",
    "autocast",
    "autocasts_to_bfloat16",
    "default_device",
    "keep_freed_memory",
    "multiplies_bfloat16",
    "release_freed_memory",
]

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h
_TOP_PAD_BYTES = 64 << 20

Precision = Literal["auto", "fp32", "bf16", "fp16"]


def default_device() -> torch.device:
    """Return the accelerator if there is one, else the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Compute matrix products in the wanted precision for the time of a ``with`` block."""
    if precision == "fp16":
        return torch.autocast(device.type, dtype=torch.float16)
    wanted = precision == "bf16" or (precision == "auto" and multiplies_bfloat16(device))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted)


def autocasts_to_bfloat16(device: torch.device) -> bool:
    """Whether a block of ``autocast`` to bfloat16 is open for this kind of device."""
    return torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) == torch.bfloat16


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies matrices in bfloat16, and does not only imitate it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return False


@cache
def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, to use it again; where the C library can be told so (glibc).

    By default each tensor of more than some megabytes is asked of the kernel anew and zeroed page by page: two fifths
    of the processor's time when a reader scores in bfloat16. What the process once used stays its own until it ends, or
    until :func:`release_freed_memory`.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, -1)
    mallopt(_M_TOP_PAD, _TOP_PAD_BYTES)


def release_freed_memory() -> None:
    """Give the system what is kept and not in use; a second's work for some gigabytes, so not for every step.

    Tensors of ever other sizes leave gaps between each other: without this, what a training holds grows to two or three
    times what it needs. What torch keeps of a GPU's memory goes back too.
    """
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str) -> Any:
    """Return a function of glibc; None where the C library is another."""
    try:
        return getattr(ctypes.CDLL(None), name) if sys.platform == "linux" else None
    except (OSError, AttributeError):
        return None
