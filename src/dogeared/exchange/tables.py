"""Reads questions and passages out of tables: CSV, Parquet, and the datasets of the Hugging Face library.

A table has a column for each field: ``id``, ``title``, ``text`` of passages; ``id``, ``question``, ``answers`` (or
``answer``), ``target``, ``split``, ``gold``, ``near_gold`` of questions, and ``context`` where the passage that answers
stands beside its question, as in SQuAD. Columns of other names are told by ``Reading.columns``. A cell of CSV that
should hold a list holds it as JSON or as Python writes it; it is read as data and never run.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from dogeared.data.files import read_table
from dogeared.data.formats import SPLITS
from dogeared.data.rows import DECODER, Row, python_literal
from dogeared.errors import DataError
from dogeared.exchange.entries import SPLIT_NAMES, Entry, Reading, content_passage
from dogeared.records import Passage, Question

__all__ = ["passages_of_rows", "questions_of_rows", "rows_of_csv", "rows_of_dataset", "rows_of_parquet"]

_LISTS = ("answers", "gold", "near_gold")


def passages_of_rows(rows: Iterator[Row], reading: Reading) -> Iterator[Passage]:
    """Make passages of the rows of a table."""

    def parse(row: Row) -> Passage:
        return Passage(id=reading.id(row), title=row.optional_text("title"), text=row.text("text"))

    return _parsed(rows, reading, parse)


def questions_of_rows(rows: Iterator[Row], reading: Reading) -> Iterator[Entry]:
    """Make questions of the rows of a table."""

    def parse(row: Row) -> Entry:
        split = reading.split(row.optional_text("split", absent=SPLITS[0]), file=row.file, line=row.line)
        passages: tuple[Passage, ...] = ()
        if row.has("context"):
            passages = (content_passage(row.optional_text("title"), row.text("context")),)
        if row.has("answers"):
            answers = tuple(dict.fromkeys(row.answers("answers")))
        else:
            answers = (row.text("answer"),) if isinstance(row.values.get("answer"), str) else row.answers("answer")
        question = Question(
            id=reading.id(row, number_if_absent=True),
            text=row.text("question"),
            answers=answers,
            split=split,
            gold=row.ids("gold") or (tuple(passage.id for passage in passages) if answers else ()),
            near_gold=row.ids("near_gold"),
        )
        target = row.text("target") if row.has("target") else None
        return Entry(
            question=question,
            split_given=row.has("split"),
            id_given=row.has("id"),
            target=target,
            passages=passages,
        )

    return _parsed(rows, reading, parse)


def rows_of_csv(path: Path, reading: Reading) -> Iterator[Row]:
    """Read a table whose first line names the columns; an empty cell is an absent one."""
    for row in read_table(path, reading.reject, delimiter=","):
        values = {name: value if value != "" else None for name, value in row.values.items()}
        named = _named(values, reading.columns)
        named |= {name: _list(named[name]) for name in _LISTS if isinstance(named.get(name), str)}
        if isinstance(answer := named.get("answer"), str) and isinstance(_list(answer), list):
            named["answer"] = _list(answer)
        yield replace(row, values=named)


def rows_of_parquet(path: Path, reading: Reading) -> Iterator[Row]:
    """Read a Parquet file.

    Raises:
        DataError: It is none, or is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for values in batch.to_pylist():
                    yield Row(values=_named(values, reading.columns), file=str(path), line=number + 1, index=number)
                    number += 1
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:  # texts that are none, times out of range
        raise DataError(f"expected a Parquet file, found otherwise ({error})", file=path) from error
    if number == 0:
        raise DataError("expected rows, the file holds none", file=path)


def rows_of_dataset(name: str, reading: Reading) -> Iterator[Row]:
    """Read a dataset by its name on the hub (``NAME`` or ``NAME:CONFIG``), or a folder with a saved one or its files.

    The names of its splits become ours. A dataset whose only split is ``train``, or has a name that says nothing of a
    split, gives none. Rows are numbered through all splits, so that no two without an id get the same one.

    Raises:
        DataError: There is no such dataset, it cannot be fetched, or it has a split that is none of ours.
    """
    import datasets

    try:
        folder = Path(name)
        if (folder / "dataset_dict.json").is_file() or (folder / "dataset_info.json").is_file():
            loaded = datasets.load_from_disk(name)
        elif folder.is_dir():
            loaded = datasets.load_dataset(name)
        else:
            base, _, config = name.partition(":")
            loaded = datasets.load_dataset(base, config or None)
    except Exception as error:  # the library fails in many kinds of its own, and says why
        raise DataError(f"expected a dataset that can be loaded, found otherwise ({error})", file=name) from error
    parts = dict(loaded) if isinstance(loaded, Mapping) else {"": loaded}
    index = 0
    for part, rows in parts.items():
        split = _dataset_split(str(part), reading, name, is_only_one=len(parts) == 1)
        for number, found in enumerate(rows):
            values = _named(cast(dict[str, Any], found), reading.columns)
            if split is not None:
                values.setdefault("split", split)
            if isinstance(answers := values.get("answers"), dict):
                values["answers"] = answers.get("text")
            yield Row(values=values, file=f"{name}[{part}]" if part else name, line=number + 1, index=index)
            index += 1


def _dataset_split(part: str, reading: Reading, name: str, *, is_only_one: bool) -> str | None:
    if not is_only_one or part in reading.splits:
        return reading.split(part, file=name)
    # The library calls it train where nobody said anything; a name such as corpus is no split of questions.
    split = SPLIT_NAMES.get(part)
    return None if split == "train" else split


def _parsed(rows: Iterator[Row], reading: Reading, parse: Callable[[Row], Any]) -> Iterator[Any]:
    for row in rows:
        try:
            value = parse(row)
        except DataError as error:
            reading.reject(error)
        else:
            yield value


def _named(values: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """Give columns our names; one that is renamed is no longer there under its own."""
    theirs = set(columns.values())
    named = {name: value for name, value in values.items() if name not in theirs}
    return named | {ours: values.get(name) for ours, name in columns.items()}


def _list(text: str) -> Any:
    """Read a list from a cell; what is none stays text, and is refused like any other value that is no list."""
    try:
        found = DECODER.decode(text)
    except (ValueError, RecursionError):
        found = python_literal(text)
    return found if isinstance(found, list) else text
