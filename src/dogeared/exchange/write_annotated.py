"""Writes formats in which passages stand beside their questions: SQuAD, DPR's training files, FlagEmbedding.

They are made of gold passages, so a question without one has no place in them; such questions are counted. Negatives
are those a file named, or else the ranked passages that are not known to answer.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dogeared.exchange.entries import Bundle, Entry
from dogeared.exchange.write_pairs import write_rows

__all__ = ["write_dpr_training", "write_flag", "write_squad"]


def write_squad(folder: Path, bundle: Bundle) -> None:
    """Write SQuAD 2.0's JSON for each split; a question stands with its first gold passage."""
    for file, entries in bundle.by_split(folder, ".json"):
        articles: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for entry in _with_gold(bundle, entries):
            question = entry.question
            passage = bundle.passages(question.gold[:1])[0]
            bundle.notes["gold passages beside the first of a question"] += len(question.gold) - 1
            found = [answer for answer in question.answers if answer in passage.text]
            bundle.notes["answers that do not stand in the gold passage"] += len(question.answers) - len(found)
            answers = [{"text": answer, "answer_start": passage.text.index(answer)} for answer in found]
            row = {"id": question.id, "question": question.text, "answers": answers, "is_impossible": False}
            articles.setdefault(passage.title, {}).setdefault(passage.text, []).append(row)
        data = [
            {
                "title": title,
                "paragraphs": [{"context": text, "qas": rows} for text, rows in paragraphs.items()],
            }
            for title, paragraphs in articles.items()
        ]
        if data:
            text = json.dumps({"version": "v2.0", "data": data}, ensure_ascii=False)
            file.write_text(text + "\n", encoding="utf-8")


def write_dpr_training(folder: Path, bundle: Bundle) -> None:
    """Write DPR's training JSON for each split."""
    for file, entries in bundle.by_split(folder, ".json"):
        rows = [
            {
                "dataset": "dogeared",
                "question": entry.question.text,
                "answers": entry.question.answers,
                "positive_ctxs": _dpr_passages(bundle, entry.question.gold),
                "negative_ctxs": [],
                "hard_negative_ctxs": _dpr_passages(bundle, _negatives(entry)),
            }
            for entry in _with_gold(bundle, entries)
        ]
        if rows:
            file.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def write_flag(folder: Path, bundle: Bundle) -> None:
    """Write FlagEmbedding's JSON lines for each split; a title goes before its text, and scores where all have one."""
    for file, entries in bundle.by_split(folder, ".jsonl"):
        rows = []
        for entry in _with_gold(bundle, entries):
            sides = {"pos": entry.question.gold, "neg": _negatives(entry)}
            row: dict[str, Any] = {"query": entry.question.text}
            for side, ids in sides.items():
                found = bundle.passages(ids)
                row[side] = [f"{p.title} {p.text}" if p.title else p.text for p in found]
                bundle.notes["titles, which are part of the texts now"] += sum(bool(p.title) for p in found)
            score_of = dict(zip(entry.ranked, entry.scores, strict=True)) if entry.ranked and entry.scores else {}
            if all(passage_id in score_of for ids in sides.values() for passage_id in ids):
                row |= {f"{side}_scores": [score_of[i] for i in ids] for side, ids in sides.items()}
            rows.append(row)
        if rows:
            write_rows(file, rows)


def _with_gold(bundle: Bundle, entries: list[Entry]) -> Iterator[Entry]:
    for entry in entries:
        if entry.question.gold:
            yield entry
        else:
            bundle.notes["questions without a gold passage, which have no place"] += 1


def _negatives(entry: Entry) -> tuple[str, ...]:
    known = {*entry.question.gold, *entry.question.near_gold}
    return entry.negatives or tuple(passage_id for passage_id in entry.ranked or () if passage_id not in known)


def _dpr_passages(bundle: Bundle, ids: tuple[str, ...]) -> list[dict[str, str]]:
    return [{"title": p.title, "text": p.text, "passage_id": p.id} for p in bundle.passages(ids)]
