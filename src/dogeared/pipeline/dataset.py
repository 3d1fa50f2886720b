"""The data of a run: a corpus, questions with their splits, and perhaps a ranking that came with them.

Reading the user's files is a step like any other: it leaves an artifact, and everything after it reads that.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from dogeared.artifacts import check_sizes, file_fingerprint
from dogeared.data.corpus import Corpus, build_corpus
from dogeared.data.files import Reject
from dogeared.data.formats import GivenQuestion, iter_passages, iter_questions
from dogeared.data.questions import assign_splits, check_gold, count_by_split, read_questions_file, write_questions
from dogeared.data.rankings import read_rankings, write_rankings
from dogeared.data.trec import iter_trec_run
from dogeared.errors import DataError
from dogeared.pipeline.making import Facts, make_artifact
from dogeared.records import Passage, Question, Ranking

__all__ = ["Dataset", "prepare_data"]

logger = logging.getLogger(__name__)

_QUESTIONS = "questions.jsonl"
_GIVEN = "given.parquet"
_SKIPPED = "skipped.jsonl"


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """An opened dataset; passages are memory-mapped.

    Attributes:
        folder: The artifact.
        questions: All of them, in the order of the file.
    """

    folder: Path
    questions: Sequence[Question]

    @classmethod
    def open(cls, folder: Path) -> "Dataset":
        """Open what ``prepare_data`` made.

        Raises:
            ArtifactError: There is no finished dataset, or a file of it is missing or cut.
        """
        check_sizes(folder)
        return cls(folder=folder, questions=read_questions_file(folder / _QUESTIONS))

    @cached_property
    def corpus(self) -> Corpus:
        """All passages."""
        return Corpus.open(self.folder / "corpus")

    def split(self, name: str) -> list[Question]:
        """Return the questions of ``train``, ``dev`` or ``test``."""
        return [question for question in self.questions if question.split == name]

    def given_rankings(self) -> list[Ranking]:
        """Return the rankings that came with the questions.

        Raises:
            DataError: None came.
        """
        file = self.folder / _GIVEN
        if not file.is_file():
            raise DataError(
                'start = "given" wants a ranking, and none of the corpus came with the questions. Give a TREC run, or '
                "questions in FiD's format with ctxs and no other passages; or start from bm25."
            )
        return list(read_rankings(file).values())

    def passage_texts(self, passage_ids: Sequence[str]) -> list[str]:
        """Return the texts, without titles, of some passages."""
        return [passage.text for passage in self.corpus.passages(self.corpus.rows_of(passage_ids))]


def prepare_data(
    out: Path,
    *,
    questions: Path,
    passages: Path | None = None,
    ranking: Path | None = None,
    seed: int = 0,
    skip_bad_rows: bool = False,
) -> None:
    """Read a user's files into an artifact.

    Args:
        out: The artifact to make.
        questions: Questions in any format of ``data/formats.py``.
        passages: Passages; None to take those that came with the questions.
        ranking: A TREC run to start from; None to take the one that came with the questions, if any.
        seed: Deals the questions into splits where the file does not.
        skip_bad_rows: Leave bad rows out and count them, instead of stopping at the first.

    Raises:
        DataError: A row is bad, a gold id is unknown, or there is nothing to train on or to choose by.
    """
    files = {"questions": questions, "passages": passages, "ranking": ranking}
    inputs = {role: file_fingerprint(file) for role, file in files.items() if file is not None}

    def work(folder: Path, facts: Facts) -> None:
        facts |= _prepare(folder, questions, passages, ranking, seed, skip_bad_rows=skip_bad_rows)

    make_artifact(
        out,
        kind="prepare_data",
        settings={"seed": seed, "skip_bad_rows": skip_bad_rows},
        inputs=inputs,
        work=work,
    )


def _prepare(
    folder: Path, questions: Path, passages: Path | None, ranking: Path | None, seed: int, *, skip_bad_rows: bool
) -> dict[str, Any]:
    skipped: list[DataError] = []
    on_error = skipped.append if skip_bad_rows else None
    reading = _Reading(questions, on_error)
    if passages is None:
        corpus = build_corpus(reading.passages(), folder / "corpus")
    else:
        reading.read()
        corpus = build_corpus(iter_passages(passages, on_error=on_error), folder / "corpus")
    dealt, was_given = assign_splits(reading.given, seed)
    dealt = check_gold(dealt, corpus, file=questions, on_error=on_error)
    counts = count_by_split(dealt)
    if not was_given:
        logger.warning("%s says no splits; dealt by seed %d into %s", questions, seed, _listed(counts))
    _check_splits(dealt, counts, questions)
    write_questions(dealt, folder / _QUESTIONS)
    rankings = list(iter_trec_run(ranking, on_error=on_error)) if ranking is not None else reading.rankings
    if not any(one.passage_ids for one in rankings):  # as where FiD's ctxs are there and empty
        rankings = []
    if stranger := _stranger(rankings, corpus):
        if ranking is not None or passages is None:
            raise DataError(f"{stranger}; give the corpus that was ranked", file=ranking or questions)
        logger.warning(
            "%s: %s; what came with the questions (ctxs) is no ranking of it and left out", passages, stranger
        )
        rankings = []
    if rankings:
        write_rankings(rankings, folder / _GIVEN)
    if skipped:
        lines = (json.dumps({"file": e.file, "line": e.line, "field": e.field, "reason": e.reason}) for e in skipped)
        (folder / _SKIPPED).write_text("\n".join(lines) + "\n", encoding="utf-8")
        logger.warning("%d bad rows were left out; %s lists them", len(skipped), _SKIPPED)
    return {
        "num_passages": len(corpus),
        "num_questions": counts,
        "num_without_answers": sum(not question.answers for question in dealt),
        "num_skipped": len(skipped),
        "splits_given": was_given,
    }


class _Reading:
    """Reads questions once, and keeps of the passages that come with them nothing but their ids and scores.

    Attributes:
        given: The questions read so far, without passages.
        rankings: The rankings that came with them; where they have no scores, the order makes them.
    """

    def __init__(self, file: Path, on_error: Reject | None) -> None:
        self.file = file
        self.on_error = on_error
        self.given: list[GivenQuestion] = []
        self.rankings: list[Ranking] = []

    def read(self) -> None:
        """Read all questions and leave their passages alone."""
        for _ in self._questions():
            pass

    def passages(self) -> Iterator[Passage]:
        """Read all questions and yield their passages, each once; the same id must mean the same passage."""
        seen: dict[str, bytes] = {}  # a digest stands for the passage: files of this kind are larger than memory
        for one in self._questions():
            for passage in one.passages or ():
                digest = hashlib.blake2b(f"{passage.title}\0{passage.text}".encode(), digest_size=12).digest()
                first = seen.get(passage.id)
                if first is None:
                    seen[passage.id] = digest
                    yield passage
                elif first != digest:
                    raise DataError(
                        f"expected one passage for each id, found two different ones for {passage.id!r} (the second "
                        f"with question {one.question.id!r}); give the corpus with --passages",
                        file=self.file,
                        field="ctxs",
                    )
        if not seen:
            raise DataError(
                "expected passages with the questions (ctxs), found none; give a file with --passages", file=self.file
            )

    def _questions(self) -> Iterator[GivenQuestion]:
        for one in iter_questions(self.file, on_error=self.on_error):
            if one.passages is not None:
                ids = tuple(passage.id for passage in one.passages)
                scores = one.scores or tuple(float(-rank) for rank in range(len(ids)))
                self.rankings.append(Ranking(question_id=one.question.id, passage_ids=ids, scores=scores))
            self.given.append(replace(one, passages=None, scores=None))
            yield one
        if not self.given:
            raise DataError("expected at least one question, found none", file=self.file)


def _check_splits(dealt: Sequence[Question], counts: dict[str, int], file: Path) -> None:
    for split, use in (("train", "learn from"), ("dev", "choose the best round by")):
        if not counts[split]:
            raise DataError(
                f"expected questions in the split {split} to {use}, found {_listed(counts)}; name a split with every "
                'question ("split": "dev"), or with none and give more of them',
                file=file,
            )
    if not any(question.answers for question in dealt if question.split == "dev"):
        raise DataError(
            f"expected answers to the {counts['dev']} dev questions, found none; the best round is chosen by them, and "
            "gold passages never choose. Add answers to some of them",
            file=file,
        )
    if not counts["test"]:
        logger.warning("%s has no test questions; the results are those on dev alone", file)


def _stranger(rankings: Sequence[Ranking], corpus: Corpus) -> str | None:
    """Name the first passage of a ranking that is not in the corpus."""
    for ranking in rankings:
        for passage_id in ranking.passage_ids:
            if passage_id not in corpus:
                return (
                    f"the ranking of question {ranking.question_id!r} names the passage {passage_id!r}, which is not "
                    "in the corpus"
                )
    return None


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {split}" for split, count in counts.items())
