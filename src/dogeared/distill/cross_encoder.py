"""A cross-encoder as the teacher: a model that reads a question and one passage together and gives one number.

Any sentence-transformers cross-encoder does. Its number is taken before any squashing into 0 to 1, so that differences
at the top are not lost. It needs no answer; it was trained on relevance labels, its own if not ours.
"""

from collections.abc import Iterator

import torch
from sentence_transformers import CrossEncoder
from torch import nn

from dogeared.compute import Precision, autocast, default_device
from dogeared.data.readings import Readings
from dogeared.errors import ModelError
from dogeared.models import resolve_model
from dogeared.progress import bar
from dogeared.records import PassageRelevance

__all__ = ["CrossEncoderTeacher"]

_PAIRS_AT_ONCE = 64


class CrossEncoderTeacher:
    """Judges each passage by a cross-encoder's score.

    Args:
        model: A name on the hub or a folder.
        precision: Of the matrix products.

    Raises:
        ModelError: There is no such model, or it gives more than one number a pair.
    """

    def __init__(self, model: str, *, precision: Precision = "auto") -> None:
        name = resolve_model(model)
        try:
            self.model = CrossEncoder(name, device=str(default_device()), activation_fn=nn.Identity())
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ModelError(
                f"teacher.model: expected a cross-encoder that sentence-transformers can load, got {model!r}: {error}. "
                "Give a name on the hub (network needed) or a folder with a saved cross-encoder."
            ) from error
        if self.model.num_labels != 1:
            raise ModelError(
                f"teacher.model: expected a cross-encoder with one number a pair, {model!r} gives "
                f"{self.model.num_labels}; which of them is the relevance cannot be known. Give a model for ranking."
            )
        self.precision: Precision = precision

    def relevance(self, readings: Readings) -> Iterator[PassageRelevance]:
        """Judge the passages of every question, in the order of the questions."""
        with bar("score passages", total=len(readings), unit="questions") as progress:
            for index, question in enumerate(readings.questions):
                pairs = [
                    (question.text, f"{passage.title} {passage.text}".strip()) for passage in readings.passages(index)
                ]
                yield PassageRelevance(
                    question_id=question.id, passage_ids=readings.passage_ids(index), relevance=self._scores(pairs)
                )
                progress.advance(1)

    def _scores(self, pairs: list[tuple[str, str]]) -> tuple[float, ...]:
        if not pairs:
            return ()
        with torch.inference_mode(), autocast(self.precision, self.model.device):
            scores = self.model.predict(
                pairs, batch_size=_PAIRS_AT_ONCE, show_progress_bar=False, convert_to_tensor=True
            )
        return tuple(scores.double().tolist())
