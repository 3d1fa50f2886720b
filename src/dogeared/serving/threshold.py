"""How sure a reader must be for its answer to be shown; set by dev questions, once a run.

The threshold is the confidence that best parts right answers from wrong ones: where the share of right answers that are
shown, less the share of wrong ones, is greatest (Youden's J). Unlike plain accuracy it does not hide every answer of a
reader that is seldom right. Gold passages and test questions have no part in it.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dogeared.artifacts import read_manifest
from dogeared.errors import ResourceError
from dogeared.evaluation.answers import exact_match
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.results import read_experiment
from dogeared.progress import bar
from dogeared.service import Asked, QuestionAnswering
from dogeared.storage import write_atomically

__all__ = ["THRESHOLD_FILE", "Threshold", "choose_threshold", "find_threshold"]

logger = logging.getLogger(__name__)

THRESHOLD_FILE = "threshold.json"
_MOST_QUESTIONS = 200
_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """What dev questions say.

    Attributes:
        confidence: The least that is shown; None where dev questions tell nothing.
        num_questions: How many were asked.
        num_right: How many of them were answered right.
        right_shown: The share of right answers that are shown; None where there is no threshold.
        wrong_shown: The same of wrong ones.
        reader: The fingerprint of the reader that answered.
    """

    confidence: float | None
    num_questions: int
    num_right: int
    right_shown: float | None
    wrong_shown: float | None
    reader: str


def choose_threshold(judged: Sequence[tuple[float, bool]], *, reader: str = "") -> Threshold:
    """Choose from answers with their confidence, and whether they are right.

    Of several that part them as well, the lowest is chosen, which shows most. None where all are right or all wrong, or
    confidence is no higher for right ones.

    >>> choose_threshold([(0.9, True), (0.6, True), (0.7, False), (0.2, False)]).confidence
    0.6
    """
    right = [confidence for confidence, is_right in judged if is_right]
    wrong = [confidence for confidence, is_right in judged if not is_right]
    best: tuple[float, float, float, float] | None = None
    if right and wrong:
        for least in sorted({confidence for confidence, _ in judged}):
            shown, leaked = (sum(value >= least for value in values) / len(values) for values in (right, wrong))
            gain = shown - leaked
            if gain > (0.0 if best is None else best[0]):
                best = (gain, least, shown, leaked)
    return Threshold(
        confidence=None if best is None else best[1],
        num_questions=len(judged),
        num_right=len(right),
        right_shown=None if best is None else best[2],
        wrong_shown=None if best is None else best[3],
        reader=reader,
    )


def find_threshold(folder: Path, service: QuestionAnswering) -> Threshold:
    """Read the threshold of a run, or ask its dev questions, at most 200, and write it down.

    Where the run cannot be written to, a warning says so, and the next start asks anew.
    """
    run = RunFolder(folder)
    of_reader = run.round(0 if service.round == "untouched" else service.round).reader
    reader = read_manifest(of_reader).fingerprint
    file = folder / THRESHOLD_FILE
    if (known := _read(file)) is not None and known.reader == reader:
        return known
    found = _ask_dev(run, service, reader)
    try:
        write_atomically(file, json.dumps(asdict(found), indent=1) + "\n")
    except (OSError, ResourceError) as error:
        logger.warning("%s: cannot be written (%s), so that the next start asks the dev questions anew", file, error)
    return found


def _ask_dev(run: RunFolder, service: QuestionAnswering, reader: str) -> Threshold:
    language = read_experiment(run).settled_language
    questions = [one for one in Dataset.open(run.data).split("dev") if one.answers and one.text.strip()]
    questions = questions[:_MOST_QUESTIONS]
    judged = []
    with bar("ask dev questions", total=len(questions), unit="questions") as progress:
        for start in range(0, len(questions), _AT_ONCE):
            part = questions[start : start + _AT_ONCE]
            answered = service.ask_many([Asked(question=one.text) for one in part])
            judged += [
                (one.confidence, bool(one.answer) and exact_match(one.answer, question.answers, language))
                for one, question in zip(answered, part, strict=True)
            ]
            progress.advance(len(part))
    return choose_threshold(judged, reader=reader)


def _read(file: Path) -> Threshold | None:
    try:
        return Threshold(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
