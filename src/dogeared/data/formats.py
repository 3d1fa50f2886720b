"""The file formats of passages and questions, and the only place where the names of their fields are spelled.

======================================  =====================================================================
passages: ``.jsonl``, ``.json``         ``id``, ``text``, and ``title`` if there is one
passages: ``.tsv``                      DPR's ``psgs_w100``: a header with ``id``, ``text``, ``title`` in any order
questions: ``.jsonl``, ``.json``        ``question``; if there are any ``id``, ``answers`` (or ``answer``), ``target``,
                                        ``split``, ``gold``, ``near_gold``, and FiD's ``ctxs``
questions: ``.tsv``, ``.csv``,          DPR's question sets: question, tab, list of answers as Python writes it; or,
``.txt``                                where the first character is ``{``, as ``.jsonl``
======================================  =====================================================================

Each may end in ``.gz`` or ``.xz``. Other fields are ignored. Ids and answers may be numbers and become the text they
were written as. No value is invented, no bad row mended: it is an error, or given to ``on_error`` and left out.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, TypeVar

from dogeared.data.files import Reject, data_suffix, first_character, read_json_rows, read_table
from dogeared.data.ids import SeenIds
from dogeared.data.rows import Row, python_literal
from dogeared.errors import DataError
from dogeared.records import Passage, Question

__all__ = ["SPLITS", "GivenQuestion", "given_line", "iter_passages", "iter_questions", "question_line"]

SPLITS = ("train", "dev", "test")

_JSON = (".jsonl", ".json")
_QUESTION_TABLES = (".tsv", ".csv", ".txt")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenQuestion:
    """A question as a file gave it.

    Attributes:
        question: The question; its split is a mere default where the file gave none.
        split_given: Whether the file says in which split it belongs.
        id_given: Whether the file gives its id; else that is the number of its row.
        passages: The passages the file brings along for it, best first; None where it brings no list.
        scores: Their scores, not increasing; None where the file has none, and then the order alone is known.
    """

    question: Question
    split_given: bool
    id_given: bool = True
    passages: tuple[Passage, ...] | None = None
    scores: tuple[float, ...] | None = None

    @property
    def target(self) -> str | None:
        """The one answer the file wants a reader trained on; None where it leaves the choice."""
        return self.question.target


def iter_passages(path: Path, *, on_error: Reject | None = None) -> Iterator[Passage]:
    """Read passages one by one; memory does not grow with the file but for 8 bytes a passage.

    Args:
        path: A file in one of the formats above, told by its name.
        on_error: Gets the error of each bad row, which is then left out. Where it is None the first one is raised.

    Raises:
        DataError: A bad row, where ``on_error`` is None; and always where the file is absent, empty, cut off or of an
            unknown kind.
    """
    reject = on_error or _raise
    match data_suffix(path):
        case ".jsonl" | ".json":
            rows = read_json_rows(path, reject)
        case ".tsv":
            rows = _passage_table(path, reject)
        case suffix:
            raise DataError(
                f"expected passages in a file named .jsonl, .json or .tsv (and .gz or .xz after it), found {suffix!r}; "
                "the name tells the format",
                file=path,
            )
    seen = SeenIds()

    def passage(row: Row) -> Passage:
        found = _passage(row)
        if not seen.add(found.id):
            raise row.error(f"expected each id once, found {found.id!r} a second time", "id")
        return found

    return _parsed(rows, passage, reject)


def iter_questions(path: Path, *, on_error: Reject | None = None) -> Iterator[GivenQuestion]:
    """Read questions one by one, with the passages that FiD's files bring along.

    A file without ids numbers its questions from 0 in the order of its rows. Passages with scores are put in the order
    of their scores, and those of one score stay in the order of the file, as FiD does.

    Args:
        path: A file in one of the formats above, told by its name.
        on_error: Gets the error of each bad row, which is then left out. Where it is None the first one is raised.

    Raises:
        DataError: As for ``iter_passages``.
    """
    reject = on_error or _raise
    suffix = data_suffix(path)
    if suffix in _JSON or (suffix in _QUESTION_TABLES and first_character(path) == "{"):
        rows = read_json_rows(path, reject)
    elif suffix in _QUESTION_TABLES:
        rows = _question_table(path, reject)
    else:
        raise DataError(
            f"expected questions in a file named .jsonl, .json, .tsv, .csv or .txt (and .gz or .xz after it), found "
            f"{suffix!r}; the name tells the format",
            file=path,
        )
    seen: set[str] = set()
    first_has_id: bool | None = None

    def question(row: Row) -> GivenQuestion:
        nonlocal first_has_id
        if first_has_id is None:
            first_has_id = row.has("id")
        elif first_has_id != row.has("id"):
            one, other = ("an", "none") if first_has_id else ("no", "one")
            raise row.error(
                f"expected all rows to have an id or none: the first has {one} id, this has {other}; a made-up number "
                "could be the id of another",
                "id",
            )
        found = _question(row)
        if found.question.id in seen:
            raise row.error(f"expected each id once, found {found.question.id!r} a second time", "id")
        seen.add(found.question.id)
        return found

    return _parsed(rows, question, reject)


def question_line(question: Question) -> str:
    """Write a question as the line of ``.jsonl`` from which ``iter_questions`` reads it back unchanged."""
    return json.dumps(
        {
            "id": question.id,
            "question": question.text,
            "answers": question.answers,
            "split": question.split,
            "gold": question.gold,
            "near_gold": question.near_gold,
        }
        | ({} if question.target is None else {"target": question.target}),
        ensure_ascii=False,
    )


def given_line(given: GivenQuestion) -> str:
    """Write a question with the passages that came with it as a line of FiD's ``.jsonl``."""
    line = json.loads(question_line(given.question))
    if not given.split_given:
        del line["split"]
    if given.passages is not None:
        scores = given.scores or [None] * len(given.passages)
        line["ctxs"] = [
            {"id": passage.id, "title": passage.title, "text": passage.text}
            | ({} if score is None else {"score": score})
            for passage, score in zip(given.passages, scores, strict=True)
        ]
    return json.dumps(line, ensure_ascii=False)


def _passage_table(path: Path, reject: Reject) -> Iterator[Row]:
    for num_rows, row in enumerate(read_table(path, reject)):
        if num_rows == 0 and not {"id", "text"} <= row.values.keys():
            raise DataError(
                f"expected a header with id, text and title between tabs, found {', '.join(row.values)}",
                file=path,
                line=1,
            )
        yield row


def _question_table(path: Path, reject: Reject) -> Iterator[Row]:
    for row in read_table(path, reject, columns=("question", "answers")):
        # What is no list stays text, and is refused like any other value that is none.
        yield replace(row, values={**row.values, "answers": python_literal(row.values["answers"])})


def _passage(row: Row) -> Passage:
    return Passage(id=row.id("id"), title=row.optional_text("title"), text=row.text("text"))


def _question(row: Row) -> GivenQuestion:
    split = row.optional_text("split", absent=SPLITS[0])
    if split not in SPLITS:
        raise row.error(f"expected one of {', '.join(SPLITS)}, found {split!r}", "split")
    text = row.text("question")
    question = Question(
        id=row.id("id") if row.has("id") else str(row.index),
        text=text,
        answers=row.answers("answers" if row.has("answers") else "answer"),
        split=split,
        gold=row.ids("gold"),
        near_gold=row.ids("near_gold"),
        target=row.text("target") if row.has("target") else None,
    )
    passages, scores = _given_ranking(row) if row.has("ctxs") else (None, None)
    return GivenQuestion(
        question=question,
        split_given=row.has("split"),
        id_given=row.has("id"),
        passages=passages,
        scores=scores,
    )


def _given_ranking(row: Row) -> tuple[tuple[Passage, ...], tuple[float, ...] | None]:
    passages: dict[str, Passage] = {}
    scores: list[float] = []
    for position, inner in enumerate(row.rows("ctxs")):
        passage = _passage(inner)
        if passage.id in passages:
            raise inner.error(f"expected each passage once in a ranking, found {passage.id!r} a second time", "id")
        score = inner.number("score")
        if (score is not None) != (position == len(scores)) and position > 0:
            raise inner.error("expected all passages of a question to have a score or none of them", "score")
        passages[passage.id] = passage
        if score is not None:
            scores.append(score)
    if not scores:
        return tuple(passages.values()), None
    ordered = sorted(zip(scores, passages.values(), strict=True), key=lambda pair: -pair[0])
    return tuple(passage for _, passage in ordered), tuple(score for score, _ in ordered)


def _parsed(rows: Iterable[Row], parse: Callable[[Row], T], reject: Reject) -> Iterator[T]:
    for row in rows:
        try:
            value = parse(row)
        except DataError as error:
            reject(error)
        else:
            yield value


def _raise(error: DataError) -> NoReturn:
    raise error
