"""The set of questions: who is trained on, who is measured, and whether their gold passages exist.

Where the user's file says nothing of splits, a seeded hash of the question's text deals it to train, dev or test. The
text, not the id or the place, so that a question keeps its split when the file is sorted anew or grows, and two rows
with one text never stand on both sides.

Source: 80/10/10 is custom; nothing of the method depends on it.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from dogeared.data.corpus import Corpus
from dogeared.data.files import Reject
from dogeared.data.formats import SPLITS, GivenQuestion, iter_questions, question_line
from dogeared.errors import DataError
from dogeared.records import Question

__all__ = ["assign_splits", "check_gold", "count_by_split", "read_questions_file", "write_questions"]

_TRAIN_SHARE, _DEV_SHARE = 0.8, 0.1


def assign_splits(given: Iterable[GivenQuestion], seed: int) -> tuple[list[Question], bool]:
    """Return the questions with their splits, and whether the file itself gave them.

    Few questions may leave a split empty; ``count_by_split`` shows it.

    Args:
        given: All from one file or more, in any order.
        seed: Another seed deals the questions anew. Bears on nothing where the splits are given.

    Raises:
        DataError: Some questions carry a split and some do not.
    """
    given = list(given)
    said = [one.split_given for one in given]
    if all(said):
        return [one.question for one in given], bool(given)
    if any(said):
        first = given[said.index(False)].question
        raise DataError(
            f"expected all questions to carry a split or none of them: {sum(said)} of {len(said)} do, the question "
            f"{first.id!r} is the first that does not. Guessing could put test questions into training; add "
            '"split" to all or take it from all',
            field="split",
        )
    return [replace(one.question, split=_dealt(one.question.text, seed)) for one in given], False


def count_by_split(questions: Iterable[Question]) -> dict[str, int]:
    """Count the questions of each split; a split without any counts 0."""
    counts = Counter(question.split for question in questions)
    return {split: counts[split] for split in SPLITS}


def check_gold(
    questions: Iterable[Question], corpus: Corpus, *, file: Path, on_error: Reject | None = None
) -> list[Question]:
    """Return the questions whose gold and near-gold passages are all in the corpus.

    Args:
        questions: All.
        corpus: Where their passages should be.
        file: Where the questions come from.
        on_error: Takes what is said of each of the others; None to stop at the first.

    Raises:
        DataError: A passage is not there; the message names the question and the id.
    """
    good: list[Question] = []
    for question in questions:
        named = [("gold", *one) for one in enumerate(question.gold)]
        named += [("near_gold", *one) for one in enumerate(question.near_gold)]
        unknown = [one for one in named if one[2] not in corpus]
        if not unknown:
            good.append(question)
            continue
        field, position, passage_id = unknown[0]
        error = DataError(
            f"question {question.id!r} names the passage {passage_id!r}, which the corpus does not hold; no retriever "
            "could find it. Correct the id, or add the passage",
            file=file,
            field=f"{field}[{position}]",
        )
        if on_error is None:
            raise error
        on_error(error)
    return good


def write_questions(questions: Iterable[Question], file: Path) -> None:
    """Write questions so that ``read_questions_file`` gives them back unchanged."""
    with file.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(question_line(question) + "\n" for question in questions)


def read_questions_file(file: Path) -> list[Question]:
    """Read what ``write_questions`` wrote.

    Raises:
        DataError: It is not such a file.
    """
    given: Sequence[GivenQuestion] = list(iter_questions(file))
    for one in given:
        if not one.split_given:
            raise DataError(f"expected every question to have a split, {one.question.id!r} has none", file=file)
    return [one.question for one in given]


def _dealt(text: str, seed: int) -> str:
    digest = hashlib.blake2b(f"{seed}\t{text}".encode(), digest_size=8).digest()
    share = int.from_bytes(digest, "little") / 2**64
    if share < _TRAIN_SHARE:
        return "train"
    return "dev" if share < _TRAIN_SHARE + _DEV_SHARE else "test"
