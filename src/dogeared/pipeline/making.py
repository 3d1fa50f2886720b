"""The frame around the work of every step: done before, gone on with, or refused; measured, and published whole.

Whatever a step needs to go on after a crash it keeps in a folder beside its artifact, which says what the work is for,
so that nothing half done is ever finished with other settings or from other inputs. What the work is, is not here.
"""

import logging
import platform
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dogeared import __version__
from dogeared.artifacts import claim, is_finished, read_manifest, verify, write_artifact
from dogeared.cuts import say_cuts
from dogeared.pipeline import store
from dogeared.pipeline.cost import measured_cost
from dogeared.pipeline.together import call_others, is_called
from dogeared.training.curves import TrackingSettings, curves_of

__all__ = ["SERIES", "Facts", "make_artifact", "make_from", "work_folder"]

logger = logging.getLogger(__name__)

Facts = dict[str, Any]

SERIES = f"{__version__.rpartition('.')[0]}.0"
"""The first release of those that make the same artifacts: what a patch release mends bears on no artifact's content.
An artifact of another series is refused by a run that goes on, for it would be mixed with those of this one; to use it
nothing is asked (docs/decisions/0003-versions.md)."""


def make_artifact(
    out: Path,
    *,
    kind: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    work: Callable[[Path, Facts], None],
) -> None:
    """Do a step's work and publish it, unless that was done before, here or by a run that shares the same store.

    A process that was called to train with the one that makes the artifact does the work alone, and keeps nothing.

    Args:
        out: The artifact to make.
        kind: The name of the step.
        settings: What bears on the content; the series of releases of this package is added.
        inputs: Fingerprints of what it is made from, by role.
        work: Gets a folder to fill, and a dictionary for facts that end up in the manifest beside the cost.

    Raises:
        ArtifactError: It was made, or begun, with other settings or from other inputs; the message names them.
    """
    settings = {**settings, "dogeared": SERIES}
    if is_called():
        with tempfile.TemporaryDirectory() as folder:
            work(Path(folder), {})
        return
    if is_finished(out, kind=kind, settings=settings, inputs=inputs):
        logger.info("%s: done before", out)
    elif store.take(out, kind=kind, settings=settings, inputs=inputs):
        logger.info("%s: taken from the store", out)
    else:
        logger.info("%s: %s", out, kind)
        claim(work_folder(out), kind=kind, settings=settings, inputs=inputs)
        with (
            write_artifact(out, kind=kind, settings=settings, inputs=inputs) as (folder, facts),
            measured_cost() as cost,
            say_cuts(kind),
        ):
            facts["made_with"] = _versions()
            if (num_processes := call_others()) > 1:
                facts["num_processes"] = num_processes
            work(folder, facts)
            facts["cost"] = cost
        store.put(out)
    shutil.rmtree(work_folder(out), ignore_errors=True)


def make_from(
    out: Path,
    kind: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, Path],
    work: Callable[[Path, Facts], None],
    *,
    tracking: TrackingSettings | None = None,
) -> None:
    """Make an artifact from finished ones, as ``make_artifact`` does; they are named by where they stand.

    A step that trains says who is told how it goes; its curve stands beside the artifact.

    Raises:
        ArtifactError: One of them is not finished, or was altered since; or the artifact was made with other settings
            or from other inputs.
    """
    fingerprints = {role: read_manifest(path).fingerprint for role, path in inputs.items()}

    def work_on_whole(folder: Path, facts: Facts) -> None:
        for path in inputs.values():
            verify(path)
        work(folder, facts)

    with curves_of(out, tracking):
        make_artifact(out, kind=kind, settings=settings, inputs=fingerprints, work=work_on_whole)


@cache
def _versions() -> dict[str, str]:
    """Say what made an artifact, for whoever looks for the cause of a difference; nothing is refused by it."""
    libraries = ("torch", "transformers", "sentence-transformers", "tokenizers", "bm25s")
    found = {name: version(name) for name in libraries}
    return {"dogeared": __version__, "python": platform.python_version(), "machine": platform.machine(), **found}


def work_folder(out: Path) -> Path:
    """Say where a step keeps what it needs to go on after a crash; it exists while the work is done."""
    return out.with_name(out.name + ".work")
