"""Notices that passages were added to a served run or removed, and lets the service search in the new ones.

The new state is loaded beside the old and takes its place when it is whole, between two batches of questions; the
reader stays. Where it cannot be loaded, the old one stays, a warning says why, and the next look tries again. A run
that was trained further is not noticed: that is another reader, and wants a restart.
"""

import logging
from pathlib import Path
from threading import Event, Thread

from dogeared.pipeline.layout import RunFolder
from dogeared.service import QuestionAnswering
from dogeared.serving.searched import load_searched

__all__ = ["PassageWatch"]

logger = logging.getLogger(__name__)


class PassageWatch:
    """Looks at a run every few seconds; use it as a context.

    Args:
        folder: The directory of the run.
        service: What was opened from it.
        hybrid: Whether that was opened as a hybrid.
        seconds: How long it waits between two looks.
    """

    def __init__(self, folder: Path, service: QuestionAnswering, *, hybrid: bool, seconds: float = 2.0) -> None:
        self._run = RunFolder(folder)
        self._service = service
        self._hybrid = hybrid
        self._seconds = seconds
        self._failed: Path | None = None  # told once, not every few seconds
        self._stopping = Event()
        self._thread = Thread(target=self._watch, name="dogeared-passages", daemon=True)

    def __enter__(self) -> "PassageWatch":
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Look no more; what is being loaded is loaded to its end."""
        self._stopping.set()
        self._thread.join()

    def look(self) -> bool:
        """Let the service search in what is newest, and tell whether that is new."""
        newest = self._run.as_edited().edited
        if newest == self._service.edited:
            return False
        sides = self._service.sides
        try:
            searched = load_searched(self._run, self._service.round, hybrid=self._hybrid, both="before" in sides)
        except Exception as error:  # whatever it is, such as a GPU without room for both: who looks must go on looking
            if newest != self._failed:
                logger.warning("%s: the changed passages cannot be loaded, so the old ones stay: %s", newest, error)
            self._failed = newest
            return False
        self._failed = None
        self._service.search_in(searched)
        logger.info("the passages were changed; now there are %d", len(searched.corpus))
        return True

    def _watch(self) -> None:
        while not self._stopping.wait(self._seconds):
            self.look()
