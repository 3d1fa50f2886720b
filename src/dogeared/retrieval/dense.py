"""Encode a corpus with the student, and retrieve with it.

Encoding writes shard after shard; an interrupted run goes on at the first shard that is not finished. A
``DenseRetriever`` is an encoder and an index that belong together. Sparse vectors and vectors of tokens have files and
indexes of their own; sparse ones are never held dense for more texts than are encoded at once. How encoder and index
work inside is not here.
"""

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor

from dogeared.ahead import ahead
from dogeared.arriving import Arriving, one_behind
from dogeared.compute import Precision, keep_freed_memory
from dogeared.data.corpus import Corpus
from dogeared.progress import bar
from dogeared.records import Question, Ranking
from dogeared.retrieval.approximate import APPROXIMATE_FILE, ApproximateIndex, IndexSettings
from dogeared.retrieval.dual_encoder import DualEncoder, FeatureChunk
from dogeared.retrieval.embedding import embed, embed_sparse, token_texts, vectors_of_chunks
from dogeared.retrieval.index import ExactIndex
from dogeared.retrieval.sparse_index import SPARSE_FILE, SparseIndex
from dogeared.retrieval.token_index import STARTS_FILE, TOKENS_FILE, TokenIndex, join_shards, write_shard
from dogeared.retrieval.vectors import SCALES_FILE, VECTORS_FILE, StoredVectors, VectorKind
from dogeared.settings import Settings
from dogeared.storage import write_atomically

__all__ = [
    "DenseRetriever",
    "EncodingSettings",
    "Index",
    "carry_vectors",
    "encode_corpus",
    "index_files",
    "open_index",
    "reuse_vectors",
]

Index = ExactIndex | ApproximateIndex | SparseIndex | TokenIndex

logger = logging.getLogger(__name__)

_EQUAL = 1e-6
"""Scores that differ by less than this share are one score, but for rounding."""

_DONE_FILE = "encoded.json"
_TIMES_ON_GPU = 8  # as large chunks: it computes them faster than it can be told of more
_PIECE_PASSAGES = 2_048  # sorted by length among themselves, which pads a hundredth more than a whole shard


class EncodingSettings(Settings):
    """How a corpus is encoded."""

    precision: Precision = "auto"
    """Of the encoder's matrix products."""
    shard_passages: int = Field(default=16_384, ge=1)
    """How many passages a crash may cost; sorted by length within a shard, so larger is a little faster."""
    chunk_tokens: int = Field(default=16_384, ge=1)
    """Tokens that a CPU encodes at once; a GPU takes eight times as many, but for sparse vectors."""


def encode_corpus(
    encoder: DualEncoder, corpus: Corpus, folder: Path, settings: EncodingSettings, kind: VectorKind = "float32"
) -> Path:
    """Write the vectors of all passages, in the order of the corpus, into ``folder``; go on where it stopped.

    The next passages become tokens while those before them are encoded: those of the next shard on a CPU; on a GPU,
    which would wait for the first shard, those of the next piece of one.

    Args:
        encoder: On the device that shall do the work.
        corpus: What to encode.
        folder: Exists; may hold the finished shards of an interrupted run with the same encoder.
        settings: Shards and precision.
        kind: How numbers are kept; sparse vectors and those of tokens have their own way.

    Returns:
        The file with the vectors; int8 has another beside it.
    """
    keep_freed_memory()
    if encoder.is_sparse:
        return _encode_sparse(encoder, corpus, folder, settings)
    if encoder.is_multi:
        return _encode_tokens(encoder, corpus, folder, settings)
    done_file = folder / _DONE_FILE
    done = json.loads(done_file.read_text(encoding="utf-8"))["passages"] if done_file.is_file() else 0
    vectors = StoredVectors.create(folder, rows=len(corpus), dim=encoder.dim, kind=kind, go_on=done > 0)
    for stop in _encode_rows(encoder, corpus, done, vectors, settings):
        vectors.flush()
        write_atomically(done_file, json.dumps({"passages": stop}))
    del vectors
    done_file.unlink(missing_ok=True)
    return folder / VECTORS_FILE


def carry_vectors(
    encoder: DualEncoder, corpus: Corpus, made: Path, folder: Path, settings: EncodingSettings, *, kept: Sequence[int]
) -> None:
    """Write the vectors of a corpus that begins with passages encoded before; only those that follow are encoded.

    Args:
        encoder: The one that made the vectors.
        corpus: The kept passages, then new ones.
        made: The folder with the vectors of the corpus as it was.
        folder: Exists; gets the vectors of the corpus as it is.
        settings: How new passages are encoded.
        kept: The rows of the kept passages in the corpus as it was.
    """
    keep_freed_memory()
    if encoder.is_sparse:
        old = SparseIndex.open(made).vectors[np.asarray(kept, dtype=np.int64)]
        shards = _cut(range(len(kept), len(corpus)), settings.shard_passages)
        new = [
            embed_sparse(encoder, chunks, settings.precision)
            for _, chunks in _tokenized_shards(encoder, corpus, shards, settings)
        ]
        sparse.save_npz(folder / SPARSE_FILE, sparse.vstack([old, *new], format="csr"), compressed=False)
        return
    if encoder.is_multi:
        _carry_tokens(encoder, corpus, made, folder, settings, kept)
        return
    old = StoredVectors.open(made)
    vectors = StoredVectors.create(folder, rows=len(corpus), dim=old.dim, kind=old.kind)
    for start in range(0, len(kept), settings.shard_passages):
        part = kept[start : start + settings.shard_passages]
        vectors.put(range(start, start + len(part)), old.take(part))
    for _ in _encode_rows(encoder, corpus, len(kept), vectors, settings):
        vectors.flush()
    vectors.flush()


def _carry_tokens(
    encoder: DualEncoder, corpus: Corpus, made: Path, folder: Path, settings: EncodingSettings, kept: Sequence[int]
) -> None:
    old, shards = TokenIndex.open(made), []
    for start in range(0, len(kept), settings.shard_passages):
        part = kept[start : start + settings.shard_passages]
        shards.append(folder / f"kept-{start:010d}.npy")
        write_shard(shards[-1], [old.tokens[old.starts[row] : old.starts[row + 1]] for row in part])
    new = _cut(range(len(kept), len(corpus)), settings.shard_passages)
    for rows, chunks in _tokenized_shards(encoder, corpus, new, settings):
        shards.append(folder / f"new-{rows.start:010d}.npy")
        write_shard(shards[-1], token_texts(encoder, chunks, settings.precision))
    join_shards(shards, folder)


def _encode_rows(
    encoder: DualEncoder, corpus: Corpus, start: int, vectors: StoredVectors, settings: EncodingSettings
) -> Iterator[int]:
    """Encode all passages from a row on, and yield after each shard the row that comes next."""
    shards = _cut(range(start, len(corpus)), settings.shard_passages)
    with bar("encode passages", total=len(corpus), unit="passages", done=start) as progress:
        for rows, chunks in _tokenized_shards(encoder, corpus, shards, settings):
            made = vectors_of_chunks(encoder, chunks, settings.precision, progress.advance)
            arriving = ((places, Arriving(part)) for places, part in made)
            for places, part in one_behind(arriving, wanted=encoder.device.type == "cuda"):
                vectors.put(places.numpy() + rows.start, part.take().numpy())
            yield rows.stop


def _cut(rows: range, size: int) -> list[range]:
    return [range(start, min(start + size, rows.stop)) for start in range(rows.start, rows.stop, size)]


def _tokenized_shards(
    encoder: DualEncoder, corpus: Corpus, shards: Iterable[range], settings: EncodingSettings
) -> Iterator[tuple[range, Iterator[FeatureChunk]]]:
    """Yield each shard with its chunks, whose rows are counted from its first; the next piece is made ready meanwhile.

    The chunks of a shard must be used up before the next shard is asked for.
    """
    most = _most_at_once(encoder.device, settings)
    pieces_of = {shard: _cut(shard, most) for shard in shards}

    times = 1 if encoder.device.type == "cpu" or encoder.is_sparse else _TIMES_ON_GPU

    def tokenize(piece: tuple[range, range]) -> list[FeatureChunk]:
        shard, rows = piece
        chunks = encoder.passage_chunks(corpus.passages(rows), max_chunk_tokens=times * settings.chunk_tokens)
        return [replace(chunk.to(encoder.device), rows=chunk.rows + (rows.start - shard.start)) for chunk in chunks]

    made = ahead(tokenize, ((shard, rows) for shard, pieces in pieces_of.items() for rows in pieces))
    for shard, pieces in pieces_of.items():
        yield shard, chain.from_iterable(islice(made, len(pieces)))


def _most_at_once(device: torch.device, settings: EncodingSettings) -> int:
    # A CPU has no time to spare while it encodes: there, what is sorted together counts more than who waits for whom.
    return settings.shard_passages if device.type == "cpu" else _PIECE_PASSAGES


def _encode_sparse(encoder: DualEncoder, corpus: Corpus, folder: Path, settings: EncodingSettings) -> Path:
    """Write each shard into a file of its own, and all into one at the end."""

    def write(shard: Path, chunks: Iterable[FeatureChunk], on_chunk: Callable[[int], None]) -> None:
        unfinished = shard.with_suffix(".partial.npz")
        sparse.save_npz(unfinished, embed_sparse(encoder, chunks, settings.precision, on_chunk), compressed=False)
        unfinished.rename(shard)

    shards = _encode_shards(encoder, corpus, folder, settings, write, suffix=".npz")
    whole = sparse.vstack([sparse.load_npz(shard) for shard in shards], format="csr")
    sparse.save_npz(folder / SPARSE_FILE, whole, compressed=False)
    for shard in shards:
        shard.unlink()
    return folder / SPARSE_FILE


def _encode_tokens(encoder: DualEncoder, corpus: Corpus, folder: Path, settings: EncodingSettings) -> Path:
    """Write each shard into files of its own, and all into two at the end."""

    def write(shard: Path, chunks: Iterable[FeatureChunk], on_chunk: Callable[[int], None]) -> None:
        write_shard(shard, token_texts(encoder, chunks, settings.precision, on_chunk))

    return join_shards(_encode_shards(encoder, corpus, folder, settings, write, suffix=".npy"), folder)


def _encode_shards(
    encoder: DualEncoder,
    corpus: Corpus,
    folder: Path,
    settings: EncodingSettings,
    write: Callable[[Path, Iterable[FeatureChunk], Callable[[int], None]], None],
    *,
    suffix: str,
) -> list[Path]:
    """Write the shards that are not there, and return all."""
    shards = _cut(range(len(corpus)), settings.shard_passages)
    # Both ends are named: with another size of shards one that begins alike does not end alike.
    files = {rows: folder / f"shard-{rows.start:010d}-{rows.stop:010d}{suffix}" for rows in shards}
    names = {file.name.removesuffix(suffix) for file in files.values()}
    for file in folder.glob("shard-*"):
        if file.name.partition(".")[0] not in names:
            file.unlink()
    missing = [rows for rows, file in files.items() if not file.is_file()]
    done = len(corpus) - sum(map(len, missing))
    with bar("encode passages", total=len(corpus), unit="passages", done=done) as progress:
        for rows, chunks in _tokenized_shards(encoder, corpus, missing, settings):
            write(files[rows], chunks, lambda count: progress.advance(count))
    return list(files.values())


def index_files(folder: Path) -> list[Path]:
    """List the files that hold the vectors of a corpus, of whichever kind they are."""
    names = (VECTORS_FILE, SCALES_FILE, APPROXIMATE_FILE, SPARSE_FILE, TOKENS_FILE, STARTS_FILE)
    return [folder / name for name in names if (folder / name).is_file()]


def open_index(folder: Path, settings: IndexSettings | None = None) -> Index:
    """Open the vectors of an artifact, of whichever kind they are.

    Args:
        folder: The artifact.
        settings: How an approximate index is searched, where there is one.

    Raises:
        ArtifactError: There are none, or the file is cut.
    """
    if (folder / SPARSE_FILE).is_file():
        return SparseIndex.open(folder)
    if (folder / TOKENS_FILE).is_file():
        return TokenIndex.open(folder)
    if (folder / APPROXIMATE_FILE).is_file():
        return ApproximateIndex.open(folder, settings or IndexSettings())
    return ExactIndex.open(folder)


def reuse_vectors(made: Path, folder: Path) -> None:
    """Put the vectors of one folder into another, with all that belongs to them.

    They are linked and take no more space; where the file system has no links, they are copied.
    """
    for file in index_files(made):
        try:
            os.link(file, folder / file.name)
        except OSError:
            shutil.copyfile(file, folder / file.name)


class DenseRetriever:
    """A student with the vectors it made of a corpus.

    Args:
        encoder: On the device that shall do the work.
        index: Vectors that this encoder made.
        corpus: The passages in the order of the vectors.
        name: What reports call it.
        precision: Of the encoder's matrix products; the search itself is in float32.
    """

    def __init__(
        self,
        encoder: DualEncoder,
        index: Index,
        corpus: Corpus,
        *,
        name: str,
        precision: Precision = "auto",
    ) -> None:
        assert len(index) == len(corpus), "the vectors must be of this corpus"
        self.encoder = encoder
        self.index = index
        self.corpus = corpus
        self.name = name
        self.precision: Precision = precision

    def retrieve(self, questions: Sequence[Question], k: int) -> list[Ranking]:
        """Return the ``k`` nearest passages of each question by the encoder's similarity."""
        chunks = self.encoder.query_chunks([question.text for question in questions])
        if isinstance(self.index, SparseIndex):
            scores, rows = self.index.search(embed_sparse(self.encoder, chunks, self.precision), k)
        else:
            queries = embed(self.encoder, chunks, self.precision).to(self.encoder.device)
            scores, rows = self.index.search(queries, k)
        _warn_if_equal(scores, self.name)
        return [
            Ranking(
                question_id=question.id, passage_ids=tuple(self.corpus.ids(found)), scores=tuple(values[: len(found)])
            )
            for question, found, values in zip(questions, _found(rows), scores.tolist(), strict=True)
        ]


def _found(rows: Tensor) -> list[list[int]]:
    """Leave out the -1 at the end of rows of which fewer were found."""
    return [[row for row in line if row >= 0] for line in rows.tolist()]


def _warn_if_equal(scores: Tensor, name: str) -> None:
    """Say aloud that a student has collapsed: it gives all passages of a question one score, and finds any of them."""
    if scores.shape[1] < 2:
        return
    spread = (scores.max(dim=1).values - scores.min(dim=1).values).abs()
    equal = int((spread <= _EQUAL * scores.abs().max(dim=1).values.clamp_min(_EQUAL)).sum())
    if 2 * equal > len(scores):
        logger.warning(
            "%s has collapsed: it gives all passages it finds the same score for %d of %d questions, so that it finds "
            "any. Lower retriever_training.learning_rate, raise teacher_temperature, or look at the teacher check",
            name,
            equal,
            len(scores),
        )
