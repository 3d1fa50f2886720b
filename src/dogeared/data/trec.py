"""Rankings as TREC runs: ``question Q0 passage rank score tag``, a line a passage; and judgments, known as qrels.

Other tools order a run by its scores and, where those are equal, by passage id from high to low; the rank is ignored.
So does the reader here, and the writer takes care that this order is the ranking's own.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from dogeared.data.files import Reject, read_lines
from dogeared.data.rows import Row, id_fault
from dogeared.errors import DataError
from dogeared.records import Ranking

__all__ = ["iter_trec_run", "read_trec_judgments", "write_trec_judgments", "write_trec_run"]

_COLUMNS = ("question", "Q0", "passage", "rank", "score", "tag")
_JUDGMENT_COLUMNS = ("question", "iteration", "passage", "relevance")


def iter_trec_run(path: Path, *, on_error: Reject | None = None) -> Iterator[Ranking]:
    """Read the rankings of a run, in the order in which their questions first appear.

    The whole run is held in memory, since its lines may come in any order.

    Args:
        path: The file; may end in ``.gz`` or ``.xz``.
        on_error: Gets the error of each bad line, which is then left out. Where it is None the first one is raised.

    Raises:
        DataError: A bad line, where ``on_error`` is None; and always where the file is absent, empty or cut off.
    """
    scores_of: dict[str, dict[str, float]] = {}
    for number, line in read_lines(path):
        row = Row(values={}, file=str(path), line=number, index=number - 1)
        try:
            if (found := _parse(line, row)) is not None:
                question_id, passage_id, score = found
                scores = scores_of.setdefault(question_id, {})
                if passage_id in scores:
                    raise row.error(
                        f"expected each passage once in a ranking, found {passage_id!r} a second time for question "
                        f"{question_id!r}",
                        "passage",
                    )
                scores[passage_id] = score
        except DataError as error:
            if on_error is None:
                raise
            on_error(error)
    for question_id, scores in scores_of.items():
        ordered = sorted(scores.items(), key=lambda item: (item[1], item[0]), reverse=True)
        if ordered:
            yield Ranking(
                question_id=question_id,
                passage_ids=tuple(passage_id for passage_id, _ in ordered),
                scores=tuple(score for _, score in ordered),
            )


def write_trec_run(rankings: Iterable[Ranking], path: Path, *, tag: str = "dogeared") -> None:
    """Write rankings as a run that any tool reads back in the same order.

    A score that is not below its forerunner as a 32-bit number, which is what some tools compare, is written as the
    next lower 32-bit number; all others are written exactly.

    Raises:
        DataError: An id or the tag is empty or holds blanks, which separate the columns of a run; or a score is not
            finite.
    """
    _check_word(tag, "tag", path)
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for ranking in rankings:
            _check_word(ranking.question_id, "question", path)
            previous = np.float32(np.inf)
            for rank, (passage_id, score) in enumerate(zip(ranking.passage_ids, ranking.scores, strict=True), start=1):
                _check_word(passage_id, "passage", path)
                if not math.isfinite(score):
                    raise DataError(
                        f"expected finite scores, found {score} for question {ranking.question_id!r}", file=path
                    )
                written = score
                if np.float32(score) >= previous:
                    written = float(np.nextafter(previous, np.float32(-np.inf)))
                previous = np.float32(written)
                stream.write(f"{ranking.question_id} Q0 {passage_id} {rank} {float(written)!r} {tag}\n")


def read_trec_judgments(path: Path, *, on_error: Reject | None = None) -> dict[str, dict[str, float]]:
    """Read judgments: by question, the relevance of each judged passage; above 0 means that it answers.

    Args:
        path: The file; may end in ``.gz`` or ``.xz``.
        on_error: Gets the error of each bad line, which is then left out. Where it is None the first one is raised.

    Raises:
        DataError: As for ``iter_trec_run``.
    """
    found: dict[str, dict[str, float]] = {}
    for number, line in read_lines(path):
        row = Row(values={}, file=str(path), line=number, index=number - 1)
        try:
            if (parsed := _parse(line, row, _JUDGMENT_COLUMNS)) is not None:
                question_id, passage_id, relevance = parsed
                judged = found.setdefault(question_id, {})
                if judged.setdefault(passage_id, relevance) != relevance:
                    raise row.error(
                        f"expected one judgment of the passage {passage_id!r} for question {question_id!r}, found two "
                        "that differ",
                        "passage",
                    )
        except DataError as error:
            if on_error is None:
                raise
            on_error(error)
    return found


def write_trec_judgments(judgments: Iterable[tuple[str, str, int]], path: Path) -> None:
    """Write judgments: a question, a passage, its relevance.

    Raises:
        DataError: An id is empty or holds blanks.
    """
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for question_id, passage_id, relevance in judgments:
            _check_word(question_id, "question", path)
            _check_word(passage_id, "passage", path)
            stream.write(f"{question_id} 0 {passage_id} {relevance}\n")


def _parse(line: bytes, row: Row, columns: tuple[str, ...] = _COLUMNS) -> tuple[str, str, float] | None:
    try:
        fields = line.decode().split()
    except UnicodeDecodeError as error:
        raise row.error("expected text in UTF-8, found bytes that are not; convert the file to UTF-8") from error
    if not fields:
        return None
    if len(fields) != len(columns):
        raise row.error(f"expected {len(columns)} columns ({' '.join(columns)}), found {len(fields)}")
    values = Row(values=dict(zip(columns, fields, strict=True)), file=row.file, line=row.line, index=row.index)
    number = values.number("score" if columns is _COLUMNS else "relevance")
    assert number is not None, "a column that was split off is there"
    return values.id("question"), values.id("passage"), number


def _check_word(text: str, field: str, path: Path) -> None:
    if text.split() != [text] or id_fault(text):
        raise DataError(
            f"expected a word, found {text!r}; blanks separate the columns of a run, so choose ids without them",
            file=path,
            field=field,
        )
