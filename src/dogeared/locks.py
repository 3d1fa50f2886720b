"""One process in a directory: the second is told who holds it.

The lock is the system's and ends with the process, however it ends, so that nothing is left to clean up.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dogeared.errors import ArtifactError
from dogeared.storage import told

__all__ = ["hold", "holder"]


def holder(folder: Path) -> str | None:
    """Return the number of the process that holds a directory; None where none does."""
    lock = folder / ".lock"
    if not lock.is_file():
        return None
    with lock.open(encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return stream.read().strip() or "unknown"
    return None


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep a directory to this process for the time of the block; it is made if it is not there.

    The lock is the system's and ends with the process, however it ends.

    Raises:
        ArtifactError: Another process holds it; the message names it.
        ResourceError: It cannot be written.
    """
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / ".lock").open("a+", encoding="utf-8")
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise ArtifactError(
                f"{folder}: process {stream.read().strip() or 'unknown'} is working in this directory; "
                "wait for it, stop it, or choose another directory"
            ) from None
        with told(folder):
            stream.truncate(0)
            stream.write(str(os.getpid()))
            stream.flush()
        yield
