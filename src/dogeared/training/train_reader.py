"""Train a Fusion-in-Decoder reader to answer from retrieved passages.

The target of a question is the one that its file names, or else one of its answers, drawn anew each time it is seen. A
curriculum can come first: few and short passages, one of which holds the answer. For readers whose decoder is fresh
there is a hint besides (``span_hint.py``).

Retrieval and relevance are not here, nor is any gold label: which passage holds an answer is decided by its text.

Source: Izacard and Grave, EACL 2021; curriculum and hint are ours (docs/log.md tells why).
"""

import logging
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from pydantic import Field

from dogeared.batching import ReaderBatch
from dogeared.data.readings import Readings
from dogeared.data.windows import cut_words
from dogeared.errors import TrainingError
from dogeared.evaluation.answers import AnswerMatcher, Language, answer_spans
from dogeared.progress import bar
from dogeared.reader.fid import FusionInDecoder
from dogeared.records import Passage
from dogeared.training.checkpoint import TrainingState
from dogeared.training.dev_measure import dev_exact_match
from dogeared.training.loop import LoopSettings, items_of_step, seed_of, train
from dogeared.training.span_hint import HintedBatch, HintedReader, hinted_batches

__all__ = ["ReaderTraining", "train_reader"]

logger = logging.getLogger(__name__)


class ReaderTraining(LoopSettings):
    """How the reader of a round is trained."""

    curriculum_steps: int = Field(default=0, ge=0)
    """The first steps of all: on questions with a passage whose text holds an answer, and with that passage. Small or
    fresh decoders do not learn to copy without it; ready-trained ones need none."""
    curriculum_passages: int = Field(default=1, ge=1)
    """How many passages a question has in these steps: the one that holds an answer, and others from its ranking, in
    any order."""
    curriculum_words: int = Field(default=0, ge=0)
    """To how many words passages are cut in these steps, around the answer where they hold one; not at all where 0."""
    hint_weight: float = Field(default=0.0, ge=0)
    """Of a second loss, by which the encoder learns to mark where answers stand; 0 for none. About 1 for a reader whose
    decoder is fresh."""
    decoder_pace: float = Field(default=1.0, gt=0)
    """How many times faster than the rest the decoder learns; more than 1 for one that is fresh."""
    activation_checkpointing: bool = Field(default=False, exclude_if=lambda chosen: not chosen)
    """Compute the encoder's activations anew for the backward pass instead of keeping them: a third more time, and
    memory for about 4,000 tokens on a CPU (16,000 elsewhere) in place of all that a batch has."""
    evaluate_questions: int = Field(default=200, ge=1)
    """How many dev questions a measure during training takes."""


def train_reader(
    reader: FusionInDecoder,
    readings: Readings,
    settings: ReaderTraining,
    *,
    seed: int,
    folder: Path,
    language: Language = "en",
    dev_readings: Readings | None = None,
) -> TrainingState:
    """Train a reader in place.

    Args:
        reader: A fresh one, from its pretrained start.
        readings: Training questions with passages; questions without answers are left out and counted aloud.
        settings: How long and how fast.
        seed: From which the order of questions, the choice of answers and dropout follow.
        folder: For checkpoints; an interrupted training goes on from there.
        language: How answers are compared and found in passages.
        dev_readings: To choose the best weights on, by exact match, where the settings ask for it.

    Raises:
        TrainingError: No question has an answer, or the curriculum finds no passage that holds one.
    """
    answerable = [question for question in readings.questions if question.taught_answers]
    if left_out := len(readings) - len(answerable):
        logger.warning(
            "%d of %d training questions have no answer; the reader learns without them", left_out, len(readings)
        )
    if not answerable and settings.steps:
        raise TrainingError(
            f"a reader learns from answers, and none of the {len(readings)} training questions has one. "
            "Give answers for some of them, or start from a reader that is trained already (reader_training.steps = 0)."
        )
    readings = replace(readings, questions=answerable)
    source = _Source(reader, readings, settings, seed=seed, language=language)
    reader.encodes_twice = settings.activation_checkpointing

    evaluate = dev_exact_match(
        reader, dev_readings, most=settings.evaluate_questions, precision=settings.precision, language=language
    )
    learning = HintedReader(reader, settings.hint_weight) if settings.hint_weight else reader
    decoder = next(name for name, part in learning.named_modules() if part is reader.model.get_decoder())
    return train(
        learning,
        source.batches_of_step,
        settings,
        seed=seed,
        folder=folder,
        name="train reader",
        evaluate=evaluate if settings.evaluate_every_steps else None,
        paces={decoder: settings.decoder_pace, "pointer": 5.0},
        ids_of_step=source.ids_of_step,
    )


class _Source:
    """Makes the batches of a step, from nothing but the step and the seed."""

    def __init__(
        self, reader: FusionInDecoder, readings: Readings, settings: ReaderTraining, *, seed: int, language: Language
    ) -> None:
        self.reader = reader
        self.readings = readings
        self.settings = settings
        self.seed = seed
        self.language: Language = language
        # The curriculum's questions: those with passages that hold an answer, and which passages these are.
        self.bearing = _answer_bearing(readings, language) if settings.curriculum_steps else {}
        if settings.curriculum_steps and not self.bearing:
            raise TrainingError(
                f"the curriculum wants passages that hold an answer, and no ranking of the {len(readings)} training "
                "questions has one. Check that answers are worded as in the passages, retrieve more of them, or set "
                "reader_training.curriculum_steps = 0."
            )

    def ids_of_step(self, step: int) -> list[str]:
        return [self.readings.questions[index].id for index in self._chosen(step)]

    def batches_of_step(self, step: int) -> list[ReaderBatch] | list[HintedBatch]:
        chosen = self._chosen(step)
        draw = random.Random(seed_of(self.seed, "draw", step))
        answers = [draw.choice(self.readings.questions[index].taught_answers) for index in chosen]
        passages = [self._passages(index, step, draw) for index in chosen]
        size = self.settings.questions_per_batch or len(chosen)
        parts = [slice(start, start + size) for start in range(0, len(chosen), size)]
        batches = [
            self.reader.batch(
                [self.readings.questions[index].text for index in chosen[part]],
                passages[part],
                answers=answers[part],
                device=torch.device("cpu"),  # where hints are looked for; the loop moves it
            )
            for part in parts
        ]
        if not self.settings.hint_weight:
            return batches
        taught = [self.readings.questions[index].taught_answers for index in chosen]
        return hinted_batches(batches, self.reader.tokenizer, [taught[part] for part in parts])

    def _chosen(self, step: int) -> list[int]:
        if step >= self.settings.curriculum_steps:
            return self._items(step - self.settings.curriculum_steps, len(self.readings))
        pool = list(self.bearing)
        return [pool[item] for item in self._items(step, len(pool))]

    def _items(self, step: int, num_items: int) -> list[int]:
        return items_of_step(step, num_items=num_items, items_per_step=self.settings.questions_per_step, seed=self.seed)

    def _passages(self, index: int, step: int, draw: random.Random) -> list[Passage]:
        passages = self.readings.passages(index)
        if step >= self.settings.curriculum_steps:
            return passages
        bearing = passages.pop(draw.choice(self.bearing[index]))
        others = draw.sample(passages, min(len(passages), self.settings.curriculum_passages - 1))
        shown = draw.sample([bearing, *others], len(others) + 1)
        if not self.settings.curriculum_words:
            return shown
        return [self._cut(passage, self.readings.questions[index].taught_answers, draw) for passage in shown]

    def _cut(self, passage: Passage, answers: Sequence[str], draw: random.Random) -> Passage:
        spans = answer_spans(answers, passage.text, self.language)
        around = draw.choice(spans) if spans else None
        return replace(passage, text=cut_words(passage.text, self.settings.curriculum_words, draw, around=around))


def _answer_bearing(readings: Readings, language: Language) -> dict[int, list[int]]:
    """For each question that has any: the places of its passages whose text holds an answer."""
    bearing: dict[int, list[int]] = {}
    matcher = AnswerMatcher(language)
    with bar("find passages with answers", total=len(readings), unit="questions") as progress:
        for index, question in enumerate(readings.questions):
            places = [
                place
                for place, passage in enumerate(readings.passages(index))
                if matcher.has_answer(question.taught_answers, passage.text)
            ]
            if places:
                bearing[index] = places
            progress.advance()
    return bearing
