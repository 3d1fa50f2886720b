"""All formats that can be read or written, each with what it has a place for: the table behind ``convert``.

A format reads questions, passages or both, and writes a folder. What it carries is said in the words of ``PARTS``; what
is not among them is lost on the way and counted. The readers and writers are in the modules beside this one.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dogeared.data.formats import iter_passages, iter_questions
from dogeared.exchange.annotated import read_dpr_training, read_hotpotqa, read_musique, read_squad
from dogeared.exchange.beir import read_beir_passages, read_beir_questions, write_beir
from dogeared.exchange.entries import Bundle, Entry, Reading, entry_of_given
from dogeared.exchange.plain import (
    read_atlas_passages,
    read_atlas_questions,
    read_flag_questions,
    read_flashrag_passages,
    read_flashrag_questions,
    read_kilt_passages,
    read_kilt_questions,
)
from dogeared.exchange.tables import (
    passages_of_rows,
    questions_of_rows,
    rows_of_csv,
    rows_of_dataset,
    rows_of_parquet,
)
from dogeared.exchange.write_annotated import write_dpr_training, write_flag, write_squad
from dogeared.exchange.write_pairs import (
    write_atlas,
    write_csv,
    write_dpr_questions,
    write_fid,
    write_flashrag,
    write_jsonl,
    write_kilt,
    write_parquet,
    write_passage_table,
    write_trec,
)
from dogeared.records import Passage

__all__ = ["FORMATS", "PARTS", "Format", "Part", "entry_parts"]

Part = Literal[
    "passages",
    "passage ids",
    "questions",
    "question ids",
    "answers",
    "targets",
    "splits",
    "gold",
    "near-gold",
    "rankings",
    "scores",
    "negatives",
]

PARTS: Mapping[Part, Callable[[Entry], bool]] = {
    "question ids": lambda entry: True,
    "answers": lambda entry: bool(entry.question.answers),
    "targets": lambda entry: entry.target is not None,
    "splits": lambda entry: entry.split_given,
    "gold": lambda entry: bool(entry.question.gold),
    "near-gold": lambda entry: bool(entry.question.near_gold),
    "rankings": lambda entry: entry.ranked is not None,
    "scores": lambda entry: entry.scores is not None,
    "negatives": lambda entry: bool(entry.negatives),
}
"""What a question may have beside its text, and how to see whether it has it."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format.

    Attributes:
        says: What it is, in a few words.
        questions: Reads questions, with the passages that stand beside them.
        passages: Reads passages.
        write: Writes a folder; None where nobody writes it.
        carries: What its files have a place for.
        names_passages: Whether passages are written only where a question names them.
        needs: What must be there for anything to be written; ``passages`` means those or questions.
        renames: Which names of its files may be told to be ours.
    """

    says: str
    questions: Callable[[Path, Reading], Iterator[Entry]] | None = None
    passages: Callable[[Path, Reading], Iterator[Passage]] | None = None
    write: Callable[[Path, Bundle], None] | None = None
    carries: frozenset[Part] = frozenset()
    names_passages: bool = False
    needs: Part = "questions"
    renames: frozenset[Literal["columns", "splits"]] = frozenset()


def entry_parts(entry: Entry) -> set[Part]:
    """Say what a question has beside its text."""
    return {part for part, has in PARTS.items() if has(entry)}


def _own_questions(path: Path, reading: Reading) -> Iterator[Entry]:
    return map(entry_of_given, iter_questions(path, on_error=reading.reject))


def _own_passages(path: Path, reading: Reading) -> Iterator[Passage]:
    return iter_passages(path, on_error=reading.reject)


def _csv_questions(path: Path, reading: Reading) -> Iterator[Entry]:
    return questions_of_rows(rows_of_csv(path, reading), reading)


def _csv_passages(path: Path, reading: Reading) -> Iterator[Passage]:
    return passages_of_rows(rows_of_csv(path, reading), reading)


def _parquet_questions(path: Path, reading: Reading) -> Iterator[Entry]:
    return questions_of_rows(rows_of_parquet(path, reading), reading)


def _parquet_passages(path: Path, reading: Reading) -> Iterator[Passage]:
    return passages_of_rows(rows_of_parquet(path, reading), reading)


def _hub_questions(path: Path, reading: Reading) -> Iterator[Entry]:
    return questions_of_rows(rows_of_dataset(str(path), reading), reading)


def _hub_passages(path: Path, reading: Reading) -> Iterator[Passage]:
    return passages_of_rows(rows_of_dataset(str(path), reading), reading)


def _carries(*parts: Part) -> frozenset[Part]:
    return frozenset(parts)


_PASSAGES = ("passages", "passage ids")
_RANKED = ("rankings", "scores")
_TABLE = _carries("questions", *_PASSAGES, "question ids", "answers", "targets", "splits", "gold", "near-gold")

_NAMED: frozenset[Literal["columns", "splits"]] = frozenset(("columns", "splits"))

FORMATS: Mapping[str, Format] = {
    "jsonl": Format(
        says="what every command reads: JSON lines, DPR's tables, FiD's JSON",
        questions=_own_questions,
        passages=_own_passages,
        write=write_jsonl,
        carries=_TABLE | _carries(*_RANKED),
        needs="passages",
    ),
    "fid": Format(
        says="FiD's JSON with ctxs, and DPR's table of passages",
        questions=_own_questions,
        passages=_own_passages,
        write=write_fid,
        carries=_carries("questions", *_PASSAGES, "question ids", "answers", "targets", "splits", *_RANKED),
        needs="passages",
    ),
    "psgs": Format(
        says="DPR's table of passages, psgs_w100.tsv",
        passages=_own_passages,
        write=write_passage_table,
        carries=_carries(*_PASSAGES),
        needs="passages",
    ),
    "dpr-qa": Format(
        says="DPR's table of questions with Python's lists of answers",
        questions=_own_questions,
        write=write_dpr_questions,
        carries=_carries("questions", "answers", "splits"),
    ),
    "dpr-train": Format(
        says="DPR's training JSON with positive and negative passages",
        questions=read_dpr_training,
        write=write_dpr_training,
        carries=_carries("questions", "passage ids", "answers", "splits", "gold", "negatives"),
        names_passages=True,
        needs="gold",
    ),
    "atlas": Format(
        says="Atlas's JSON lines",
        questions=read_atlas_questions,
        passages=read_atlas_passages,
        write=write_atlas,
        carries=_carries("questions", *_PASSAGES, "question ids", "answers", "targets", "splits", *_RANKED),
        needs="passages",
    ),
    "kilt": Format(
        says="KILT's JSON lines, and its knowledge source",
        questions=read_kilt_questions,
        passages=read_kilt_passages,
        write=write_kilt,
        carries=_carries("questions", "question ids", "answers", "splits", "gold"),
    ),
    "beir": Format(
        says="BEIR's folder",
        questions=read_beir_questions,
        passages=read_beir_passages,
        write=write_beir,
        carries=_carries("questions", *_PASSAGES, "question ids", "answers", "splits", "gold"),
        needs="passages",
        renames=frozenset(("splits",)),
    ),
    "trec": Format(
        says="a TREC run and judgments (read with --ranking and --judgments)",
        write=write_trec,
        carries=_carries("question ids", "gold", *_RANKED),
        needs="question ids",
    ),
    "flashrag": Format(
        says="FlashRAG's JSON lines, with what its pipelines found",
        questions=read_flashrag_questions,
        passages=read_flashrag_passages,
        write=write_flashrag,
        carries=_carries("questions", *_PASSAGES, "question ids", "answers", "splits", *_RANKED),
        needs="passages",
    ),
    "flag": Format(
        says="FlagEmbedding's query, pos, neg and scores",
        questions=read_flag_questions,
        write=write_flag,
        carries=_carries("questions", "splits", "gold", "negatives", "scores"),
        names_passages=True,
        needs="gold",
    ),
    "squad": Format(
        says="SQuAD's JSON, 1.1 and 2.0",
        questions=read_squad,
        write=write_squad,
        carries=_carries("questions", "question ids", "answers", "splits", "gold"),
        names_passages=True,
        needs="gold",
    ),
    "hotpotqa": Format(says="HotpotQA's JSON", questions=read_hotpotqa),
    "musique": Format(says="MuSiQue's JSON", questions=read_musique),
    "csv": Format(
        says="comma-separated tables, one of questions and one of passages",
        questions=_csv_questions,
        passages=_csv_passages,
        write=write_csv,
        carries=_TABLE,
        needs="passages",
        renames=_NAMED,
    ),
    "parquet": Format(
        says="Parquet tables, one of questions and one of passages",
        questions=_parquet_questions,
        passages=_parquet_passages,
        write=write_parquet,
        carries=_TABLE,
        needs="passages",
        renames=_NAMED,
    ),
    "hf": Format(
        says="a dataset of the Hugging Face library, by name or folder",
        questions=_hub_questions,
        passages=_hub_passages,
        renames=_NAMED,
    ),
}
"""By the names that ``convert`` takes."""
