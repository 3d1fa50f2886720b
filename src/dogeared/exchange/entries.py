"""What goes between formats: questions whose passages are named, the passages themselves, and what was left behind.

Every format of other tools is read into these and written from these, so that each is written down once and goes with
all others. A passage to which a file gives no id is named by its content: the same title and text are the same passage,
in every file.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dogeared.data.corpus import Corpus
from dogeared.data.files import Reject
from dogeared.data.formats import SPLITS, GivenQuestion
from dogeared.data.ids import SeenIds
from dogeared.data.rows import Row
from dogeared.errors import DataError
from dogeared.records import Passage, Question

__all__ = ["SPLIT_NAMES", "Bundle", "Entry", "Reading", "content_passage", "entry_of_given"]

SPLIT_NAMES = {**{split: split for split in SPLITS}, "validation": "dev", "valid": "dev", "val": "dev"}
"""The names of splits that are known without being told, and which of ours they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A question as some file gave it, with the ids of its passages.

    Attributes:
        question: The question; its split is a mere default where the file gave none.
        split_given: Whether the file says in which split it belongs.
        id_given: Whether the file gives its id; else that is the number of its row, which other files have too.
        target: The one answer the file wants a reader trained on, if any.
        ranked: The passages some search found for it, best first; None where the file has no ranking.
        scores: Their scores, not increasing; None where the file has none.
        negatives: Passages said not to answer.
        passages: The passages that stand in the same row, whatever they are there for.
    """

    question: Question
    split_given: bool = False
    id_given: bool = True
    target: str | None = None
    ranked: tuple[str, ...] | None = None
    scores: tuple[float, ...] | None = None
    negatives: tuple[str, ...] = ()
    passages: tuple[Passage, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How files are read.

    Attributes:
        reject: Gets the error of each bad row; may raise it.
        notes: Counts what was in a file and has no place here.
        columns: For tables: what the file calls a field of ours.
        splits: Which split of ours a name of the file is; ``validation`` and its short forms are known without.
        seen: The ids that were read.
    """

    reject: Reject
    notes: Counter[str] = field(default_factory=Counter)
    columns: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    seen: SeenIds = field(default_factory=SeenIds)

    def id(self, row: Row, name: str = "id", *, number_if_absent: bool = False) -> str:
        """Return the id of a row, which no row before may have had.

        Args:
            row: The row.
            name: The field.
            number_if_absent: Let the row's number in the file be its id where it has none.

        Raises:
            DataError: There is no id, or none that can be one, or it was there before.
        """
        found = str(row.index) if number_if_absent and not row.has(name) else row.id(name)
        if not self.seen.add(found):
            raise row.error(f"expected each id once, found {found!r} a second time", name)
        return found

    def split(self, name: str, *, file: object, line: int | None = None) -> str:
        """Return our name of a split of a file.

        Raises:
            DataError: Nobody said which it is; the message says how.
        """
        found = self.splits.get(name, SPLIT_NAMES.get(name))
        if found is None:
            raise DataError(
                f"expected one of the splits {', '.join(SPLIT_NAMES)}, found {name!r}; say which of ours it is, such "
                f"as --split test={name}",
                file=file,
                line=line,
                field="split",
            )
        return found


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """All that is written: questions, and passages on disk.

    Attributes:
        entries: Their ``passages`` are empty; they are in the corpus.
        corpus: None where there are no passages at all.
        notes: Counts what was not written.
        fetched: The ids of the passages that were asked for.
    """

    entries: Sequence[Entry]
    corpus: Corpus | None
    notes: Counter[str] = field(default_factory=Counter)
    fetched: set[str] = field(default_factory=set)

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """Fetch passages by id.

        Raises:
            DataError: One of them is not there.
        """
        if not ids:
            return []
        if self.corpus is None:
            raise DataError(
                f"expected the passages that the questions name, such as {ids[0]!r}, got none; name their file"
            )
        self.fetched.update(ids)
        return self.corpus.passages(self.corpus.rows_of(ids))

    def all_passages(self) -> Iterator[Passage]:
        """Yield every passage, one by one from disk."""
        for batch in self.corpus.iter_batches(1024) if self.corpus is not None else ():
            yield from batch

    def by_split(self, folder: Path, suffix: str) -> Iterator[tuple[Path, list[Entry]]]:
        """Part the questions into one file for each split; those without a split go into ``questions``."""
        parts: dict[str, list[Entry]] = {}
        for entry in self.entries:
            parts.setdefault(entry.question.split if entry.split_given else "questions", []).append(entry)
        for name, entries in parts.items():
            yield folder / f"{name}{suffix}", entries


def content_passage(title: str, text: str) -> Passage:
    """Name a passage by its content.

    >>> content_passage("A title", "Some text").id
    'p-de6fb5f855fcbc8d'
    """
    digest = hashlib.blake2b(f"{title}\0{text}".encode(), digest_size=8).hexdigest()
    return Passage(id=f"p-{digest}", title=title, text=text)


def entry_of_given(given: GivenQuestion) -> Entry:
    """Take over what ``iter_questions`` read."""
    return Entry(
        question=given.question,
        split_given=given.split_given,
        id_given=given.id_given,
        target=given.target,
        ranked=None if given.passages is None else tuple(passage.id for passage in given.passages),
        scores=given.scores,
        passages=given.passages or (),
    )
