"""Train an extractive reader to mark answers in retrieved passages.

A question teaches by all places where one of its answers stands in its passages, all of which compete. Questions whose
passages hold no answer teach nothing and are left out. There is no curriculum, no hint and no decoder with a pace of
its own: an encoder with a span head needs none of them.

Retrieval and relevance are not here, nor is any gold label: which passage holds an answer is decided by its text.
"""

import logging
from dataclasses import replace
from pathlib import Path

from dogeared.data.readings import Readings
from dogeared.errors import TrainingError
from dogeared.evaluation.answers import AnswerMatcher
from dogeared.reader.extractive import ExtractiveBatch, ExtractiveReader
from dogeared.training.checkpoint import TrainingState
from dogeared.training.dev_measure import dev_exact_match
from dogeared.training.loop import items_of_step, train
from dogeared.training.train_reader import ReaderTraining

__all__ = ["train_extractive"]

logger = logging.getLogger(__name__)

_OF_ANOTHER_READER = ("curriculum_steps", "hint_weight", "decoder_pace", "activation_checkpointing")


def train_extractive(
    reader: ExtractiveReader,
    readings: Readings,
    settings: ReaderTraining,
    *,
    seed: int,
    folder: Path,
    dev_readings: Readings | None = None,
) -> TrainingState:
    """Train a reader in place.

    Args:
        reader: A fresh one, from its pretrained start.
        readings: Training questions with passages; those whose passages hold no answer are left out and counted aloud.
        settings: How long and how fast; what is for fresh decoders alone bears on nothing.
        seed: From which the order of questions and dropout follow.
        folder: For checkpoints; an interrupted training goes on from there.
        dev_readings: To choose the best weights on, by exact match, where the settings ask for it.

    Raises:
        TrainingError: No question has a passage that holds an answer.
    """
    others = {name: ReaderTraining.model_fields[name].default for name in _OF_ANOTHER_READER}
    if idle := [f"reader_training.{name}" for name, usual in others.items() if getattr(settings, name) != usual]:
        logger.warning("%s: for readers with a decoder; bears on nothing in an extractive one", " and ".join(idle))
    matcher = AnswerMatcher(reader.language)
    bearing = [
        question
        for index, question in enumerate(readings.questions)
        if (known := question.taught_answers)
        and any(matcher.has_answer(known, passage.text) for passage in readings.passages(index))
    ]
    if left_out := len(readings) - len(bearing):
        logger.warning(
            "%d of %d training questions have no answer that stands in their passages; the reader learns without them",
            left_out,
            len(readings),
        )
    if not bearing and settings.steps:
        raise TrainingError(
            f"an extractive reader learns from answers that stand in passages, and none of the {len(readings)} "
            "training questions has one. Check that answers are worded as in the passages, retrieve more of them, or "
            'set reader.kind = "fusion_in_decoder", which writes answers in its own words.'
        )
    readings = replace(readings, questions=bearing)

    def chosen_of_step(step: int) -> list[int]:
        return items_of_step(step, num_items=len(bearing), items_per_step=settings.questions_per_step, seed=seed)

    def batches_of_step(step: int) -> list[ExtractiveBatch]:
        chosen = chosen_of_step(step)
        size = settings.questions_per_batch or len(chosen)
        return [
            reader.batch(
                [bearing[index].text for index in chosen[start : start + size]],
                [readings.passages(index) for index in chosen[start : start + size]],
                answers=[bearing[index].taught_answers for index in chosen[start : start + size]],
            )
            for start in range(0, len(chosen), size)
        ]

    evaluate = dev_exact_match(
        reader, dev_readings, most=settings.evaluate_questions, precision=settings.precision, language=reader.language
    )
    return train(
        reader,
        batches_of_step,
        settings,
        seed=seed,
        folder=folder,
        name="train reader",
        evaluate=evaluate if settings.evaluate_every_steps else None,
        ids_of_step=lambda step: [bearing[index].id for index in chosen_of_step(step)],
    )
