"""Train the student on relevance that a teacher left on disk.

The student scores each question against its own passages, and learns to make the softmax of its scores that of the
teacher, or whatever else the chosen loss asks. No reader is in memory, and no import leads to one. Other questions'
passages play no part, unless a contrastive loss is mixed in.

Source: Izacard and Grave 2021, section 3 (equation 5 and algorithm of section 3.3).
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from dogeared.batching import Movable
from dogeared.data.corpus import Corpus
from dogeared.distill.check import temperature_of_entropy
from dogeared.distill.contrastive import contrastive_loss, in_batch_negatives
from dogeared.distill.emdr2 import emdr2_of_answers, emdr2_of_tokens, likelihood_grid
from dogeared.distill.losses import LossName, Reduction, distillation_loss
from dogeared.distill.sparsity import search_cost
from dogeared.errors import TrainingError
from dogeared.records import AnswerLikelihood, PassageRelevance, Question
from dogeared.retrieval.dual_encoder import DualEncoder, FeatureChunk
from dogeared.retrieval.vectors import StoredVectors
from dogeared.training.checkpoint import TrainingState
from dogeared.training.loop import LoopSettings, items_of_step, train
from dogeared.training.taught import taught_questions

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
    teacher_entropy: float | None = Field(default=None, gt=0, lt=1, exclude_if=lambda share: share is None)
    """If given, the teacher's temperature is the one at which its softmax has this entropy in the mean, as a share of
    the largest possible: 0 has all weight on one passage, 1 on all alike. It makes comparable what speaks in numbers of
    different size, as likelihoods and attention do. Then ``teacher_temperature`` is not looked at."""
    student_temperature: float | None = Field(default=None, gt=0)
    """The student's score is divided by it; by default 1 for dot products and 0.05 for cosines."""
    reduction: Reduction = "batch_mean"
    """Whether the divergence is also divided by the number of passages, as in the reference implementation."""
    loss: LossName | Literal["emdr2", "emdr2_tokens"] = "kl"
    """What the student minimizes: the divergence from teacher to student (``kl``); the squared difference of their
    numbers (``mse``); a hinge over pairs (``max_margin``); the cross-entropy of the teacher's best passage; InfoNCE
    with every passage as the positive of those below it, weighted by the teacher; or ``emdr2``, which wants the
    answer's likelihood from the teacher (``teacher.kind = "likelihood"``) and puts the student's weight where it is
    high, or ``emdr2_tokens``, the same anew for each token of the answer."""
    margin: float = Field(default=1.0, gt=0)
    """By how much ``max_margin`` wants the better passage of a pair to score higher, after the temperature."""
    contrastive_weight: float = Field(default=0.0, ge=0, le=1)
    """The share of an in-batch contrastive loss: 0 has none, 1 has nothing else. The teacher's best passage stands
    against the other questions' passages of the same batch, so ``questions_per_batch`` decides how many there are;
    none of them was retrieved for the question itself."""
    query_sparsity: float = Field(default=5e-5, ge=0)
    """Of a student with sparse vectors: the weight of what its questions cost to search; more leaves fewer words. The
    cost is one of a batch, so ``questions_per_batch`` bears on it a little."""
    passage_sparsity: float = Field(default=3e-5, ge=0)
    """The same of passages, which decides how large the index is."""
    chunk_tokens: int = Field(default=0, ge=0)
    """Tokens whose activations are in memory at once: the texts of a batch are encoded in chunks of about so many, and
    again when their gradients are known: a third more work for the same gradient, and memory does not grow with the
    number of passages. 0 encodes once and keeps everything."""

    def temperature_of(self, relevance: Iterable[Sequence[float]]) -> float:
        """Return the teacher's temperature, which may depend on what it said of the passages of its questions."""
        if self.teacher_entropy is None:
            return self.teacher_temperature
        return temperature_of_entropy(relevance, self.teacher_entropy)


@dataclass(frozen=True, kw_only=True)
class DistillationBatch(Movable):
    """Several questions with passages and what a teacher said of them.

    Attributes:
        queries: The questions, tokenized.
        passages: The passages of all questions, each question's one after the other, tokenized; none where the vectors
            are known.
        vectors: Of the passages, where the student does not change them.
        passage_rows: Which passages of the corpus they are.
        slots: Where each of them belongs in the flattened ``batch * passages``.
        relevance: The teacher's; minus infinity where a question has fewer passages than another.
        likelihoods: Of the answer's single tokens, with the same places of minus infinity, where the loss wants them.
        output_mask: Which of these tokens belong to the answer.
        retrieved: Which of the passages were retrieved for which question, where the loss wants to know.
    """

    queries: tuple[FeatureChunk, ...]
    passages: tuple[FeatureChunk, ...]
    vectors: Float[Tensor, "rows dim"] | None
    passage_rows: Int[Tensor, " rows"]
    slots: Int[Tensor, " rows"]
    relevance: Float[Tensor, "batch passages"]
    likelihoods: Float[Tensor, "batch passages output"] | None = None
    output_mask: Bool[Tensor, "batch output"] | None = None
    retrieved: Bool[Tensor, "batch rows"] | None = None

    @property
    def weight(self) -> int:
        """The number of questions: the share of this batch in the mean loss of a step."""
        return self.relevance.shape[0]


class Student(nn.Module):
    """A dual encoder together with the loss it learns by.

    Args:
        encoder: Trained in place.
        settings: The loss, its temperatures, and how much is in memory at once.
    """

    def __init__(self, encoder: DualEncoder, settings: RetrieverTraining) -> None:
        super().__init__()
        self.encoder = encoder
        self.settings = settings
        self.temperature = settings.student_temperature or (COSINE_TEMPERATURE if encoder.is_cosine else 1.0)

    def score(self, batch: DistillationBatch) -> Float[Tensor, "batch passages"]:
        """Score each question against its own passages; 0 where there is none."""
        return self._own_scores(batch, *self.embed(batch))

    def forward(self, batch: DistillationBatch) -> Float[Tensor, ""]:
        """Return the loss, averaged over questions."""
        queries, passages = self.embed(batch)
        if self.settings.contrastive_weight:
            loss = self._mixed(batch, self.encoder.score_all(queries, passages))
        else:
            loss = self._distillation(batch, self._own_scores(batch, queries, passages))
        if self.encoder.is_sparse:
            loss = loss + self.settings.query_sparsity * search_cost(queries)
            loss = loss + self.settings.passage_sparsity * search_cost(passages)
        return loss

    def embed(self, batch: DistillationBatch) -> tuple[Float[Tensor, "batch ..."], Float[Tensor, "rows ..."]]:
        """Encode the questions and the passages of all of them."""
        encode_twice = self.settings.chunk_tokens > 0
        queries = self.encoder.embed(batch.queries, encode_twice=encode_twice)
        if batch.vectors is not None:
            return queries, batch.vectors
        return queries, self.encoder.embed(batch.passages, encode_twice=encode_twice)

    def _own_scores(
        self,
        batch: DistillationBatch,
        queries: Float[Tensor, "batch ..."],
        passages: Float[Tensor, "rows ..."],
    ) -> Float[Tensor, "batch passages"]:
        num_questions, num_passages = batch.relevance.shape
        grid = passages.new_zeros(num_questions * num_passages, *passages.shape[1:])
        grid = grid.index_copy(0, batch.slots, passages)
        return self.encoder.score(queries, grid.view(num_questions, num_passages, *passages.shape[1:]))

    def _mixed(self, batch: DistillationBatch, score: Float[Tensor, "batch rows"]) -> Float[Tensor, ""]:
        """Mix both losses, from the scores of each question with the passages of all."""
        weight = self.settings.contrastive_weight
        num_questions, num_passages = batch.relevance.shape
        owner = batch.slots // num_passages
        own = score[owner, torch.arange(len(owner), device=score.device)]
        grid = own.new_zeros(num_questions * num_passages).index_copy(0, batch.slots, own)
        is_negative = in_batch_negatives(batch.passage_rows, owner, num_questions=num_questions)
        if batch.retrieved is not None:
            is_negative &= ~batch.retrieved
        best = batch.relevance.argmax(dim=1) + torch.arange(num_questions, device=score.device) * num_passages
        contrastive = contrastive_loss(
            score,
            torch.searchsorted(batch.slots, best),
            is_negative,
            temperature=self.temperature,
        )
        distillation = self._distillation(batch, grid.view(num_questions, num_passages))
        return weight * contrastive + (1 - weight) * distillation

    def _distillation(self, batch: DistillationBatch, score: Float[Tensor, "batch passages"]) -> Float[Tensor, ""]:
        if self.settings.loss == "emdr2":
            # A likelihood is taken as it is: divided by a temperature it would be none.
            return emdr2_of_answers(score, batch.relevance, student_temperature=self.temperature)
        if self.settings.loss == "emdr2_tokens":
            assert batch.likelihoods is not None and batch.output_mask is not None, "the batch was made without"
            temperature = self.temperature
            return emdr2_of_tokens(score, batch.likelihoods, batch.output_mask, student_temperature=temperature)
        return distillation_loss(
            score,
            batch.relevance,
            loss=self.settings.loss,
            student_temperature=self.temperature,
            teacher_temperature=self.settings.teacher_temperature,
            reduction=self.settings.reduction,
            margin=self.settings.margin,
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
    vectors: StoredVectors | None = None,
    retrieved: Mapping[str, Collection[str]] | None = None,
    likelihoods: Mapping[str, AnswerLikelihood] | None = None,
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
        vectors: Of all passages of the corpus, in its order, if they are known and the encoder does not change them:
            then no passage is encoded.
        retrieved: By question id, passages that no contrastive loss may hold against the question; those that the
            teacher judged need not be named.
        likelihoods: Of the answers' single tokens, by question id, for the loss that wants them; of the same passages
            as ``relevance``.

    Raises:
        TrainingError: No question has two passages to choose between, or the teacher was not asked about one.
    """
    taught = taught_questions(questions, relevance)
    if not taught and settings.steps:
        raise TrainingError(
            "distillation wants questions with two passages or more, for a softmax over one passage is constant and "
            f"teaches nothing; none of the {len(questions)} training questions has them. Retrieve more passages."
        )

    assert vectors is None or encoder.freezes_passages, "known vectors are of a student that keeps them"
    if settings.loss != "kl" and settings.reduction != "batch_mean":
        logger.warning("retriever_training.reduction bears on the divergence alone, not on loss = %r", settings.loss)

    def questions_of_step(step: int) -> list[Question]:
        chosen = items_of_step(step, num_items=len(taught), items_per_step=settings.questions_per_step, seed=seed)
        return [taught[index] for index in chosen]

    def batches_of_step(step: int) -> list[DistillationBatch]:
        chosen = questions_of_step(step)
        size = settings.questions_per_batch or len(chosen)
        return [
            distillation_batch(
                encoder,
                chosen[start : start + size],
                relevance,
                corpus,
                settings,
                vectors=vectors,
                retrieved=retrieved,
                likelihoods=likelihoods,
            )
            for start in range(0, len(chosen), size)
        ]

    temperature = settings.temperature_of(
        relevance[question.id].relevance[: settings.num_passages] for question in taught
    )
    if settings.teacher_entropy is not None:
        logger.info("teacher temperature %.4g for an entropy of %g", temperature, settings.teacher_entropy)
    student = Student(encoder, settings.model_copy(update={"teacher_temperature": temperature}))
    return train(
        student,
        batches_of_step,
        settings,
        seed=seed,
        folder=folder,
        name="train retriever",
        ids_of_step=lambda step: [question.id for question in questions_of_step(step)],
    )


def distillation_batch(
    encoder: DualEncoder,
    questions: Sequence[Question],
    relevance: Mapping[str, PassageRelevance],
    corpus: Corpus,
    settings: RetrieverTraining,
    *,
    vectors: StoredVectors | None = None,
    retrieved: Mapping[str, Collection[str]] | None = None,
    likelihoods: Mapping[str, AnswerLikelihood] | None = None,
) -> DistillationBatch:
    """Tokenize questions, and passages unless their vectors are given, and lay out which belong together."""
    if settings.loss == "emdr2_tokens":
        assert likelihoods is not None, "emdr2_tokens wants the likelihoods of single tokens"
        of_tokens, output_mask = likelihood_grid(
            [likelihoods[question.id] for question in questions], num_passages=settings.num_passages
        )
    else:
        of_tokens = output_mask = None
    judged = [relevance[question.id] for question in questions]
    counts = [min(len(item.passage_ids), settings.num_passages) for item in judged]
    width = max(counts)
    grid = torch.full((len(questions), width), -torch.inf)
    for row, (item, count) in enumerate(zip(judged, counts, strict=True)):
        grid[row, :count] = torch.tensor(item.relevance[:count])
    ids = [passage_id for item, count in zip(judged, counts, strict=True) for passage_id in item.passage_ids[:count]]
    rows = corpus.rows_of(ids)
    is_retrieved = None
    if settings.contrastive_weight:
        own = [{*item.passage_ids, *(retrieved or {}).get(item.question_id, ())} for item in judged]
        is_retrieved = torch.tensor([[passage_id in names for passage_id in ids] for names in own])
    how = {"max_chunk_tokens": settings.chunk_tokens or None, "remembers": True}
    return DistillationBatch(
        queries=encoder.query_chunks([question.text for question in questions], **how),
        passages=encoder.passage_chunks(corpus.passages(rows), **how) if vectors is None else (),
        vectors=None if vectors is None else torch.from_numpy(vectors.take(rows)),
        passage_rows=torch.tensor(rows),
        slots=(~torch.isneginf(grid)).flatten().nonzero().squeeze(1),
        relevance=grid,
        likelihoods=of_tokens,
        output_mask=output_mask,
        retrieved=is_retrieved,
    )
