"""What this process holds in memory, by the system's own count (Linux)."""

from pathlib import Path

__all__ = ["bytes_held"]


def bytes_held(name: str) -> int:
    """Return one line of the process's status in bytes: ``VmRSS`` is held now, ``VmHWM`` was held at most.

    What ``getrusage`` counts would have the parent's peak in it.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{name}:"))
