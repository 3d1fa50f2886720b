"""Rankings, relevance and likelihoods on disk: one Parquet file, one row a question.

Numbers come back exactly as they were written. What the numbers mean, a retriever's scores or a teacher's relevance,
is said by the name of the column.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dogeared.errors import ArtifactError
from dogeared.records import AnswerLikelihood, PassageRelevance, Ranking

__all__ = [
    "read_likelihoods",
    "read_rankings",
    "read_relevance",
    "write_likelihoods",
    "write_rankings",
    "write_relevance",
]


def write_rankings(rankings: Iterable[Ranking], file: Path) -> None:
    """Write rankings in their order."""
    rows = [(ranking.question_id, ranking.passage_ids, ranking.scores) for ranking in rankings]
    _write(rows, file, numbers="scores")


def read_rankings(file: Path) -> dict[str, Ranking]:
    """Read rankings by question id, in the order in which they were written.

    Raises:
        ArtifactError: The file is missing or is not one of rankings.
    """
    return {
        question: Ranking(question_id=question, passage_ids=tuple(passages), scores=tuple(scores))
        for question, passages, scores in _read(file, numbers="scores")
    }


def write_relevance(relevance: Iterable[PassageRelevance], file: Path) -> None:
    """Write what a teacher said, in its order."""
    rows = [(item.question_id, item.passage_ids, item.relevance) for item in relevance]
    _write(rows, file, numbers="relevance")


def read_relevance(file: Path) -> dict[str, PassageRelevance]:
    """Read what a teacher said by question id, in the order in which it was written.

    Raises:
        ArtifactError: The file is missing or is not one of relevance.
    """
    return {
        question: PassageRelevance(question_id=question, passage_ids=tuple(passages), relevance=tuple(values))
        for question, passages, values in _read(file, numbers="relevance")
    }


def write_likelihoods(likelihoods: Iterable[AnswerLikelihood], file: Path) -> None:
    """Write how likely the tokens of answers are, in their order."""
    rows = [(item.question_id, item.passage_ids, item.log_likelihood) for item in likelihoods]
    _write(rows, file, numbers="log_likelihood", of=pa.list_(pa.float64()))


def read_likelihoods(file: Path) -> dict[str, AnswerLikelihood]:
    """Read how likely the tokens of answers are by question id, in the order in which it was written.

    Raises:
        ArtifactError: The file is missing or is not one of likelihoods.
    """
    return {
        question: AnswerLikelihood(
            question_id=question, passage_ids=tuple(passages), log_likelihood=tuple(tuple(row) for row in values)
        )
        for question, passages, values in _read(file, numbers="log_likelihood")
    }


def _write(rows: list[tuple[str, tuple[str, ...], Any]], file: Path, *, numbers: str, of: Any = None) -> None:
    values = pa.list_(pa.float64() if of is None else of)
    schema = pa.schema({"question_id": pa.string(), "passage_ids": pa.list_(pa.string()), numbers: values})
    columns = list(zip(*rows, strict=True)) if rows else [[], [], []]
    pq.write_table(pa.table(dict(zip(schema.names, columns, strict=True)), schema=schema), file)


def _read(file: Path, *, numbers: str) -> Iterable[tuple[str, list[str], list[Any]]]:
    try:
        table = pq.read_table(file, columns=["question_id", "passage_ids", numbers])
        rows = list(zip(*(table.column(name).to_pylist() for name in table.column_names), strict=True))
        if any(None in row or len(row[1]) != len(row[2]) for row in rows):
            raise ValueError(f"a row does not have one of {numbers} for each passage")
    except (OSError, ValueError, TypeError, OverflowError, pa.ArrowException) as error:
        raise ArtifactError(
            f"{file}: expected a table with {numbers}: {error}; delete its folder to remake it"
        ) from error
    return rows
