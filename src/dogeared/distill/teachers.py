"""Who tells the student which passages are useful.

A teacher looks at a question with its passages and gives one relevance a passage. What it gives is written to disk:
the student trains with no teacher in memory.

The teacher here is the paper's: the cross-attention of a trained Fusion-in-Decoder reader, read off a single step of
its decoder. It needs no answer.

Source: Izacard and Grave 2021, section 3.
"""

from collections.abc import Iterator
from typing import Protocol

import torch
from jaxtyping import Float

from dogeared.batching import ReaderBatch
from dogeared.compute import Precision, autocast
from dogeared.data.readings import Readings
from dogeared.distill.relevance import PAPER, Aggregation, passage_relevance
from dogeared.progress import bar
from dogeared.reader.answering import questions_per_batch
from dogeared.reader.cross_attention import record_cross_attention
from dogeared.reader.fid import FusedStates, FusionInDecoder
from dogeared.records import PassageRelevance

__all__ = ["CrossAttention", "Teacher", "fused_relevance"]


class Teacher(Protocol):
    """Whoever can say how useful each passage of a question is."""

    def relevance(self, readings: Readings) -> Iterator[PassageRelevance]:
        """Judge the passages of every question, in the order of the questions."""
        ...


class CrossAttention:
    """The paper's teacher: how much a reader's decoder looks at each passage.

    Args:
        reader: Trained on several passages a question; a reader that never had to choose between passages has no
            opinion worth learning.
        aggregation: How its attention becomes one number a passage; the paper's way by default.
        precision: Of the encoder's matrix products; scores are put together in float32.
    """

    def __init__(
        self, reader: FusionInDecoder, aggregation: Aggregation = PAPER, *, precision: Precision = "auto"
    ) -> None:
        self.reader = reader
        self.aggregation = aggregation
        self.precision: Precision = precision

    def relevance(self, readings: Readings) -> Iterator[PassageRelevance]:
        """Judge the passages of every question, in the order of the questions."""
        self.reader.eval()
        with bar("score passages", total=len(readings), unit="questions") as progress:
            for part in readings.batches(questions_per_batch(self.reader.settings)):
                texts = [readings.questions[i].text for i in part]
                values = self.of_batch(self.reader.batch(texts, [readings.passages(i) for i in part])).tolist()
                for index, row in zip(part, values, strict=True):
                    ids = readings.passage_ids(index)
                    yield PassageRelevance(
                        question_id=readings.questions[index].id, passage_ids=ids, relevance=tuple(row[: len(ids)])
                    )
                progress.advance(len(part))

    @torch.inference_mode()
    def of_batch(self, batch: ReaderBatch) -> torch.Tensor:
        """Return the relevance of the passages of one batch, one row a question, minus infinity where there is none."""
        with autocast(self.precision, self.reader.device):
            return fused_relevance(self.reader, self.reader.fuse(batch), self.aggregation)


def fused_relevance(
    reader: FusionInDecoder, fused: FusedStates, aggregation: Aggregation = PAPER
) -> Float[torch.Tensor, "batch passages"]:
    """Return the relevance of passages that are encoded already, as whoever also generates from them wants it.

    Args:
        reader: In evaluation mode; one thread at a time may use it.
        fused: Its states.
        aggregation: How its attention becomes one number a passage.

    Returns:
        One row a question, minus infinity where it has fewer passages than another; on the CPU.
    """
    with record_cross_attention(reader.model) as record:
        reader.first_step(fused)
    num_passages = int(fused.num_passages.max())
    return passage_relevance(
        record.scores(), fused.passage_of_token, num_passages=num_passages, aggregation=aggregation
    ).cpu()
