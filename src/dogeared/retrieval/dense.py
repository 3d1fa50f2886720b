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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor

from dogeared.compute import Precision, autocast
from dogeared.data.corpus import Corpus
from dogeared.progress import bar
from dogeared.records import Question, Ranking
from dogeared.retrieval.dual_encoder import DualEncoder, FeatureChunk
from dogeared.retrieval.index import VECTORS_FILE, ExactIndex
from dogeared.retrieval.late_interaction import cat_texts, real_tokens
from dogeared.retrieval.sparse_index import SPARSE_FILE, SparseIndex, sparse_rows
from dogeared.retrieval.token_index import STARTS_FILE, TOKENS_FILE, TokenIndex, join_shards, write_shard
from dogeared.settings import Settings
from dogeared.storage import reserve, write_atomically

__all__ = ["DenseRetriever", "EncodingSettings", "Index", "encode_corpus", "index_files", "open_index", "reuse_vectors"]

Index = ExactIndex | SparseIndex | TokenIndex

logger = logging.getLogger(__name__)

_EQUAL = 1e-6
"""Scores that differ by less than this share are one score, but for rounding."""

_DONE_FILE = "encoded.json"


class EncodingSettings(Settings):
    """How a corpus is encoded."""

    precision: Precision = "auto"
    """Of the encoder's matrix products."""
    shard_passages: int = Field(default=16_384, ge=1)
    """How many passages a crash may cost; sorted by length within a shard, so larger is a little faster."""
    chunk_tokens: int = Field(default=16_384, ge=1)
    """Tokens encoded at once."""


def encode_corpus(encoder: DualEncoder, corpus: Corpus, folder: Path, settings: EncodingSettings) -> Path:
    """Write the vectors of all passages, in the order of the corpus, into ``folder``; go on where it stopped.

    Args:
        encoder: On the device that shall do the work.
        corpus: What to encode.
        folder: Exists; may hold the finished shards of an interrupted run with the same encoder.
        settings: Shards and precision.

    Returns:
        The file with the vectors.
    """
    if encoder.is_sparse:
        return _encode_sparse(encoder, corpus, folder, settings)
    if encoder.is_multi:
        return _encode_tokens(encoder, corpus, folder, settings)
    file, done_file = folder / VECTORS_FILE, folder / _DONE_FILE
    done = json.loads(done_file.read_text(encoding="utf-8"))["passages"] if done_file.is_file() else 0
    shape = (len(corpus), encoder.dim)
    vectors = np.lib.format.open_memmap(
        file, mode="r+" if done else "w+", dtype=np.float32, shape=None if done else shape
    )
    # It is written through memory: a disk that fills up under it would end the process without a word.
    reserve(file, file.stat().st_size)
    encoder.eval()
    with bar("encode passages", total=len(corpus), unit="passages", done=done) as progress:
        for start in range(done, len(corpus), settings.shard_passages):
            rows = range(start, min(start + settings.shard_passages, len(corpus)))
            chunks = encoder.passage_chunks(corpus.passages(rows), max_chunk_tokens=settings.chunk_tokens)
            vectors[rows.start : rows.stop] = _embed(
                encoder, chunks, settings.precision, on_chunk=lambda count: progress.advance(count)
            ).numpy()
            vectors.flush()
            write_atomically(done_file, json.dumps({"passages": rows.stop}))
    del vectors
    done_file.unlink(missing_ok=True)
    return file


def _encode_sparse(encoder: DualEncoder, corpus: Corpus, folder: Path, settings: EncodingSettings) -> Path:
    """Write each shard into a file of its own, and all into one at the end."""

    def write(shard: Path, chunks: Sequence[FeatureChunk], on_chunk: Callable[[int], None]) -> None:
        unfinished = shard.with_suffix(".partial.npz")
        sparse.save_npz(unfinished, _embed_sparse(encoder, chunks, settings.precision, on_chunk), compressed=False)
        unfinished.rename(shard)

    shards = _encode_shards(encoder, corpus, folder, settings, write, suffix=".npz")
    whole = sparse.vstack([sparse.load_npz(shard) for shard in shards], format="csr")
    sparse.save_npz(folder / SPARSE_FILE, whole, compressed=False)
    for shard in shards:
        shard.unlink()
    return folder / SPARSE_FILE


@torch.inference_mode()
def _encode_tokens(encoder: DualEncoder, corpus: Corpus, folder: Path, settings: EncodingSettings) -> Path:
    """Write each shard into files of its own, and all into two at the end."""

    def write(shard: Path, chunks: Sequence[FeatureChunk], on_chunk: Callable[[int], None]) -> None:
        texts: list[np.ndarray] = []
        for vectors in _vectors_of_chunks(encoder, chunks, settings.precision, on_chunk):
            texts += [text[mask].cpu().numpy() for text, mask in zip(vectors, real_tokens(vectors), strict=True)]
        write_shard(shard, [texts[place] for place in _order(chunks).argsort().tolist()])

    return join_shards(_encode_shards(encoder, corpus, folder, settings, write, suffix=".npy"), folder)


def _encode_shards(
    encoder: DualEncoder,
    corpus: Corpus,
    folder: Path,
    settings: EncodingSettings,
    write: Callable[[Path, Sequence[FeatureChunk], Callable[[int], None]], None],
    *,
    suffix: str,
) -> list[Path]:
    """Write the shards that are not there, and return all."""
    starts = range(0, len(corpus), settings.shard_passages)
    shards = [folder / f"shard-{start:010d}{suffix}" for start in starts]
    done = sum(settings.shard_passages for shard in shards if shard.is_file())
    with bar("encode passages", total=len(corpus), unit="passages", done=min(done, len(corpus))) as progress:
        for start, shard in zip(starts, shards, strict=True):
            if shard.is_file():
                continue
            rows = range(start, min(start + settings.shard_passages, len(corpus)))
            chunks = encoder.passage_chunks(corpus.passages(rows), max_chunk_tokens=settings.chunk_tokens)
            write(shard, chunks, lambda count: progress.advance(count))
    return shards


def index_files(folder: Path) -> list[Path]:
    """List the files that hold the vectors of a corpus, of whichever kind they are."""
    names = (VECTORS_FILE, SPARSE_FILE, TOKENS_FILE, STARTS_FILE)
    return [folder / name for name in names if (folder / name).is_file()]


def open_index(folder: Path) -> Index:
    """Open the vectors of an artifact, of whichever kind they are.

    Raises:
        ArtifactError: There are none, or the file is cut.
    """
    if (folder / SPARSE_FILE).is_file():
        return SparseIndex.open(folder)
    return TokenIndex.open(folder) if (folder / TOKENS_FILE).is_file() else ExactIndex.open(folder)


def reuse_vectors(made: Path, folder: Path) -> None:
    """Put the vectors of one folder into another, for a student that encodes passages as the one that made them did.

    They are linked and take no more space; where the file system has no links, they are copied.
    """
    try:
        os.link(made / VECTORS_FILE, folder / VECTORS_FILE)
    except OSError:
        shutil.copyfile(made / VECTORS_FILE, folder / VECTORS_FILE)


class DenseRetriever:
    """A student with the vectors it made of a corpus.

    Args:
        encoder: On the device that shall do the work.
        index: Vectors that this encoder made.
        corpus: The passages in the order of the vectors.
        name: What reports call it.
        precision: Of the encoder's matrix products; the search itself is exact in float32.
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
            scores, rows = self.index.search(_embed_sparse(self.encoder, chunks, self.precision), k)
        else:
            queries = _embed(self.encoder, chunks, self.precision).to(self.encoder.device)
            scores, rows = self.index.search(queries, k)
        _warn_if_equal(scores, self.name)
        return [
            Ranking(question_id=question.id, passage_ids=tuple(self.corpus.ids(found)), scores=tuple(values))
            for question, found, values in zip(questions, rows.tolist(), scores.tolist(), strict=True)
        ]


@torch.inference_mode()
def _embed(
    encoder: DualEncoder,
    chunks: Sequence[FeatureChunk],
    precision: Precision,
    on_chunk: Callable[[int], None] = lambda count: None,
) -> Tensor:
    """Encode chunk after chunk, so that only the vectors of one are on the device; the result is on the CPU."""
    parts = [vectors.cpu() for vectors in _vectors_of_chunks(encoder, chunks, precision, on_chunk)]
    order = _order(chunks)
    nothing = torch.empty(0, 0, encoder.dim) if encoder.is_multi else torch.empty(0, encoder.dim)
    stacked = cat_texts(parts) if parts else nothing
    return torch.empty_like(stacked).index_copy(0, order, stacked)


@torch.inference_mode()
def _embed_sparse(
    encoder: DualEncoder,
    chunks: Sequence[FeatureChunk],
    precision: Precision,
    on_chunk: Callable[[int], None] = lambda count: None,
) -> sparse.csr_array:
    """Encode chunk after chunk, and keep what is not 0."""
    parts = [sparse_rows(vectors) for vectors in _vectors_of_chunks(encoder, chunks, precision, on_chunk)]
    if not parts:
        return sparse.csr_array((0, encoder.dim), dtype=np.float32)
    return sparse.csr_array(sparse.vstack(parts, format="csr"))[_order(chunks).argsort().numpy()]


def _vectors_of_chunks(
    encoder: DualEncoder, chunks: Sequence[FeatureChunk], precision: Precision, on_chunk: Callable[[int], None]
) -> Iterator[Tensor]:
    encoder.eval()
    with autocast(precision, encoder.device):
        weights = encoder.rounded_weights()
    for chunk in chunks:
        with autocast(precision, encoder.device):
            vectors = encoder.encode(chunk.to(encoder.device).features, weights).float()
        yield vectors
        on_chunk(len(chunk.rows))


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


def _order(chunks: Sequence[FeatureChunk]) -> Tensor:
    """Return which text each vector is of."""
    return torch.cat([chunk.rows for chunk in chunks]) if chunks else torch.empty(0, dtype=torch.long)
