"""A cross-encoder as the teacher: a model that reads a question and one passage together and gives one number.

Any sentence-transformers cross-encoder does. Its number is taken before any squashing into 0 to 1, so that differences
at the top are not lost. It needs no answer; it was trained on relevance labels, its own if not ours.
"""

from collections.abc import Iterator, Sequence

import torch
from sentence_transformers import CrossEncoder
from torch import nn

from dogeared.compute import Precision, autocast, default_device
from dogeared.data.readings import Readings
from dogeared.errors import ModelError
from dogeared.models import resolve_model
from dogeared.progress import bar
from dogeared.records import Passage, PassageRelevance

__all__ = ["CrossEncoderTeacher", "load_cross_encoder", "pairs_of"]

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
        self.model = load_cross_encoder(model)
        self.precision: Precision = precision

    def relevance(self, readings: Readings) -> Iterator[PassageRelevance]:
        """Judge the passages of every question, in the order of the questions."""
        with bar("score passages", total=len(readings), unit="questions") as progress:
            for index, question in enumerate(readings.questions):
                pairs = pairs_of(question.text, readings.passages(index))
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


def load_cross_encoder(model: str, *, setting: str = "teacher.model") -> CrossEncoder:
    """Load a cross-encoder onto the device; a plain encoder gets a fresh head, which must be trained.

    Args:
        model: A name on the hub or a folder.
        setting: Where the name stands, for messages.

    Raises:
        ModelError: There is no such model, or it gives more than one number a pair.
    """
    name = resolve_model(model)
    try:
        loaded = CrossEncoder(name, device=str(default_device()), activation_fn=nn.Identity())
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ModelError(
            f"{setting}: expected a cross-encoder that sentence-transformers can load, got {model!r}: {error}. "
            "Give a name on the hub (network needed) or a folder with a saved cross-encoder."
        ) from error
    if loaded.num_labels != 1:
        raise ModelError(
            f"{setting}: expected a cross-encoder with one number a pair, {model!r} gives {loaded.num_labels}; which "
            "of them is the relevance cannot be known. Give a model for ranking."
        )
    return loaded


def pairs_of(question: str, passages: Sequence[Passage]) -> list[tuple[str, str]]:
    """Write a question and its passages as a cross-encoder reads them."""
    return [(question, f"{passage.title} {passage.text}".strip()) for passage in passages]
