"""Train a cross-encoder to judge passages as a teacher did: a re-ranker from the reader, with no relevance labels.

It reads a question and a passage together, which a retriever cannot, and costs one pass a pair where it is used. What
it learns from lies on disk, as for the student; the losses are the student's.

Not here: what the teacher is, and where a re-ranker stands in a run.

Source: a cross-encoder for ranking, Nogueira and Cho 2019 (arXiv 1901.04085); the teacher in place of labels is ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from dogeared.batching import Movable
from dogeared.data.corpus import Corpus
from dogeared.distill.cross_encoder import pairs_of
from dogeared.distill.losses import LossName, distillation_loss
from dogeared.errors import TrainingError
from dogeared.records import PassageRelevance, Question
from dogeared.training.checkpoint import TrainingState
from dogeared.training.loop import LoopSettings, items_of_step, train
from dogeared.training.taught import taught_questions

__all__ = ["RerankerBatch", "RerankerStudent", "RerankerTraining", "reranker_batch", "train_reranker"]


class RerankerTraining(LoopSettings):
    """How a re-ranker is trained."""

    model: str = ""
    """Its start: a cross-encoder, or a plain encoder that gets a fresh head; a name on the hub or a folder."""
    num_passages: int = Field(default=20, ge=2)
    """How many passages of a question the softmax covers, from the top of the ranking; each is a pair to encode."""
    max_length_tokens: int = Field(default=256, ge=8)
    """Question and passage together; what is longer is cut."""
    teacher_temperature: float = Field(default=1.0, gt=0)
    """The teacher's relevance is divided by it before the softmax."""
    loss: LossName = "kl"
    """What is minimized, as for the student."""
    questions_per_batch: int = Field(default=1, ge=0)
    """Questions in memory at once, each with all its pairs; as many as a step has where 0."""


@dataclass(frozen=True, kw_only=True)
class RerankerBatch(Movable):
    """Several questions, each with its passages, as pairs.

    Attributes:
        features: The pairs, tokenized, one question's after the other.
        slots: Where each of them belongs in the flattened ``batch * passages``.
        relevance: The teacher's; minus infinity where a question has fewer passages than another.
    """

    features: Mapping[str, Any]
    slots: Int[Tensor, " pairs"]
    relevance: Float[Tensor, "batch passages"]

    @property
    def weight(self) -> int:
        """The number of questions: the share of this batch in the mean loss of a step."""
        return self.relevance.shape[0]


class RerankerStudent(nn.Module):
    """A cross-encoder together with the loss it learns by.

    Args:
        model: A sentence-transformers cross-encoder with one number a pair, trained in place.
        settings: The loss and its temperature.
    """

    def __init__(self, model: Any, settings: RerankerTraining) -> None:
        super().__init__()
        self.model = model
        self.settings = settings

    def score(self, batch: RerankerBatch) -> Float[Tensor, "batch passages"]:
        """Score each question's passages; 0 where there is none."""
        scores = self.model(dict(batch.features))["scores"].view(-1).float()
        return scores.new_zeros(batch.relevance.numel()).index_copy(0, batch.slots, scores).view_as(batch.relevance)

    def forward(self, batch: RerankerBatch) -> Float[Tensor, ""]:
        """Return the loss, averaged over questions."""
        temperature = self.settings.teacher_temperature
        return distillation_loss(
            self.score(batch), batch.relevance, loss=self.settings.loss, teacher_temperature=temperature
        )


def train_reranker(
    model: Any,
    questions: Sequence[Question],
    relevance: Mapping[str, PassageRelevance],
    corpus: Corpus,
    settings: RerankerTraining,
    *,
    seed: int,
    folder: Path,
) -> TrainingState:
    """Train a cross-encoder in place.

    Args:
        model: A sentence-transformers cross-encoder with one number a pair.
        questions: Training questions; answers and gold ids are not looked at.
        relevance: What the teacher said, by question id.
        corpus: Where the passages are.
        settings: How long, how fast.
        seed: From which the order of questions and dropout follow.
        folder: For checkpoints; an interrupted training goes on from there.

    Raises:
        TrainingError: No question has two passages to choose between, or the teacher was not asked about one.
    """
    taught = taught_questions(questions, relevance)
    if not taught:
        raise TrainingError(
            f"expected questions with two passages or more to learn an order from, none of {len(questions)} has them; "
            "retrieve more passages, or let a teacher judge that says something of them"
        )
    model.max_seq_length = settings.max_length_tokens

    def chosen_of_step(step: int) -> list[Question]:
        chosen = items_of_step(step, num_items=len(taught), items_per_step=settings.questions_per_step, seed=seed)
        return [taught[item] for item in chosen]

    def batches_of_step(step: int) -> list[RerankerBatch]:
        chosen = chosen_of_step(step)
        size = settings.questions_per_batch or len(chosen)
        return [
            reranker_batch(model, chosen[start : start + size], relevance, corpus, settings)
            for start in range(0, len(chosen), size)
        ]

    return train(
        RerankerStudent(model, settings),
        batches_of_step,
        settings,
        seed=seed,
        folder=folder,
        name="train re-ranker",
        ids_of_step=lambda step: [question.id for question in chosen_of_step(step)],
    )


def reranker_batch(
    model: Any,
    questions: Sequence[Question],
    relevance: Mapping[str, PassageRelevance],
    corpus: Corpus,
    settings: RerankerTraining,
) -> RerankerBatch:
    """Tokenize the pairs of questions, and lay out which belong together."""
    pairs: list[tuple[str, str]] = []
    kept = [relevance[question.id].relevance[: settings.num_passages] for question in questions]
    grid = torch.full((len(questions), max(map(len, kept))), -torch.inf)
    for row, (question, values) in enumerate(zip(questions, kept, strict=True)):
        grid[row, : len(values)] = torch.tensor(values)
        ids = relevance[question.id].passage_ids[: settings.num_passages]
        pairs += pairs_of(question.text, corpus.passages(corpus.rows_of(ids)))
    slots = (~torch.isneginf(grid)).flatten().nonzero().squeeze(1)
    return RerankerBatch(features=model.preprocess(pairs), slots=slots, relevance=grid)
