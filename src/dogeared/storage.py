"""Files that are whole on the disk, and what it answers when it cannot be written: full, read-only, not ours.

The system's errors say what failed, not what it means for a run and what to do. Inside ``told(path)`` they become a
``ResourceError`` that does. Errors of reading, of networks and of anything else are none of this module's business.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from dogeared.errors import ResourceError

__all__ = ["fsync_folder", "fsync_tree", "replacing", "reserve", "told", "write_atomically"]

_PARTIAL = ".partial"
_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "a file may not grow more",
}
_REFUSED = {
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "this user may not write there",
    errno.EPERM: "this user may not write there",
    errno.EIO: "the disk failed",
    errno.EEXIST: "something else stands there",
    errno.ENOTDIR: "a part of it is no folder",
    errno.EISDIR: "it is a folder",
}


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what keeps files from being written under a path, for the time of the block, into a ``ResourceError``.

    Libraries that write files in their own ways lose the system's number; what they say of a full disk is known by its
    words.

    Raises:
        ResourceError: With what is so, how much is free, and what to do.
    """
    try:
        yield
    except ResourceError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise _full(path, _FULL[error.errno], error) from error
        if error.errno in _REFUSED and _is_below(error.filename, path):
            raise ResourceError(
                f"{error.filename}: cannot be written, {_REFUSED[error.errno]}. What was finished before stands; once "
                "that is mended, run the same command again to go on"
            ) from error
        raise
    except Exception as error:
        if "No space left on device" in str(error) or "File too large" in str(error):
            raise _full(path, _FULL[errno.ENOSPC], error) from error
        raise


def reserve(file: Path, num_bytes: int) -> None:
    """Take room on the disk for all of a file before it is written through memory.

    Raises:
        ResourceError: There is not so much.
    """
    with told(file), file.open("ab") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, num_bytes)
        except OSError as error:
            if error.errno in _FULL:
                raise _full(file, f"{num_bytes / 2**20:,.0f} MB are needed for this file", error) from error
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that cannot promise room
                raise


@contextmanager
def replacing(file: Path) -> Iterator[TextIO]:
    """Open a text file to write, which takes the place of ``file`` when the block ends without an error.

    A link is written through. What an error or Ctrl-C leaves half written is removed.

    Raises:
        ResourceError: It cannot be written, or a folder or a device stands there.
    """
    meant = file.resolve()
    if meant.exists() and not meant.is_file():
        what = "a folder" if meant.is_dir() else "a device"
        raise ResourceError(f"{file}: expected the name of a file to write, found {what}; give another name")
    partial = meant.with_name(meant.name + _PARTIAL)
    with told(meant):
        try:
            with partial.open("w", encoding="utf-8", newline="\n") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(meant)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)


def write_atomically(file: Path, text: str) -> None:
    """Write a text file so that a reader sees the old content or the new, never a part.

    Raises:
        ResourceError: As ``replacing`` does.
    """
    with replacing(file) as stream:
        stream.write(text)


def fsync_tree(folder: Path) -> None:
    """Make sure that all files below a folder are on the disk, not only in the system's cache."""
    for file in (path for path in folder.rglob("*") if path.is_file()):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    for inner in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        fsync_folder(inner)


def fsync_folder(folder: Path) -> None:
    """Make sure that the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _full(path: Path, what: str, error: Exception) -> ResourceError:
    folder = path if path.is_dir() else path.parent
    free = f"; {shutil.disk_usage(folder).free / 2**20:,.0f} MB are free there" if folder.is_dir() else ""
    return ResourceError(
        f"{path}: cannot be written, {what}{free} ({error}). What was finished before stands; make room, then run the "
        "same command again to go on. dogeared run --plan says what a run takes"
    )


def _is_below(name: object, path: Path) -> bool:
    return isinstance(name, str | bytes | os.PathLike) and Path(os.fsdecode(name)).absolute().is_relative_to(
        path.absolute().parent
    )
