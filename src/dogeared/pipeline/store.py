"""Finished artifacts kept by fingerprint, so that runs that have steps in common do them once.

Inside ``share(folder)`` every step first looks for its artifact in the store, and leaves there what it made. The
fingerprint holds the kind of step, its settings and the fingerprints of all that it was made from, so that what is
found is what the step would have made. A model is known by its name: one that changes under the same name, such as a
folder written anew, wants a new store.

Files are linked where the file system can and copied where not, and checked against their manifest when they are taken
out. Nothing is ever removed from a store: it is a folder that its owner may delete.
"""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from dogeared.artifacts import MANIFEST, Manifest, is_discarded, read_manifest, verify
from dogeared.errors import ArtifactError
from dogeared.storage import fsync_tree

__all__ = ["put", "share", "take"]

logger = logging.getLogger(__name__)

_store: ContextVar[Path | None] = ContextVar("store", default=None)


@contextmanager
def share(folder: Path | None) -> Iterator[None]:
    """Take finished steps from a store, and leave those made in it, for the time of the block; None shares nothing."""
    token = _store.set(None if folder is None else folder.absolute())
    try:
        yield
    finally:
        _store.reset(token)


def take(out: Path, *, kind: str, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> bool:
    """Put an artifact from the store at ``out``; tell whether there was one."""
    if (store := _store.get()) is None:
        return False
    kept = store / Manifest(kind=kind, settings=settings, inputs=inputs).fingerprint
    if not (kept / MANIFEST).is_file() or out.exists():
        return False
    try:
        verify(kept)
    except ArtifactError as error:
        logger.warning("the store's artifact cannot be taken, it is made anew: %s", error)
        return False
    _link_tree(kept, out)
    return True


def put(out: Path) -> None:
    """Leave a finished artifact in the store, unless one like it is there."""
    if (store := _store.get()) is None or is_discarded(out):
        return
    kept = store / read_manifest(out).fingerprint
    if not kept.exists():
        _link_tree(out, kept)


def _link_tree(source: Path, target: Path) -> None:
    """Make ``target`` hold the same files, whole or not at all, whoever else does so at the same time."""
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, copy_function=_link)
    fsync_tree(partial)
    try:
        partial.rename(target)
    except OSError:  # another process was first with the same content
        shutil.rmtree(partial)
        if not (target / MANIFEST).is_file():
            raise


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
