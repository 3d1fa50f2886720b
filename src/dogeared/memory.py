"""Whether what a step will need fits, said before it begins.

What is certain is asked for beforehand: room for gradients and the state of the optimizer, which is known to the byte.
What a batch takes on top depends on its texts; ``dogeared run --plan`` measures it, and an accelerator that runs out of
memory in a step is told in words that name the settings.

A process that the system kills for its memory says nothing; the run goes on from its last checkpoint.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

from dogeared.errors import ResourceError

__all__ = ["explain_exhaustion", "free_mb", "held_mb", "require_mb"]

_CONTROL_GROUP = Path("/sys/fs/cgroup")
_MB = 2**20


def free_mb(device: torch.device) -> float:
    """Return the MB that this process may still take: of the accelerator, or of the machine and its control group."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return (torch.cuda.mem_get_info(device)[0] + cached) / _MB
    return min(psutil.virtual_memory().available / _MB, _left_to_group(_CONTROL_GROUP))


def held_mb() -> float:
    """Return the MB of the machine's memory that this process holds now, used or kept."""
    return psutil.Process().memory_info().rss / _MB


def require_mb(what: str, needed: float, device: torch.device, *, advice: str) -> None:
    """Refuse work that cannot fit.

    Args:
        what: The work, and what it needs the memory for.
        needed: The least it will take on top of what is taken.
        device: Where.
        advice: What makes it need less.

    Raises:
        ResourceError: There is less; the message says how much of each.
    """
    free = free_mb(device)
    if needed > free:
        raise ResourceError(
            f"{what} needs {needed:,.0f} MB at the least, and {free:,.0f} MB are free on {device}. It was not begun. "
            f"{advice}; dogeared run --plan measures what each step takes"
        )


@contextmanager
def explain_exhaustion(what: str, *, advice: str) -> Iterator[None]:
    """Turn a failure for lack of memory into an error that says what to do.

    Raises:
        ResourceError: There was not enough.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # torch has a class for accelerators; the processor's allocator fails with a text.
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            reason = (str(error).splitlines() or ["no more could be had"])[0]
            raise ResourceError(f"{what} ran out of memory ({reason}). {advice}") from error
        raise


def _left_to_group(folder: Path) -> float:
    """Return what a control group leaves, as containers are bounded by; infinite where there is none or no bound."""
    try:
        bound = int((folder / "memory.max").read_text(encoding="utf-8"))
        used = int((folder / "memory.current").read_text(encoding="utf-8"))
        cached = next(
            int(line.split()[1])
            for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines()
            if line.startswith("file ")
        )
    except (OSError, ValueError, StopIteration):
        return float("inf")
    return (bound - used + cached) / _MB
