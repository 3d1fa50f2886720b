"""Reads the JSON lines of Atlas, KILT, FlashRAG and FlagEmbedding.

KILT names pages and paragraphs of its knowledge source; a paragraph is here the passage ``PAGE/PARAGRAPH``. FlashRAG
writes title and text as one text of two or more lines, and what its pipelines found, best first, under
``output.retrieval_result`` of a question. FlagEmbedding names no passages at all, so theirs go by content; what it says
of scores is taken for a ranking.

Sources: the files and documents of these projects; no line of theirs is here.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from dogeared.data.files import read_json_rows
from dogeared.data.rows import Row
from dogeared.errors import DataError
from dogeared.exchange.entries import Entry, Reading, content_passage
from dogeared.records import Passage, Question

__all__ = [
    "read_atlas_passages",
    "read_atlas_questions",
    "read_flag_questions",
    "read_flashrag_passages",
    "read_flashrag_questions",
    "read_kilt_passages",
    "read_kilt_questions",
    "read_rows",
]

T = TypeVar("T")


def read_rows(path: Path, reading: Reading, parse: Callable[[Row], T | None]) -> Iterator[T]:
    """Read the rows of a JSON file; bad ones are rejected, those of which nothing comes are left out."""
    for row in read_json_rows(path, reading.reject):
        try:
            value = parse(row)
        except DataError as error:
            reading.reject(error)
        else:
            if value is not None:
                yield value


def read_atlas_passages(path: Path, reading: Reading) -> Iterator[Passage]:
    """Read ``id``, ``title``, ``text``, and ``section``, which becomes part of the title."""

    def parse(row: Row) -> Passage:
        title, section = row.optional_text("title"), row.optional_text("section")
        titled = f"{title}: {section}" if section else title
        return Passage(id=reading.id(row), title=titled, text=row.text("text"))

    return read_rows(path, reading, parse)


def read_atlas_questions(path: Path, reading: Reading) -> Iterator[Entry]:
    """Read ``question`` (or ``query``), ``answers``, ``target`` and ``passages``."""

    def parse(row: Row) -> Entry:
        inner = row.rows("passages")
        passages = []
        for one in inner:
            title, text = one.optional_text("title"), one.text("text")
            passages.append(
                Passage(id=one.id("id"), title=title, text=text) if one.has("id") else content_passage(title, text)
            )
        ranked, scores = _in_order(row, "passages", inner, passages)
        return Entry(
            question=Question(
                id=reading.id(row, number_if_absent=True),
                text=row.text("question" if row.has("question") else "query"),
                answers=row.answers("answers"),
            ),
            id_given=row.has("id"),
            target=row.text("target") if row.has("target") else None,
            ranked=ranked if row.has("passages") else None,
            scores=scores,
            passages=tuple(passages),
        )

    return read_rows(path, reading, parse)


def read_kilt_passages(path: Path, reading: Reading) -> Iterator[Passage]:
    """Read KILT's knowledge source: one page a line; each paragraph that is not blank is a passage."""
    for row in read_json_rows(path, reading.reject):
        try:
            page = reading.id(row, "wikipedia_id" if row.has("wikipedia_id") else "_id")
            title = row.optional_text("wikipedia_title")
            texts = row.texts("text")
        except DataError as error:
            reading.reject(error)
            continue
        for number, text in enumerate(texts):
            if text.strip():
                yield Passage(id=f"{page}/{number}", title=title, text=text.strip())


def read_kilt_questions(path: Path, reading: Reading) -> Iterator[Entry]:
    """Read ``id``, ``input`` and ``output``; the provenance gives the gold passages."""

    def parse(row: Row) -> Entry:
        answers: dict[str, None] = {}
        gold: dict[str, None] = {}
        for output in row.rows("output"):
            if output.has("answer"):
                answers[output.text("answer")] = None
            for source in output.rows("provenance"):
                page = source.id("wikipedia_id")
                if source.has("start_paragraph_id"):
                    first = _paragraph(source, "start_paragraph_id")
                    last = _paragraph(source, "end_paragraph_id") if source.has("end_paragraph_id") else first
                    gold |= dict.fromkeys(f"{page}/{number}" for number in range(first, last + 1))
                else:
                    reading.notes["gold pages that name no paragraph"] += 1
        question = Question(id=reading.id(row), text=row.text("input"), answers=tuple(answers), gold=tuple(gold))
        return Entry(question=question)

    return read_rows(path, reading, parse)


def _paragraph(row: Row, field: str) -> int:
    number = row.number(field)
    if number is None or number != int(number) or not 0 <= number < 1_000_000:
        raise row.error(f"expected the number of a paragraph, found {row.values.get(field)!r}", field)
    return int(number)


def read_flashrag_passages(path: Path, reading: Reading) -> Iterator[Passage]:
    """Read ``id`` and ``contents``, whose first line is the title if there is a second; or ``title`` and ``text``."""

    def parse(row: Row) -> Passage:
        title, text = _title_and_text(row)
        return Passage(id=reading.id(row), title=title, text=text)

    return read_rows(path, reading, parse)


def _title_and_text(row: Row) -> tuple[str, str]:
    if row.has("text"):
        return row.optional_text("title"), row.text("text")
    title, parted, text = row.text("contents").partition("\n")
    if not parted:
        title, text = "", title
    if not text.strip():
        raise row.error("expected text after the line with the title, found none", "contents")
    return title, text


def read_flashrag_questions(path: Path, reading: Reading) -> Iterator[Entry]:
    """Read ``id``, ``question`` and ``golden_answers``, and the passages that a pipeline has saved with them.

    A passage that was saved without an id goes by its content; those without scores keep their order.
    """

    def parse(row: Row) -> Entry:
        inner = _retrieved(row)
        passages = []
        for one in inner or ():
            title, text = _title_and_text(one)
            passages.append(
                Passage(id=one.id("id"), title=title, text=text) if one.has("id") else content_passage(title, text)
            )
        ranked, scores = _in_order(row, "retrieval_result", inner or [], passages)
        return Entry(
            question=Question(
                id=reading.id(row, number_if_absent=True),
                text=row.text("question"),
                answers=row.answers("golden_answers"),
            ),
            id_given=row.has("id"),
            ranked=None if inner is None else ranked,
            scores=scores,
            passages=tuple(passages),
        )

    return read_rows(path, reading, parse)


def _retrieved(row: Row) -> list[Row] | None:
    """Return the rows of what was found; None where nothing was saved."""
    if row.has("retrieval_result"):
        return row.rows("retrieval_result")
    output = row.values.get("output")
    if not isinstance(output, dict) or output.get("retrieval_result") is None:
        return None
    path = ".".join(part for part in (row.path, "output") if part)
    return Row(values=output, file=row.file, line=row.line, index=row.index, path=path).rows("retrieval_result")


def _in_order(
    row: Row, field: str, inner: Sequence[Row], passages: Sequence[Passage]
) -> tuple[tuple[str, ...], tuple[float, ...] | None]:
    """Return the ids of passages by falling score, with the scores; as they stand where they have none."""
    if len({passage.id for passage in passages}) < len(passages):
        raise row.error("expected each passage once", field)
    scored = [score for score in (one.number("score") for one in inner) if score is not None]
    if scored and len(scored) < len(inner):
        raise row.error("expected all passages of a question to have a score or none of them", field)
    order = sorted(range(len(inner)), key=lambda place: -scored[place]) if scored else range(len(inner))
    ranked = tuple(passages[place].id for place in order)
    return ranked, tuple(scored[place] for place in order) if scored else None


def read_flag_questions(path: Path, reading: Reading) -> Iterator[Entry]:
    """Read ``query``, ``pos`` (gold), ``neg`` and, where both have them, their scores."""

    def parse(row: Row) -> Entry:
        sides: dict[str, list[Passage]] = {}
        scores: list[float] = []
        for side in ("pos", "neg"):
            sides[side] = [content_passage("", text) for text in row.answers(side)]
            numbers = row.numbers(f"{side}_scores")
            if row.has(f"{side}_scores") and len(numbers) != len(sides[side]):
                raise row.error(f"expected one score for each of {len(sides[side])} passages", f"{side}_scores")
            scores += numbers
        passages = {passage.id: passage for side in sides.values() for passage in side}
        if len(passages) < sum(map(len, sides.values())):
            raise row.error("expected each passage once among pos and neg, found one again", "neg")
        ranked = (
            sorted(zip(scores, passages, strict=True), key=lambda pair: -pair[0])
            if 0 < len(scores) == len(passages)
            else None
        )
        question = Question(
            id=reading.id(row, number_if_absent=True),
            text=row.text("query"),
            gold=tuple(passage.id for passage in sides["pos"]),
        )
        return Entry(
            question=question,
            id_given=row.has("id"),
            ranked=None if ranked is None else tuple(passage_id for _, passage_id in ranked),
            scores=None if ranked is None else tuple(score for score, _ in ranked),
            negatives=tuple(passage.id for passage in sides["neg"]),
            passages=tuple(passages.values()),
        )

    return read_rows(path, reading, parse)
