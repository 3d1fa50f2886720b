"""Relevance that was made elsewhere: what another teacher said of passages, read from a file.

============================  =========================================================================
``.jsonl``, ``.json``         ``question_id``, ``passage_id`` and ``relevance``, a passage a row, in any order
``.trec``, ``.run``, ``.txt``  a TREC run; its score is the relevance
============================  =========================================================================

Each may end in ``.gz`` or ``.xz``. Nothing is invented: a passage that the file does not name has no relevance.
"""

from pathlib import Path
from typing import NoReturn

from dogeared.data.files import data_suffix, read_json_rows
from dogeared.data.trec import iter_trec_run
from dogeared.errors import DataError

__all__ = ["read_relevance_file"]


def read_relevance_file(file: Path) -> dict[str, dict[str, float]]:
    """Read relevance by question id and passage id.

    Raises:
        DataError: The file is absent, empty or of an unknown kind; a row lacks a field; a relevance is not a finite
            number; or a passage is judged twice for one question.
    """
    match data_suffix(file):
        case ".jsonl" | ".json":
            return _by_question(file)
        case ".trec" | ".run" | ".txt":
            return {
                ranking.question_id: dict(zip(ranking.passage_ids, ranking.scores, strict=True))
                for ranking in iter_trec_run(file)
            }
        case suffix:
            raise DataError(
                "expected relevance in a file named .jsonl or .json, or as a TREC run in one named .trec, .run or .txt "
                f"(and .gz or .xz after it), found {suffix!r}; the name tells the format",
                file=file,
            )


def _by_question(file: Path) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for row in read_json_rows(file, _raise):
        question_id, passage_id, relevance = row.id("question_id"), row.id("passage_id"), row.number("relevance")
        if relevance is None:
            raise row.error(
                "expected a number, found nothing; leave out the row of a passage that was not judged", "relevance"
            )
        values = found.setdefault(question_id, {})
        if passage_id in values:
            raise row.error(
                f"expected each passage once for a question, found {passage_id!r} a second time for {question_id!r}",
                "passage_id",
            )
        values[passage_id] = relevance
    return found


def _raise(error: DataError) -> NoReturn:
    raise error
