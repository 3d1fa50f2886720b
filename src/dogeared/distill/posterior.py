"""The extractive reader as the teacher: how likely each passage holds the answer.

Its relevance is the logarithm of the passage's share in the likelihood of all spans, over all passages of the question.
It needs no answer. A softmax over it at teacher temperature 1 is the posterior itself.

Source: Yang and Seo, "Is Retriever Merely an Approximator of Reader?", 2020 (distilling a span reader into a
retriever); there the reader has a head of its own that chooses among passages, here the spans themselves say it.
"""

from collections.abc import Iterator

import torch

from dogeared.compute import Precision, autocast
from dogeared.data.readings import Readings
from dogeared.progress import bar
from dogeared.reader.answering import question_batches
from dogeared.reader.extractive import ExtractiveReader
from dogeared.records import PassageRelevance

__all__ = ["PassagePosterior"]


class PassagePosterior:
    """Judges each passage by the likelihood of its spans.

    Args:
        reader: Trained on several passages a question.
        precision: Of the encoder's matrix products; likelihoods are put together in float32.
    """

    def __init__(self, reader: ExtractiveReader, *, precision: Precision = "auto") -> None:
        self.reader = reader
        self.precision: Precision = precision

    def relevance(self, readings: Readings) -> Iterator[PassageRelevance]:
        """Judge the passages of every question, in the order of the questions."""
        self.reader.eval()
        with bar("score passages", total=len(readings), unit="questions") as progress:
            for part in question_batches(self.reader, readings):
                batch = self.reader.batch(
                    [readings.questions[i].text for i in part], [readings.passages(i) for i in part]
                )
                with torch.inference_mode(), autocast(self.precision, self.reader.device):
                    values = self.reader.log_posterior(self.reader.scores(batch), batch).tolist()
                for index, row in zip(part, values, strict=True):
                    ids = readings.passage_ids(index)
                    yield PassageRelevance(
                        question_id=readings.questions[index].id, passage_ids=ids, relevance=tuple(row[: len(ids)])
                    )
                progress.advance(len(part))
