"""Reads one format and writes another, and says what did not come along.

All passages go through a corpus on disk, so that their number does not matter; questions are held in memory without
their passages' texts. What the target has no place for is counted and told, never dropped in silence.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dogeared.artifacts import MANIFEST, check_unaltered, read_manifest, write_artifact
from dogeared.data.corpus import Corpus, build_corpus
from dogeared.data.files import Reject
from dogeared.data.formats import SPLITS
from dogeared.data.ids import SeenIds
from dogeared.data.trec import iter_trec_run, read_trec_judgments
from dogeared.errors import ArtifactError, ConfigError, DataError
from dogeared.exchange.entries import SPLIT_NAMES, Bundle, Entry, Reading
from dogeared.exchange.formats import FORMATS, PARTS, Format, entry_parts
from dogeared.records import Passage

__all__ = ["Converted", "Sources", "convert"]


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The files to convert.

    Attributes:
        questions: Files of questions; ``SPLIT=FILE`` puts all questions of a file into a split, which may be called
            ``validation``, ``valid`` or ``val`` too.
        passages: The passages; None where the questions' files hold them, or there are none.
        ranking: A TREC run; takes the place of rankings that came with the questions.
        judgments: TREC judgments; take the place of the gold passages that came with the questions.
        columns: For tables: what the files call a field of ours.
        splits: For BEIR's folders, tables and datasets: which split of ours a name of theirs is.
    """

    questions: Sequence[str] = ()
    passages: str | None = None
    ranking: Path | None = None
    judgments: Path | None = None
    columns: Mapping[str, str] | None = None
    splits: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What was done.

    Attributes:
        num_questions: How many were read.
        num_passages: How many were read, each counted once.
        notes: What was not written, and what became another thing, with how often; only what occurs.
        skipped: The errors of the rows that were left out.
        files: What was written, by its path in the folder.
    """

    num_questions: int
    num_passages: int
    notes: Mapping[str, int]
    skipped: Sequence[DataError]
    files: Sequence[str]


def convert(
    out: Path, sources: Sources, *, source: str, target: str, passages_source: str | None = None, skip_bad_rows: bool
) -> Converted:
    """Convert files into a folder in another format.

    Args:
        out: The folder to make.
        sources: The files.
        source: The format of the questions, and of the passages where nothing else is said.
        target: The format to write.
        passages_source: The format of the passages.
        skip_bad_rows: Leave bad rows out and count them, instead of stopping at the first.

    Raises:
        ConfigError: There is no such format, it is not read or written, or it has none of the names to be renamed.
        DataError: A row is bad, or nothing was read that the target has a place for.
    """
    to = _format(target)
    if to.write is None:
        raise ConfigError(
            f"--to: the format {target} is read only; {_names(lambda one: one.write is not None)} are written"
        )
    settings = {"from": source, "to": target, "questions": list(sources.questions), "passages": sources.passages}
    _check_same(out, settings)
    skipped: list[DataError] = []
    notes: Counter[str] = Counter()
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{out.name}.", dir=out.parent))
    try:
        reading = Reading(
            reject=skipped.append if skip_bad_rows else _raise,
            notes=notes,
            columns=sources.columns or {},
            splits=sources.splits or {},
        )
        _check_names(sources, source, passages_source or source)
        entries, corpus = _read(sources, _format(source), _format(passages_source or source), reading, work)
        bundle = Bundle(entries=entries, corpus=corpus, notes=notes)
        _check_something_to_write(bundle, to, target)
        with write_artifact(out, kind="convert", settings=settings, inputs={}) as (folder, facts):
            to.write(folder, bundle)
            _count_losses(bundle, to, target)
            files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
            found = {note: count for note, count in notes.items() if count}
            num_passages = 0 if corpus is None else len(corpus)
            facts |= {"num_questions": len(entries), "num_passages": num_passages, "notes": found}
            facts |= {"num_skipped": len(skipped)}
    finally:
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(out.with_name(f"{out.name}.partial"), ignore_errors=True)  # of a conversion that failed
    return Converted(num_questions=len(entries), num_passages=num_passages, notes=found, skipped=skipped, files=files)


def _check_same(out: Path, settings: Mapping[str, Any]) -> None:
    """Refuse to put one conversion into the place of another: what is not written anew would be lost."""
    check_unaltered(out)
    if (out / MANIFEST).is_file() and read_manifest(out).settings != settings:
        raise ArtifactError(
            f"{out}: expected a new folder, an empty one, or the conversion of the same files, found another "
            "conversion, which would be lost; choose another folder, name all files at once, or delete it"
        )


def _read(
    sources: Sources, of_questions: Format, of_passages: Format, reading: Reading, work: Path
) -> tuple[list[Entry], Corpus | None]:
    entries: list[Entry] = []
    beside = _keep_entries(_iter_entries(sources, of_questions, reading), entries)
    apart: Iterator[Passage] | None = None
    where = sources.passages
    if where is None and of_passages.passages is not None:
        # A folder has both.
        where = next(
            (path for _, path in map(_split_and_path, sources.questions) if Path(path, "corpus.jsonl").is_file()), None
        )
    if where is not None:
        if of_passages.passages is None:
            raise ConfigError(
                "--passages: the format has no files of passages; name the passages' own with --passages-from"
            )
        for _ in beside:
            pass
        apart = of_passages.passages(Path(where), replace(reading, seen=SeenIds()))
    passages = _once(beside if apart is None else apart, reading.reject, where or ", ".join(sources.questions))
    first = next(passages, None)
    corpus = None if first is None else build_corpus(_again(first, passages), work / "corpus")
    if sources.ranking is not None:
        entries = _with_rankings(entries, sources.ranking, reading)
    if sources.judgments is not None:
        entries = _with_judgments(entries, sources.judgments, reading)
    return entries, corpus


def _iter_entries(sources: Sources, of: Format, reading: Reading) -> Iterator[Entry]:
    seen: set[str] = set()
    names = _file_names(sources.questions)
    for name, named in zip(names, sources.questions, strict=True):
        split, path = _split_and_path(named)
        if of.questions is None:
            raise ConfigError(
                f"--from: the format has no questions; {_names(lambda one: one.questions is not None)} have"
            )
        for entry in of.questions(Path(path), replace(reading, seen=SeenIds())):
            question = replace(entry.question, split=split or entry.question.split)
            if not entry.id_given and len(names) > 1:  # each file numbers its rows from 0
                question = replace(question, id=f"{name}-{question.id}")
            if question.id in seen:
                reason = f"expected each id once, found {question.id!r} in two files; give one of the questions another"
                reading.reject(DataError(reason, file=path, field="id"))
                continue
            seen.add(question.id)
            yield replace(entry, question=question, split_given=entry.split_given or split is not None)


def _split_and_path(named: str) -> tuple[str | None, str]:
    split, parted, path = named.partition("=")
    return (SPLIT_NAMES[split], path) if parted and split in SPLIT_NAMES else (None, named)


def _file_names(questions: Sequence[str]) -> list[str]:
    """Name each file by its split or else its stem; by both where two are named alike, and by its number if need be.

    >>> _file_names(["train=a.csv", "dev=b.csv"]), _file_names(["train=a.csv", "train=b.csv"])
    (['train', 'dev'], ['train-a', 'train-b'])
    >>> _file_names(["x/a.csv", "y/a.csv"])
    ['a-1', 'a-2']
    """
    parted = [_split_and_path(named) for named in questions]
    short = [split or Path(path).stem for split, path in parted]
    longer = ["-".join(part for part in (split, Path(path).stem) if part) for split, path in parted]
    numbered = [f"{name}-{number}" for number, name in enumerate(longer, start=1)]
    return next(names for names in (short, longer, numbered) if len(set(names)) == len(names))


def _keep_entries(entries: Iterator[Entry], kept: list[Entry]) -> Iterator[Passage]:
    """Yield the passages that stand beside questions, and keep the questions without them."""
    for entry in entries:
        kept.append(replace(entry, passages=()))
        yield from entry.passages


def _once(passages: Iterator[Passage], reject: Reject, file: str) -> Iterator[Passage]:
    """Yield each passage once; an id that stands for two texts is an error."""
    ids, contents = SeenIds(), SeenIds()
    for passage in passages:
        is_new = ids.add(passage.id)
        if contents.add(f"{passage.id}\0{passage.title}\0{passage.text}") and not is_new:
            reject(DataError(f"expected one passage for each id, found two for {passage.id!r}", file=file, field="id"))
        elif is_new:
            yield passage


def _again(first: Passage, rest: Iterator[Passage]) -> Iterator[Passage]:
    yield first
    yield from rest


def _with_rankings(entries: list[Entry], path: Path, reading: Reading) -> list[Entry]:
    found = {ranking.question_id: ranking for ranking in iter_trec_run(path, on_error=reading.reject)}
    known = {entry.question.id for entry in entries}
    reading.notes["rankings of questions that are not there"] += len(found.keys() - known)
    return [
        replace(entry, ranked=found[entry.question.id].passage_ids, scores=found[entry.question.id].scores)
        if entry.question.id in found
        else entry
        for entry in entries
    ]


def _with_judgments(entries: list[Entry], path: Path, reading: Reading) -> list[Entry]:
    found = read_trec_judgments(path, on_error=reading.reject)
    known = {entry.question.id for entry in entries}
    reading.notes["judgments of questions that are not there"] += len(found.keys() - known)
    gold = {name: tuple(one for one, relevance in judged.items() if relevance > 0) for name, judged in found.items()}
    return [
        replace(entry, question=replace(entry.question, gold=gold.get(entry.question.id, entry.question.gold)))
        for entry in entries
    ]


def _check_names(sources: Sources, source: str, passages_source: str) -> None:
    """Refuse names that no reader of these files would look at, and a file that is named twice."""
    if unknown := set((sources.splits or {}).values()) - set(SPLITS):
        raise ConfigError(f"--split: expected {', '.join(SPLITS)} before the =, got {', '.join(sorted(unknown))}")
    if sources.splits and "splits" not in _format(source).renames:
        raise ConfigError(
            f"--split: expected questions in one of the formats {_names(lambda one: 'splits' in one.renames)}, whose "
            f"splits may have other names; got {source}. Name the split of a whole file with --questions SPLIT=FILE"
        )
    if sources.columns and not any("columns" in _format(name).renames for name in (source, passages_source)):
        raise ConfigError(
            f"--column: expected one of the formats {_names(lambda one: 'columns' in one.renames)}, whose columns may "
            f"have other names; got {source}. Rename the field in the file"
        )
    given = Counter(Path(_split_and_path(named)[1]).resolve() for named in sources.questions)
    if twice := [str(path) for path, times in given.items() if times > 1]:
        raise ConfigError(f"--questions: expected each file once, got {', '.join(twice)} again; name it once")


def _check_something_to_write(bundle: Bundle, to: Format, target: str) -> None:
    has = {part for entry in bundle.entries for part in entry_parts(entry)}
    there = {
        "passages": bundle.corpus is not None or bool(bundle.entries),
        "questions": bool(bundle.entries),
        "question ids": bool(has & {"gold", "rankings"}),
        "gold": "gold" in has,
    }
    if to.needs == "passages" and "questions" not in to.carries:
        there["passages"] = bundle.corpus is not None
    if not there[to.needs]:
        wanted = {"question ids": "questions with rankings or gold passages", "gold": "questions with gold passages"}
        raise DataError(f"the format {target} needs {wanted.get(to.needs, to.needs)}, and none were read")


def _count_losses(bundle: Bundle, to: Format, target: str) -> None:
    """Count what the target has no place for, after it was written."""
    lost: Counter[str] = Counter()
    if "questions" in to.carries or "question ids" in to.carries:
        lost.update({part: sum(map(has, bundle.entries)) for part, has in PARTS.items() if part not in to.carries})
        if "questions" not in to.carries:
            lost["texts of questions"] = len(bundle.entries)
    else:
        lost["questions"] = len(bundle.entries)
    if bundle.corpus is not None and "passages" not in to.carries:
        lost["passages"] = len(bundle.corpus) - (len(bundle.fetched) if to.names_passages else 0)
        if to.names_passages and "passage ids" not in to.carries:
            lost["passage ids"] = len(bundle.fetched)
    bundle.notes.update({f"{part} that {target} has no place for": count for part, count in lost.items()})


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise ConfigError(f"expected one of the formats {', '.join(FORMATS)}, got {name!r}")
    return FORMATS[name]


def _names(wanted: Callable[[Format], bool]) -> str:
    return ", ".join(name for name, one in FORMATS.items() if wanted(one))


def _raise(error: DataError) -> None:
    raise error
