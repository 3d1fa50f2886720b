"""Train the student as DPR is trained: a baseline that is told, or guesses, which passages are right.

Each question has one positive, a few hard negatives, which were retrieved for it and are wrong, and the passages of
the other questions of its batch for more negatives. A positive is by default the best retrieved passage that holds the
answer, so that nothing is known here that distillation does not know; gold passages, only where they are asked for.

No reader takes part. Whatever counts as right for a question is never its negative, whosever passage it is, and a text
that stands in a batch more than once counts once.

Source: Karpukhin et al. 2020, section 3.2 (positives, BM25 negatives, in-batch negatives); encoding again where a
gradient comes, Gao et al. 2021 (arXiv 2101.06983).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from dogeared.batching import Movable
from dogeared.data.corpus import Corpus
from dogeared.distill.contrastive import contrastive_loss
from dogeared.errors import TrainingError
from dogeared.evaluation.answers import AnswerMatcher, Language
from dogeared.progress import bar
from dogeared.records import Passage, Question, Ranking
from dogeared.retrieval.dual_encoder import DualEncoder, FeatureChunk
from dogeared.training.checkpoint import TrainingState
from dogeared.training.loop import LoopSettings, items_of_step, train
from dogeared.training.train_retriever import COSINE_TEMPERATURE

__all__ = [
    "Example",
    "SupervisedBatch",
    "SupervisedStudent",
    "SupervisedTraining",
    "find_examples",
    "supervised_batch",
    "train_supervised",
]

logger = logging.getLogger(__name__)


class SupervisedTraining(LoopSettings):
    """How the baseline is trained."""

    positives: Literal["answer", "gold"] = "answer"
    """What counts as right: retrieved passages that hold an answer, or the ``gold`` of training questions, which makes
    it a supervised baseline that no distilled student should be compared with as an equal."""
    hard_negatives: int = Field(default=1, ge=0)
    """How many of the first retrieved passages that are not right stand against each question."""
    num_passages: int = Field(default=100, ge=1)
    """How deep in a ranking positives and hard negatives are looked for."""
    temperature: float | None = Field(default=None, gt=0)
    """Scores are divided by it; by default 1 for dot products and 0.05 for cosines."""
    questions_per_batch: int = Field(default=0, ge=0)
    """Questions whose passages are each other's negatives, and which are in memory at once; as many as a step has where
    0. Fewer make the task easier, and the student weaker."""
    # Left out of what is written down where it is 0: baselines made before there was a choice stay the same.
    chunk_tokens: int = Field(default=0, ge=0, exclude_if=lambda tokens: tokens == 0)
    """Tokens whose activations are in memory at once, as with ``retriever_training.chunk_tokens``: memory does not grow
    with the batch, so that it may be as large as the task should be hard, at a third more work. 0 encodes once."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A question with what is right for it and what is not.

    Attributes:
        question: The question.
        positive: The passage that it learns to find.
        negatives: Retrieved for it, and not right.
    """

    question: Question
    positive: Passage
    negatives: tuple[Passage, ...]


@dataclass(frozen=True, kw_only=True)
class SupervisedBatch(Movable):
    """Several questions with the passages of all of them.

    Attributes:
        queries: The questions, tokenized.
        passages: The different passages of the batch, tokenized.
        positive: Which of them is each question's positive.
        is_negative: Which of them stand against it.
    """

    queries: tuple[FeatureChunk, ...]
    passages: tuple[FeatureChunk, ...]
    positive: Int[Tensor, " batch"]
    is_negative: Bool[Tensor, "batch rows"]

    @property
    def weight(self) -> int:
        """The number of questions: the share of this batch in the mean loss of a step."""
        return len(self.positive)


class SupervisedStudent(nn.Module):
    """A dual encoder together with the loss of the baseline.

    Args:
        encoder: Trained in place.
        settings: For the temperature, and how much is in memory at once.
    """

    def __init__(self, encoder: DualEncoder, settings: SupervisedTraining) -> None:
        super().__init__()
        self.encoder = encoder
        self.settings = settings
        self.temperature = settings.temperature or (COSINE_TEMPERATURE if encoder.is_cosine else 1.0)

    def score(self, batch: SupervisedBatch) -> Float[Tensor, "batch rows"]:
        """Score each question against all passages of the batch."""
        encode_twice = self.settings.chunk_tokens > 0
        queries = self.encoder.embed(batch.queries, encode_twice=encode_twice)
        return self.encoder.score_all(queries, self.encoder.embed(batch.passages, encode_twice=encode_twice))

    def forward(self, batch: SupervisedBatch) -> Float[Tensor, ""]:
        """Return -log of the positive's probability, averaged over questions."""
        return contrastive_loss(self.score(batch), batch.positive, batch.is_negative, temperature=self.temperature)


def train_supervised(
    encoder: DualEncoder,
    examples: Sequence[Example],
    settings: SupervisedTraining,
    *,
    seed: int,
    folder: Path,
    language: Language = "en",
) -> TrainingState:
    """Train a student in place.

    Args:
        encoder: Goes on from where it stands.
        examples: What ``find_examples`` found with these settings.
        settings: How long, how fast, against what.
        seed: From which the order of questions and dropout follow.
        folder: For checkpoints; an interrupted training goes on from there.
        language: How passages are searched for answers.

    Raises:
        TrainingError: There is no example, or no passage would stand against a positive.
    """
    if not examples and settings.steps:
        raise TrainingError(
            "expected training questions with a right passage and a way to know it, found none; retrieve more passages "
            f'a question, check that answers are worded as in the passages (positives = "{settings.positives}"), or '
            "give gold passages"
        )
    size = settings.questions_per_batch or settings.questions_per_step
    if size == 1 and not any(example.negatives for example in examples) and settings.steps:
        raise TrainingError(
            "expected passages to stand against a positive, found none in batches of one question without hard "
            "negatives; raise supervised.questions_per_batch or supervised.hard_negatives"
        )
    matcher = AnswerMatcher(language)

    def chosen_of_step(step: int) -> list[Example]:
        chosen = items_of_step(step, num_items=len(examples), items_per_step=settings.questions_per_step, seed=seed)
        return [examples[index] for index in chosen]

    def batches_of_step(step: int) -> list[SupervisedBatch]:
        chosen = chosen_of_step(step)
        return [
            supervised_batch(encoder, chosen[start : start + size], settings, matcher)
            for start in range(0, len(chosen), size)
        ]

    return train(
        SupervisedStudent(encoder, settings),
        batches_of_step,
        settings,
        seed=seed,
        folder=folder,
        name="train baseline",
        ids_of_step=lambda step: [example.question.id for example in chosen_of_step(step)],
    )


def find_examples(
    questions: Sequence[Question],
    rankings: Mapping[str, Ranking],
    corpus: Corpus,
    settings: SupervisedTraining,
    *,
    language: Language = "en",
) -> list[Example]:
    """Find a positive and hard negatives for each question; one without a positive is left out and counted aloud.

    Args:
        questions: Training questions; gold is looked at only where the settings say so.
        rankings: What was retrieved for them, by words as DPR does it; by question id.
        corpus: Where the passages are.
        settings: What counts as right, and how many negatives there are.
        language: How passages are searched for answers.
    """
    if settings.positives == "gold":
        logger.warning("the positives are gold passages: this is a supervised baseline")
    matcher, examples = AnswerMatcher(language), []
    with bar("find positives", total=len(questions), unit="questions") as progress:
        for question in questions:
            ids = rankings[question.id].passage_ids[: settings.num_passages] if question.id in rankings else ()
            retrieved = corpus.passages(corpus.rows_of(ids))
            named = corpus.passages(corpus.rows_of(question.gold)) if settings.positives == "gold" else retrieved
            positive = next((one for one in named if _is_right(question, one, settings, matcher)), None)
            if positive is not None:
                wrong = [
                    one
                    for one in retrieved
                    if not _is_right(question, one, settings, matcher)
                    and not matcher.has_answer(question.answers, one.text)
                ]
                negatives = tuple(wrong[: settings.hard_negatives])
                examples.append(Example(question=question, positive=positive, negatives=negatives))
            progress.advance()
    if left_out := len(questions) - len(examples):
        logger.warning("%d of %d training questions have no positive and teach nothing", left_out, len(questions))
    return examples


def supervised_batch(
    encoder: DualEncoder, examples: Sequence[Example], settings: SupervisedTraining, matcher: AnswerMatcher
) -> SupervisedBatch:
    """Tokenize questions and passages, and tell which passages stand against which question."""
    row_of: dict[tuple[str, str], int] = {}
    passages: list[Passage] = []
    for example in examples:
        for passage in (example.positive, *example.negatives):
            if row_of.setdefault((passage.title, passage.text), len(passages)) == len(passages):
                passages.append(passage)
    positive = [row_of[example.positive.title, example.positive.text] for example in examples]
    is_negative = [
        [
            row != right
            and passage.text != example.positive.text
            and not _is_right(example.question, passage, settings, matcher)
            for row, passage in enumerate(passages)
        ]
        for example, right in zip(examples, positive, strict=True)
    ]
    how = {"max_chunk_tokens": settings.chunk_tokens or None, "remembers": True}
    return SupervisedBatch(
        queries=encoder.query_chunks([example.question.text for example in examples], **how),
        passages=encoder.passage_chunks(passages, **how),
        positive=torch.tensor(positive),
        is_negative=torch.tensor(is_negative),
    )


def _is_right(question: Question, passage: Passage, settings: SupervisedTraining, matcher: AnswerMatcher) -> bool:
    if settings.positives == "gold":
        return passage.id in question.gold or passage.id in question.near_gold
    return matcher.has_answer(question.answers, passage.text)
