"""Reads and writes BEIR's folders: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/SPLIT.tsv``.

BEIR has no place for answers; they are kept in the ``metadata`` of a query, which is free, and read from there if they
are there. A query's split is the file that judges it, by its name or as ``Reading.splits`` says. A query that no file
judges belongs nowhere: where there are judgments at all it is left out and counted.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from dogeared.data.files import read_table
from dogeared.data.formats import SPLITS
from dogeared.data.rows import Row
from dogeared.errors import DataError
from dogeared.exchange.entries import Bundle, Entry, Reading
from dogeared.exchange.plain import read_rows
from dogeared.exchange.write_pairs import write_rows
from dogeared.records import Passage, Question

__all__ = ["read_beir_passages", "read_beir_questions", "write_beir"]


def read_beir_passages(folder: Path, reading: Reading) -> Iterator[Passage]:
    """Read ``corpus.jsonl``."""

    def parse(row: Row) -> Passage:
        return Passage(id=reading.id(row, "_id"), title=row.optional_text("title"), text=row.text("text"))

    return read_rows(_inside(folder, "corpus.jsonl"), reading, parse)


def read_beir_questions(folder: Path, reading: Reading) -> Iterator[Entry]:
    """Read ``queries.jsonl`` and the judgments of all splits; a score above 0 makes a passage gold."""
    split_of, gold = _judgments(folder, reading)

    def parse(row: Row) -> Entry | None:
        question_id = reading.id(row, "_id")
        if split_of and question_id not in split_of:
            reading.notes["queries that no split judges"] += 1
            return None
        metadata = row.values.get("metadata")
        told = Row(
            values=metadata if isinstance(metadata, dict) else {},
            file=row.file,
            line=row.line,
            index=row.index,
            path=".".join(part for part in (row.path, "metadata") if part),
        )
        question = Question(
            id=question_id,
            text=row.text("text"),
            answers=told.answers("answers") if isinstance(told.values.get("answers"), list) else (),
            split=split_of.get(question_id, SPLITS[0]),
            gold=tuple(gold.get(question_id, ())),
        )
        return Entry(question=question, split_given=question_id in split_of)

    return read_rows(_inside(folder, "queries.jsonl"), reading, parse)


def write_beir(folder: Path, bundle: Bundle) -> None:
    """Write a folder; a question without gold passages has no judgment, and so no split."""
    if bundle.corpus is None:
        bundle.notes["no passages were read, so that corpus.jsonl is missing"] += 1
    else:
        passages = bundle.all_passages()
        rows = ({"_id": p.id, "title": p.title, "text": p.text, "metadata": {}} for p in passages)
        write_rows(folder / "corpus.jsonl", rows)
    if not bundle.entries:
        return
    asked = (entry.question for entry in bundle.entries)
    rows = ({"_id": q.id, "text": q.text, "metadata": {"answers": q.answers} if q.answers else {}} for q in asked)
    write_rows(folder / "queries.jsonl", rows)
    (folder / "qrels").mkdir()
    for file, entries in bundle.by_split(folder / "qrels", ".tsv"):
        # A question of no split is one to test on: BEIR is a benchmark.
        target = file.with_stem("test") if file.stem == "questions" else file
        bundle.notes["questions without a gold passage, which no judgment names"] += sum(
            not entry.question.gold for entry in entries
        )
        if any(entry.question.gold for entry in entries):
            bundle.notes["questions without a split, which are now in test"] += len(entries) * (target != file)
            is_new = not target.exists()
            with target.open("a", encoding="utf-8", newline="") as stream:
                # BEIR reads these as csv: an id with a quotation mark has to be quoted.
                table = csv.writer(stream, delimiter="\t", lineterminator="\n")
                if is_new:
                    table.writerow(("query-id", "corpus-id", "score"))
                table.writerows(
                    (entry.question.id, passage_id, 1) for entry in entries for passage_id in entry.question.gold
                )


def _judgments(folder: Path, reading: Reading) -> tuple[dict[str, str], dict[str, list[str]]]:
    split_of: dict[str, str] = {}
    gold: dict[str, list[str]] = {}
    for file in sorted((folder / "qrels").glob("*.tsv")):
        split = reading.split(file.stem, file=file)
        for row in read_table(file, reading.reject):
            try:
                question_id, passage_id, score = row.id("query-id"), row.id("corpus-id"), row.number("score")
                if split_of.setdefault(question_id, split) != split:
                    raise row.error(
                        f"expected each query in one split, found {question_id!r} in {split_of[question_id]} too; "
                        "what is trained on cannot measure",
                        "query-id",
                    )
            except DataError as error:
                reading.reject(error)
                continue
            if score is not None and score > 0 and passage_id not in gold.setdefault(question_id, []):
                gold[question_id].append(passage_id)
    return split_of, gold


def _inside(folder: Path, name: str) -> Path:
    for packed in (name, f"{name}.gz", f"{name}.xz"):
        if (folder / packed).is_file():
            return folder / packed
    raise DataError(f"expected BEIR's folder with {name} in it, found none there", file=folder)
