"""Train the student on relevance that a teacher left on disk.

The student scores each question against its own passages, and learns to make the softmax of its scores that of the
teacher. No reader is in memory, and no import leads to one. Other questions' passages play no part: one softmax covers
exactly one question.

Source: Izacard and Grave 2021, section 3 (equation 5 and algorithm of section 3.3).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from dogeared.batching import Movable
from dogeared.data.corpus import Corpus
from dogeared.distill.losses import Reduction, kl_divergence
from dogeared.errors import TrainingError
from dogeared.records import PassageRelevance, Question
from dogeared.retrieval.dual_encoder import DualEncoder, FeatureChunk
from dogeared.training.checkpoint import TrainingState
from dogeared.training.loop import LoopSettings, items_of_step, train

__all__ = ["DistillationBatch", "RetrieverTraining", "Student", "distillation_batch", "train_retriever"]

logger = logging.getLogger(__name__)

COSINE_TEMPERATURE = 0.05
"""A cosine lies between -1 and 1: at temperature 1 its softmax is flat whatever the student does, and nothing is
learned."""


class RetrieverTraining(LoopSettings):
    """How the student is trained in a round."""

    num_passages: int = Field(default=100, ge=2)
    """How many passages of one question the teacher scores and the softmax covers, from the top of the ranking."""
    teacher_temperature: float = Field(default=1.0, gt=0)
    """The teacher's relevance is divided by it before the softmax; higher makes the teacher less sure."""
    student_temperature: float | None = Field(default=None, gt=0)
    """The student's score is divided by it; by default 1 for dot products and 0.05 for cosines."""
    reduction: Reduction = "batch_mean"
    """Whether the divergence is also divided by the number of passages, as in the reference implementation."""


@dataclass(frozen=True, kw_only=True)
class DistillationBatch(Movable):
    """Several questions with passages and what a teacher said of them.

    Attributes:
        queries: The questions, tokenized.
        passages: The passages of all questions, each question's one after the other, tokenized.
        slots: Where each of them belongs in the flattened ``batch * passages``.
        relevance: The teacher's; minus infinity where a question has fewer passages than another.
    """

    queries: tuple[FeatureChunk, ...]
    passages: tuple[FeatureChunk, ...]
    slots: Int[Tensor, " rows"]
    relevance: Float[Tensor, "batch passages"]

    @property
    def weight(self) -> int:
        """The number of questions: the share of this batch in the mean loss of a step."""
        return self.relevance.shape[0]


class Student(nn.Module):
    """A dual encoder together with the loss it learns by.

    Args:
        encoder: Trained in place.
        settings: Temperatures and reduction.
    """

    def __init__(self, encoder: DualEncoder, settings: RetrieverTraining) -> None:
        super().__init__()
        self.encoder = encoder
        self.settings = settings
        self.temperature = settings.student_temperature or (COSINE_TEMPERATURE if encoder.is_cosine else 1.0)

    def score(self, batch: DistillationBatch) -> Float[Tensor, "batch passages"]:
        """Score each question against its own passages; 0 where there is none."""
        queries = self.encoder.embed(batch.queries)
        found = self.encoder.embed(batch.passages)
        num_questions, num_passages = batch.relevance.shape
        grid = found.new_zeros(num_questions * num_passages, found.shape[1]).index_copy(0, batch.slots, found)
        return self.encoder.score(queries, grid.view(num_questions, num_passages, -1))

    def forward(self, batch: DistillationBatch) -> Float[Tensor, ""]:
        """Return the divergence from teacher to student, averaged over questions."""
        return kl_divergence(
            self.score(batch),
            batch.relevance,
            student_temperature=self.temperature,
            teacher_temperature=self.settings.teacher_temperature,
            reduction=self.settings.reduction,
        )


def train_retriever(
    encoder: DualEncoder,
    questions: Sequence[Question],
    relevance: Mapping[str, PassageRelevance],
    corpus: Corpus,
    settings: RetrieverTraining,
    *,
    seed: int,
    folder: Path,
) -> TrainingState:
    """Train a student in place.

    Args:
        encoder: Goes on from where it stands.
        questions: Training questions; answers and gold ids are not looked at.
        relevance: What the teacher said, by question id.
        corpus: Where the passages are.
        settings: How long, how fast, how sharp.
        seed: From which the order of questions and dropout follow.
        folder: For checkpoints; an interrupted training goes on from there.

    Raises:
        TrainingError: No question has two passages to choose between.
    """
    taught = [question for question in questions if len(relevance[question.id].passage_ids) >= 2]
    if left_out := len(questions) - len(taught):
        logger.warning(
            "%d of %d training questions have fewer than two passages and teach nothing", left_out, len(questions)
        )
    if not taught and settings.steps:
        raise TrainingError(
            "distillation wants questions with two passages or more, for a softmax over one passage is constant and "
            f"teaches nothing; none of the {len(questions)} training questions has them. Retrieve more passages."
        )

    def batches_of_step(step: int) -> list[DistillationBatch]:
        chosen = items_of_step(step, num_items=len(taught), items_per_step=settings.questions_per_step, seed=seed)
        size = settings.questions_per_batch or len(chosen)
        return [
            distillation_batch(
                encoder, [taught[index] for index in chosen[start : start + size]], relevance, corpus, settings
            )
            for start in range(0, len(chosen), size)
        ]

    student = Student(encoder, settings)
    return train(student, batches_of_step, settings, seed=seed, folder=folder, name="train retriever")


def distillation_batch(
    encoder: DualEncoder,
    questions: Sequence[Question],
    relevance: Mapping[str, PassageRelevance],
    corpus: Corpus,
    settings: RetrieverTraining,
) -> DistillationBatch:
    """Tokenize questions and passages and lay out which belong together."""
    judged = [relevance[question.id] for question in questions]
    counts = [min(len(item.passage_ids), settings.num_passages) for item in judged]
    width = max(counts)
    grid = torch.full((len(questions), width), -torch.inf)
    for row, (item, count) in enumerate(zip(judged, counts, strict=True)):
        grid[row, :count] = torch.tensor(item.relevance[:count])
    ids = [passage_id for item, count in zip(judged, counts, strict=True) for passage_id in item.passage_ids[:count]]
    return DistillationBatch(
        queries=encoder.query_chunks([question.text for question in questions]),
        passages=encoder.passage_chunks(corpus.passages(corpus.rows_of(ids))),
        slots=(~torch.isneginf(grid)).flatten().nonzero().squeeze(1),
        relevance=grid,
    )
