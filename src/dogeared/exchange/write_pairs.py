"""Writes formats that keep passages and questions apart: ours and those of FiD, DPR, Atlas, FlashRAG, KILT and TREC.

Formats that know splits only as files get a file for each. What a format has no place for is not decided here but
counted in ``convert.py``; only what becomes another thing on the way is noted here.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dogeared.data.trec import write_trec_judgments, write_trec_run
from dogeared.exchange.entries import Bundle, Entry
from dogeared.records import Ranking

__all__ = [
    "ranked_passages",
    "write_atlas",
    "write_csv",
    "write_dpr_questions",
    "write_fid",
    "write_flashrag",
    "write_jsonl",
    "write_kilt",
    "write_parquet",
    "write_passage_table",
    "write_rows",
    "write_trec",
]

_PARAGRAPH = re.compile(r"(.*\S.*)/(0|[1-9][0-9]{0,5})")
"""PAGE/PARAGRAPH, where the number is written as it will be read back: 01 would become 1."""


def write_rows(file: Path, rows: Iterable[Any]) -> None:
    """Write JSON lines."""
    with file.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def ranked_passages(bundle: Bundle, entry: Entry) -> list[dict[str, Any]]:
    """Give the passages of an entry's ranking with their texts and, if there are any, their scores."""
    ids = entry.ranked or ()
    scores = entry.scores if entry.scores is not None else [None] * len(ids)
    return [
        {"id": passage.id, "title": passage.title, "text": passage.text} | ({} if score is None else {"score": score})
        for passage, score in zip(bundle.passages(ids), scores, strict=True)
    ]


def write_jsonl(folder: Path, bundle: Bundle) -> None:
    """Write ``passages.jsonl`` and ``questions.jsonl``, which every command reads."""
    if bundle.corpus is not None:
        rows = ({"id": p.id, "title": p.title, "text": p.text} for p in bundle.all_passages())
        write_rows(folder / "passages.jsonl", rows)
    if bundle.entries:
        write_rows(folder / "questions.jsonl", (_own_row(bundle, entry) for entry in bundle.entries))


def write_fid(folder: Path, bundle: Bundle) -> None:
    """Write a JSON list for each split, and the passages as a table.

    Every question has ``ctxs``, be they none, as FiD's tools look for them.
    """
    write_passage_table(folder, bundle)
    for file, entries in bundle.by_split(folder, ".json"):
        with file.open("w", encoding="utf-8") as stream:
            for number, entry in enumerate(entries):
                row: dict[str, Any] = {"id": entry.question.id, "question": entry.question.text}
                row |= {} if entry.target is None else {"target": entry.target}
                row |= {"answers": entry.question.answers, "ctxs": ranked_passages(bundle, entry)}
                stream.write(("[\n" if number == 0 else ",\n") + json.dumps(row, ensure_ascii=False))
            stream.write("\n]\n")


def write_passage_table(folder: Path, bundle: Bundle) -> None:
    """Write ``passages.tsv`` as DPR's ``psgs_w100`` is written: a header, tabs, text quoted as csv quotes it."""
    if bundle.corpus is None:
        return
    with (folder / "passages.tsv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, delimiter="\t", lineterminator="\n")
        table.writerow(("id", "text", "title"))
        table.writerows((passage.id, passage.text, passage.title) for passage in bundle.all_passages())


def write_dpr_questions(folder: Path, bundle: Bundle) -> None:
    """Write a table for each split: the question, a tab, and the answers as Python writes a list."""
    for file, entries in bundle.by_split(folder, ".tsv"):
        with file.open("w", encoding="utf-8", newline="") as stream:
            table = csv.writer(stream, delimiter="\t", lineterminator="\n")
            table.writerows((entry.question.text, repr(list(entry.question.answers))) for entry in entries)


def write_atlas(folder: Path, bundle: Bundle) -> None:
    """Write ``passages.jsonl`` and a file of questions for each split."""
    if bundle.corpus is not None:
        rows = ({"id": p.id, "title": p.title, "text": p.text} for p in bundle.all_passages())
        write_rows(folder / "passages.jsonl", rows)
    for file, entries in bundle.by_split(folder, ".jsonl"):
        write_rows(file, (_atlas_row(bundle, entry) for entry in entries))


def write_flashrag(folder: Path, bundle: Bundle) -> None:
    """Write ``corpus.jsonl``, whose first line of ``contents`` is the title, and a file of questions for each split.

    A ranking goes into ``output.retrieval_result``, where FlashRAG's own pipelines put what they found.
    """
    if bundle.corpus is not None:
        bundle.notes["line breaks in titles, which are blanks now"] += sum(
            _one_line(p.title) != p.title for p in bundle.all_passages()
        )
        rows = ({"id": p.id, "contents": _contents(p.title, p.text)} for p in bundle.all_passages())
        write_rows(folder / "corpus.jsonl", rows)
    for file, entries in bundle.by_split(folder, ".jsonl"):
        write_rows(file, (_flashrag_row(bundle, entry) for entry in entries))


def write_kilt(folder: Path, bundle: Bundle) -> None:
    """Write a file of questions for each split; a gold passage named PAGE/PARAGRAPH is written as such.

    Any other is written as a page, and counted.
    """
    for file, entries in bundle.by_split(folder, ".jsonl"):
        rows = []
        for entry in entries:
            output: list[dict[str, Any]] = [{"answer": answer} for answer in entry.question.answers]
            if entry.question.gold:
                provenance = [_provenance(passage_id) for passage_id in entry.question.gold]
                output.append({"provenance": provenance})
                bundle.notes["gold passages that are not named PAGE/PARAGRAPH, which are pages now"] += sum(
                    "start_paragraph_id" not in source for source in provenance
                )
            rows.append({"id": entry.question.id, "input": entry.question.text, "output": output})
        write_rows(file, rows)


def write_trec(folder: Path, bundle: Bundle) -> None:
    """Write the rankings as ``run.trec`` and the gold passages as ``qrels.txt``."""
    ranked = [entry for entry in bundle.entries if entry.ranked is not None]
    bundle.notes["rankings without scores, whose ranks became scores"] += sum(entry.scores is None for entry in ranked)
    if ranked:
        write_trec_run((_ranking(entry) for entry in ranked), folder / "run.trec")
    judged = [entry.question for entry in bundle.entries if entry.question.gold]
    if judged:
        rows = ((question.id, passage_id, 1) for question in judged for passage_id in question.gold)
        write_trec_judgments(rows, folder / "qrels.txt")


def write_csv(folder: Path, bundle: Bundle) -> None:
    """Write ``passages.csv`` and ``questions.csv``; lists are written as JSON."""
    if bundle.corpus is not None:
        _write_csv(
            folder / "passages.csv", ({"id": p.id, "title": p.title, "text": p.text} for p in bundle.all_passages())
        )
    if bundle.entries:
        rows = (
            {name: json.dumps(v, ensure_ascii=False) if isinstance(v, tuple) else v for name, v in row.items()}
            for row in _question_rows(bundle)
        )
        _write_csv(folder / "questions.csv", rows)


def write_parquet(folder: Path, bundle: Bundle) -> None:
    """Write ``passages.parquet`` and ``questions.parquet``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if bundle.corpus is not None:
        schema = pa.schema([(name, pa.string()) for name in ("id", "title", "text")])
        with pq.ParquetWriter(folder / "passages.parquet", schema) as writer:
            for batch in bundle.corpus.iter_batches(4096):
                rows = [{"id": p.id, "title": p.title, "text": p.text} for p in batch]
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    if bundle.entries:
        lists = {"answers", "gold", "near_gold"}
        rows = list(_question_rows(bundle))
        schema = pa.schema([(name, pa.list_(pa.string()) if name in lists else pa.string()) for name in rows[0]])
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "questions.parquet")


def _own_row(bundle: Bundle, entry: Entry) -> dict[str, Any]:
    question = entry.question
    row: dict[str, Any] = {"id": question.id, "question": question.text, "answers": question.answers}
    row |= {} if entry.target is None else {"target": entry.target}
    row |= {"split": question.split} if entry.split_given else {}
    row |= {"gold": question.gold} if question.gold else {}
    row |= {"near_gold": question.near_gold} if question.near_gold else {}
    return row | ({} if entry.ranked is None else {"ctxs": ranked_passages(bundle, entry)})


def _atlas_row(bundle: Bundle, entry: Entry) -> dict[str, Any]:
    question = entry.question
    row: dict[str, Any] = {"id": question.id, "question": question.text, "answers": question.answers}
    row |= {} if entry.target is None else {"target": entry.target}
    return row | ({} if entry.ranked is None else {"passages": ranked_passages(bundle, entry)})


def _flashrag_row(bundle: Bundle, entry: Entry) -> dict[str, Any]:
    question = entry.question
    row = {"id": question.id, "question": question.text, "golden_answers": question.answers, "metadata": {}}
    if entry.ranked is None:
        return row
    found = [
        {"id": one.pop("id"), "contents": _contents(one.pop("title"), one.pop("text")), **one}
        for one in ranked_passages(bundle, entry)
    ]
    return row | {"output": {"retrieval_result": found}}


def _contents(title: str, text: str) -> str:
    return f"{_one_line(title)}\n{text}"


def _one_line(title: str) -> str:
    # Nothing but this mark ends the title where it is read; other line breaks of Unicode stay.
    return title.replace("\r\n", " ").replace("\n", " ")


def _question_rows(bundle: Bundle) -> Iterator[dict[str, Any]]:
    for entry in bundle.entries:
        question = entry.question
        yield {
            "id": question.id,
            "question": question.text,
            "answers": question.answers,
            "target": entry.target,
            "split": question.split if entry.split_given else None,
            "gold": question.gold,
            "near_gold": question.near_gold,
        }


def _write_csv(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        table: csv.DictWriter[str] | None = None
        for row in rows:
            if table is None:
                table = csv.DictWriter(stream, fieldnames=list(row), lineterminator="\n")
                table.writeheader()
            table.writerow(row)


def _provenance(passage_id: str) -> dict[str, Any]:
    if (found := _PARAGRAPH.fullmatch(passage_id)) is None:
        return {"wikipedia_id": passage_id}
    page, paragraph = found.groups()
    return {"wikipedia_id": page, "start_paragraph_id": int(paragraph), "end_paragraph_id": int(paragraph)}


def _ranking(entry: Entry) -> Ranking:
    ids = entry.ranked or ()
    scores = entry.scores if entry.scores is not None else tuple(float(-rank) for rank in range(len(ids)))
    return Ranking(question_id=entry.question.id, passage_ids=ids, scores=scores)
