"""Encode a corpus with the student, and retrieve with it.

Encoding writes shard after shard into one memory-mapped file; an interrupted run goes on at the first shard that is
not finished. A ``DenseRetriever`` is an encoder and an index that belong together. How either works inside is not
here.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from dogeared.artifacts import write_atomically
from dogeared.compute import Precision, autocast
from dogeared.data.corpus import Corpus
from dogeared.progress import bar
from dogeared.records import Question, Ranking
from dogeared.retrieval.dual_encoder import DualEncoder, FeatureChunk
from dogeared.retrieval.index import VECTORS_FILE, ExactIndex
from dogeared.settings import Settings

__all__ = ["DenseRetriever", "EncodingSettings", "encode_corpus"]

_DONE_FILE = "encoded.json"


class EncodingSettings(Settings):
    """How a corpus is encoded."""

    precision: Precision = "auto"
    """Of the encoder's matrix products."""
    shard_passages: int = Field(default=16_384, ge=1)
    """How many passages a crash may cost; sorted by length within a shard, so larger is a little faster."""
    chunk_tokens: int = Field(default=16_384, ge=1)
    """Tokens encoded at once."""


def encode_corpus(encoder: DualEncoder, corpus: Corpus, folder: Path, settings: EncodingSettings) -> None:
    """Write the vectors of all passages, in the order of the corpus, into ``folder``; go on where it stopped.

    Args:
        encoder: On the device that shall do the work.
        corpus: What to encode.
        folder: Exists; may hold the finished shards of an interrupted run with the same encoder.
        settings: Shards and precision.
    """
    file, done_file = folder / VECTORS_FILE, folder / _DONE_FILE
    done = json.loads(done_file.read_text(encoding="utf-8"))["passages"] if done_file.is_file() else 0
    shape = (len(corpus), encoder.dim)
    vectors = np.lib.format.open_memmap(
        file, mode="r+" if done else "w+", dtype=np.float32, shape=None if done else shape
    )
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
        self, encoder: DualEncoder, index: ExactIndex, corpus: Corpus, *, name: str, precision: Precision = "auto"
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
        queries = _embed(self.encoder, chunks, self.precision).to(self.encoder.device)
        scores, rows = self.index.search(queries, k)
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
    encoder.eval()
    parts = []
    for chunk in chunks:
        with autocast(precision, encoder.device):
            moved = chunk.to(encoder.device)
            vectors = encoder.model(dict(moved.features))["sentence_embedding"]
        parts.append(vectors.float().cpu())
        on_chunk(len(chunk.rows))
    order = torch.cat([chunk.rows for chunk in chunks]) if chunks else torch.empty(0, dtype=torch.long)
    stacked = torch.cat(parts) if parts else torch.empty(0, encoder.dim)
    return torch.empty_like(stacked).index_copy(0, order, stacked)
