"""Reads questions that come with annotated passages: SQuAD, HotpotQA, MuSiQue and DPR's training files.

The passages of a question are there because someone chose them, not because a search found them: they go to the corpus,
the right ones are gold, and no ranking is made of them. Only DPR's training files name passages; elsewhere a passage
goes by its content.

Sources: the files of these projects; no line of theirs is here.
"""

from collections.abc import Iterator
from pathlib import Path

from dogeared.data.files import Reject, read_lines
from dogeared.data.rows import DECODER, Row, described, json_fault
from dogeared.errors import DataError
from dogeared.exchange.entries import Entry, Reading, content_passage
from dogeared.exchange.plain import read_rows
from dogeared.records import Passage, Question

__all__ = ["read_dpr_training", "read_hotpotqa", "read_musique", "read_squad"]


def read_squad(path: Path, reading: Reading) -> Iterator[Entry]:
    """Read SQuAD's JSON, 1.1 and 2.0; a question that is said to be impossible has no answers and no gold passage."""
    top = _object(path)
    for article in top.rows("data"):
        yield from _squad_article(article, reading)


def _squad_article(article: Row, reading: Reading) -> Iterator[Entry]:
    for paragraph in _checked_rows(article, "paragraphs", reading.reject):
        try:
            passage = content_passage(article.optional_text("title"), paragraph.text("context"))
        except DataError as error:
            reading.reject(error)
            continue
        rows = _checked_rows(paragraph, "qas", reading.reject)
        for row in rows:
            try:
                # Annotators repeat each other: an answer is right once.
                answers = dict.fromkeys(answer.text("text") for answer in row.rows("answers"))
                impossible = row.values.get("is_impossible", False)
                if not isinstance(impossible, bool):
                    raise row.error(f"expected true or false, found {described(impossible)}", "is_impossible")
                question = Question(
                    id=reading.id(row),
                    text=row.text("question"),
                    answers=() if impossible else tuple(answers),
                    gold=() if impossible else (passage.id,),
                )
            except DataError as error:
                reading.reject(error)
                continue
            yield Entry(question=question, passages=(passage,))


def read_hotpotqa(path: Path, reading: Reading) -> Iterator[Entry]:
    """Read HotpotQA's JSON; the paragraphs that hold a supporting sentence are gold."""

    def parse(row: Row) -> Entry:
        context = row.values.get("context")
        if not isinstance(context, list):
            raise row.error(f"expected a list of titles with sentences, found {described(context)}", "context")
        passages: dict[str, Passage] = {}
        for place, pair in enumerate(context):
            match pair:
                case [str(title), [*sentences]] if all(isinstance(sentence, str) for sentence in sentences):
                    values = {"title": title, "text": "".join(sentences).strip()}
                    path = ".".join(part for part in (row.path, f"context[{place}]") if part)
                    inner = Row(values=values, file=row.file, line=row.line, index=place, path=path)
                    passage = content_passage(inner.optional_text("title"), inner.text("text"))
                    passages[passage.id] = passage
                case _:
                    raise row.error(
                        f"expected a title and a list of sentences, found {described(pair)}", f"context[{place}]"
                    )
        supporting = _supporting_titles(row)
        titles = {passage.title for passage in passages.values()}
        # In the setting over all of Wikipedia a search chose the paragraphs, and may have missed some.
        reading.notes["supporting paragraphs that are not among those of their question"] += len(supporting - titles)
        gold = [passage.id for passage in passages.values() if passage.title in supporting]
        answers = (row.text("answer"),) if row.has("answer") else ()
        name = "_id" if row.has("_id") else "id"
        question = Question(
            id=reading.id(row, name, number_if_absent=True),
            text=row.text("question"),
            answers=answers,
            gold=tuple(gold),
        )
        return Entry(question=question, id_given=row.has(name), passages=tuple(passages.values()))

    return read_rows(path, reading, parse)


def _supporting_titles(row: Row) -> set[str]:
    facts = row.values.get("supporting_facts") or []
    if not isinstance(facts, list):
        raise row.error(f"expected a list, found {described(facts)}", "supporting_facts")
    titles: set[str] = set()
    for place, fact in enumerate(facts):
        match fact:
            case [str(title), *_]:
                titles.add(title)
            case _:
                raise row.error(f"expected a title and a number, found {described(fact)}", f"supporting_facts[{place}]")
    return titles


def read_musique(path: Path, reading: Reading) -> Iterator[Entry]:
    """Read MuSiQue's JSON; a question that is said to be unanswerable has no answers."""

    def parse(row: Row) -> Entry:
        passages: dict[str, Passage] = {}
        gold: dict[str, None] = {}
        for inner in row.rows("paragraphs"):
            passage = content_passage(inner.optional_text("title"), inner.text("paragraph_text"))
            passages[passage.id] = passage
            if inner.values.get("is_supporting") is True:
                gold[passage.id] = None
        first = (row.text("answer"),) if row.has("answer") else ()
        answers = tuple(dict.fromkeys((*first, *row.answers("answer_aliases"))))
        answerable = row.values.get("answerable", True) is not False
        question = Question(
            id=reading.id(row, number_if_absent=True),
            text=row.text("question"),
            answers=answers if answerable else (),
            gold=tuple(gold),
        )
        return Entry(question=question, id_given=row.has("id"), passages=tuple(passages.values()))

    return read_rows(path, reading, parse)


def read_dpr_training(path: Path, reading: Reading) -> Iterator[Entry]:
    """Read DPR's training JSON; positive passages are gold, negative and hard negative ones are negatives.

    A passage without ``passage_id`` or ``psg_id`` goes by its content. One that is both positive and negative is an
    error.
    """

    def parse(row: Row) -> Entry:
        passages: dict[str, Passage] = {}
        sides: dict[str, dict[str, None]] = {}
        for side in ("positive_ctxs", "hard_negative_ctxs", "negative_ctxs"):
            sides[side] = {}
            for inner in row.rows(side):
                passage = _dpr_passage(inner)
                if passages.setdefault(passage.id, passage) != passage:
                    raise inner.error(f"expected one text for the passage {passage.id!r}, found two")
                if side != "positive_ctxs" and passage.id in sides["positive_ctxs"]:
                    raise inner.error(f"expected negatives that are not positive too, found {passage.id!r}")
                sides[side][passage.id] = None
        question = Question(
            id=reading.id(row, number_if_absent=True),
            text=row.text("question"),
            answers=row.answers("answers"),
            gold=tuple(sides["positive_ctxs"]),
        )
        negatives = tuple(sides["hard_negative_ctxs"] | sides["negative_ctxs"])
        return Entry(question=question, id_given=row.has("id"), negatives=negatives, passages=tuple(passages.values()))

    return read_rows(path, reading, parse)


def _dpr_passage(row: Row) -> Passage:
    title, text = row.optional_text("title"), row.text("text")
    for field in ("passage_id", "psg_id"):
        if row.has(field):
            return Passage(id=row.id(field), title=title, text=text)
    return content_passage(title, text)


def _checked_rows(row: Row, field: str, reject: Reject) -> list[Row]:
    try:
        return row.rows(field)
    except DataError as error:
        reject(error)
        return []


def _object(path: Path) -> Row:
    """Read a file that is one JSON object. It is held whole, as its one object cannot be cut."""
    try:
        text = b"".join(line for _, line in read_lines(path)).decode()
        value = DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise DataError("expected text in UTF-8, found other bytes; convert the file", file=path) from error
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise DataError(
            f"expected one JSON object, found it broken: {json_fault(error)}", file=path, line=line
        ) from error
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        raise DataError('expected one JSON object with a list named "data", as SQuAD writes it', file=path)
    return Row(values=value, file=str(path), line=1, index=0)
