"""Teach a fresh reader to find and to copy, from the passages alone, before it sees its first question.

Each step draws passages of the corpus, leaves some words out of one of them and asks for these words among several
passages (``data/gaps.py``). The texts are short first and grow. No question, no answer and no relevance is looked at.

Not here: learning to answer questions that are worded otherwise than the text; that is ``train_reader.py``.
"""

import random
from pathlib import Path

from pydantic import Field

from dogeared.batching import ReaderBatch
from dogeared.data.corpus import Corpus
from dogeared.data.gaps import Gap, draw_gap
from dogeared.errors import TrainingError
from dogeared.reader.fid import FusionInDecoder
from dogeared.training.checkpoint import TrainingState
from dogeared.training.loop import LoopSettings, seed_of, train

__all__ = ["ReaderPretraining", "pretrain_reader"]

_MOST_TRIES = 100


class ReaderPretraining(LoopSettings):
    """How a fresh reader learns to find and to copy."""

    steps: int = Field(default=300, ge=0)
    """Optimizer updates."""
    questions_per_step: int = Field(default=48, ge=1)
    """Gaps whose gradients make one update."""
    num_passages: int = Field(default=2, ge=2)
    """Among how many passages to find the words; never one, or the reader would not learn to look at the question."""
    first_words: int = Field(default=14, ge=12)
    """To how many words passages are cut in the first step."""
    last_words: int = Field(default=14, ge=12)
    """To how many they are cut in the last step; it grows in between."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Of the encoder, at the end of the warm-up."""
    decoder_pace: float = Field(default=5.0, gt=0)
    """How many times faster than the encoder the decoder learns."""


def pretrain_reader(
    reader: FusionInDecoder, corpus: Corpus, settings: ReaderPretraining, *, seed: int, folder: Path
) -> TrainingState:
    """Train a reader in place.

    Args:
        reader: A fresh one.
        corpus: Any text in the language of the questions to come.
        settings: How long and how fast.
        seed: From which passages, gaps and dropout follow.
        folder: For checkpoints; an interrupted training goes on from there.

    Raises:
        TrainingError: The passages are too few, or too short to leave words out.
    """
    if len(corpus) < settings.num_passages:
        raise TrainingError(
            f"a reader learns to choose between passages: expected {settings.num_passages} or more, got {len(corpus)}"
        )

    def gaps_of_step(step: int) -> list[Gap]:
        draw = random.Random(seed_of(seed, "gaps", step))
        growth = step / max(1, settings.steps - 1)
        num_words = round(settings.first_words + (settings.last_words - settings.first_words) * growth)
        return [_gap(corpus, settings.num_passages, num_words, draw) for _ in range(settings.questions_per_step)]

    def batches_of_step(step: int) -> list[ReaderBatch]:
        gaps = gaps_of_step(step)
        size = settings.questions_per_batch or len(gaps)
        return [
            reader.batch(
                [gap.question for gap in gaps[start : start + size]],
                [gap.passages for gap in gaps[start : start + size]],
                answers=[gap.answer for gap in gaps[start : start + size]],
            )
            for start in range(0, len(gaps), size)
        ]

    return train(
        reader,
        batches_of_step,
        settings,
        seed=seed,
        folder=folder,
        name="pretrain reader",
        paces={"model.decoder": settings.decoder_pace},
        ids_of_step=lambda step: [f"a gap in passage {gap.source}" for gap in gaps_of_step(step)],
    )


def _gap(corpus: Corpus, num_passages: int, num_words: int, draw: random.Random) -> Gap:
    for _ in range(_MOST_TRIES):
        gap = draw_gap(corpus.passages(draw.sample(range(len(corpus)), num_passages)), num_words=num_words, draw=draw)
        if gap is not None:
            return gap
    raise TrainingError(
        f"expected passages of a dozen words and more to leave some out; {_MOST_TRIES} passages in a row were shorter"
    )
