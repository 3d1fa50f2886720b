"""The passages of a corpus on disk: any of them by row or by id, none of them held in memory.

A corpus is a folder with the passages in Arrow's stream format, memory-mapped, and an index from id to row. The same
file opens as a dataset with ``datasets.Dataset.from_file(folder / "passages.arrow")``. A **row** is a passage's number
in the order in which the corpus was built; embeddings and indexes elsewhere go by rows.

This module knows no file format of the outside and searches nothing. It is not atomic: a caller that needs all or
nothing builds inside an artifact.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dogeared.data.ids import IdIndex, hash_ids
from dogeared.errors import ArtifactError, DataError
from dogeared.records import Passage

__all__ = ["Corpus", "build_corpus"]

_FILE = "passages.arrow"
_COLUMNS = ("id", "title", "text")
_SCHEMA = pa.schema([(name, pa.string()) for name in _COLUMNS])
_ROWS_PER_BATCH = 4096


class Corpus:
    """Passages by row or by id, read from a memory-mapped file."""

    def __init__(self, folder: Path, batches: Sequence[pa.RecordBatch], index: IdIndex) -> None:
        self.folder = folder
        self._batches = batches
        self._columns = [[_Strings(column) for column in batch.columns] for batch in batches]
        self._index = index
        # All batches but the last are equally long, so a row's batch is a division away.
        self._rows_per_batch = batches[0].num_rows
        self._num_rows = sum(batch.num_rows for batch in batches)

    @classmethod
    def open(cls, folder: Path) -> "Corpus":
        """Map the corpus in a folder into memory; takes no longer for a large one.

        Raises:
            ArtifactError: The folder holds no whole corpus.
        """
        try:
            with pa.ipc.open_stream(pa.memory_map(str(folder / _FILE))) as reader:
                if not reader.schema.equals(_SCHEMA):
                    found = ", ".join(f"{field.name} ({field.type})" for field in reader.schema)
                    raise ValueError(f"columns {found} instead of {', '.join(_COLUMNS)} (string)")
                corpus = cls(folder, reader.read_all().to_batches(), IdIndex.open(folder))
            if len(corpus._index) != len(corpus):
                raise ValueError(f"{len(corpus)} passages, but {len(corpus._index)} ids in the index")
        except (OSError, ValueError, IndexError, EOFError) as error:
            raise ArtifactError(
                f"{folder}: expected a corpus, found none that is whole ({error}); build it again"
            ) from error
        return corpus

    def __len__(self) -> int:
        return self._num_rows

    def __contains__(self, passage_id: str) -> bool:
        return self._find(passage_id) is not None

    def passage(self, row: int) -> Passage:
        """Return the passage of a row."""
        (ids, titles, texts), place = self._place(row)
        return Passage(id=ids[place], title=titles[place], text=texts[place])

    def passages(self, rows: Sequence[int]) -> list[Passage]:
        """Return the passages of some rows, in the order asked for."""
        return [self.passage(row) for row in rows]

    def ids(self, rows: Sequence[int]) -> list[str]:
        """Return the ids of some rows, without reading the texts."""
        return [self._id(row) for row in rows]

    def row_of(self, passage_id: str) -> int:
        """Return the row of an id.

        Raises:
            DataError: No passage has this id.
        """
        row = self._find(passage_id)
        if row is None:
            raise DataError(
                f"expected the id of one of the {len(self)} passages, found {passage_id!r}; does it come from another "
                "corpus?",
                file=self.folder,
            )
        return row

    def rows_of(self, passage_ids: Sequence[str]) -> list[int]:
        """Return the rows of some ids, in the order asked for; much faster than one by one.

        Raises:
            DataError: One of the ids is not in the corpus.
        """
        rows = self._index.likely_rows(passage_ids).tolist()
        found = self.ids(rows)
        return [
            row if passage_id == found_id else self.row_of(passage_id)
            for row, passage_id, found_id in zip(rows, passage_ids, found, strict=True)
        ]

    def iter_batches(self, size: int) -> Iterator[list[Passage]]:
        """Yield all passages in the order of their rows, ``size`` at a time; the last list may be shorter."""
        passages = self._iter_passages()
        while batch := list(islice(passages, size)):
            yield batch

    def _iter_passages(self) -> Iterator[Passage]:
        for batch in self._batches:
            columns = (column.to_pylist() for column in batch.columns)
            for passage_id, title, text in zip(*columns, strict=True):
                yield Passage(id=passage_id, title=title, text=text)

    def _place(self, row: int) -> tuple[list["_Strings"], int]:
        """Return the columns of the batch that a row is in, and its place in them."""
        if not 0 <= row < self._num_rows:
            raise IndexError(f"row {row} of a corpus of {self._num_rows} passages")
        batch, place = divmod(int(row), self._rows_per_batch)
        return self._columns[batch], place

    def _id(self, row: int) -> str:
        (ids, _, _), place = self._place(row)
        return ids[place]

    def _find(self, passage_id: str) -> int | None:
        return next((row for row in self._index.rows(passage_id) if self._id(row) == passage_id), None)


class _Strings:
    """One column of a batch, read where it lies: Arrow's own way to a single string takes five times as long."""

    def __init__(self, column: pa.StringArray) -> None:
        _, ends, text = column.buffers()
        self._ends = memoryview(ends).cast("i")[column.offset :]
        self._text = memoryview(b"" if text is None else text)

    def __getitem__(self, place: int) -> str:
        return str(self._text[self._ends[place] : self._ends[place + 1]], "utf-8")


def build_corpus(passages: Iterable[Passage], folder: Path) -> Corpus:
    """Write a corpus and open it; passages are written as they come and then forgotten.

    Args:
        passages: In the order that gives them their rows.
        folder: Is made if need be; a corpus in it is replaced.

    Raises:
        DataError: There is no passage, or two have the same id.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hashes: list[NDArray[np.uint64]] = []
    passages = iter(passages)
    with pa.OSFile(str(folder / _FILE), "wb") as stream, pa.ipc.new_stream(stream, _SCHEMA) as writer:
        while rows := list(islice(passages, _ROWS_PER_BATCH)):
            columns = [[passage.id for passage in rows], [passage.title for passage in rows], [p.text for p in rows]]
            writer.write_batch(pa.record_batch([pa.array(column, pa.string()) for column in columns], schema=_SCHEMA))
            hashes.append(hash_ids(columns[0]))
    if not hashes:
        raise DataError("expected passages, got none; a corpus without any answers nothing", file=folder)
    index = IdIndex.write(np.concatenate(hashes), folder)
    corpus = Corpus.open(folder)
    for group in index.shared_hashes():
        row_of: dict[str, int] = {}
        for row, passage_id in zip(group, corpus.ids(group), strict=True):
            if passage_id in row_of:
                raise DataError(
                    f"expected each id once, found {passage_id!r} in rows {row_of[passage_id]} and {row} (counted from "
                    "0); results could not be told apart",
                    file=folder,
                    field="id",
                )
            row_of[passage_id] = row
    return corpus
