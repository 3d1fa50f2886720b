"""Teachers that ask how likely a right answer becomes, with a Fusion-in-Decoder reader.

Each question is encoded once with all its passages, pair by pair, as for reading. The decoder is then run over the
states of one passage alone, or of all but one: what was encoded is used again, never encoded anew. The answer is the
first of the question's; questions without answers teach nothing here.

Not here: what a student does with the likelihoods (``losses.py``, ``emdr2.py``).

Source: Izacard et al., "Atlas: Few-shot Learning with Retrieval Augmented Language Models", 2022, section 2.2, for
perplexity distillation and leave-one-out; the reduction of perplexity after "Aligning Dense Retrievers with LLM Utility
via Distillation" (arXiv 2604.22722), as a share of closed book, which is ours.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dogeared.batching import IGNORED_LABEL
from dogeared.compute import Precision, autocast
from dogeared.data.readings import Readings
from dogeared.distill.teachers import judge_where
from dogeared.progress import bar
from dogeared.reader.answering import question_batches
from dogeared.reader.fid import FusedStates, FusionInDecoder
from dogeared.records import AnswerLikelihood, PassageRelevance, Question

__all__ = [
    "AnswerLikelihoods",
    "LikelihoodKind",
    "of_whole_answer",
    "perplexity_reduction",
    "select_states",
]

LikelihoodKind = Literal["likelihood", "perplexity", "leave_one_out", "perplexity_reduction"]

_TOKENS_AT_ONCE = 16_384
_WORST = 20.0
"""A passage that makes a token of the answer more than e^20 times less likely is as useless as one that does so e^20
times; more would only overflow."""


class AnswerLikelihoods:
    """Judges a passage by how likely it makes the question's first answer.

    ``likelihood`` is the log-likelihood of the answer given the passage alone, summed over its tokens; ``perplexity``
    is the mean over them, which does not fall with the answer's length; ``leave_one_out`` is minus that mean given all
    passages but this one; ``perplexity_reduction`` is by which share the passage alone reduces the perplexity of
    closed book.

    Args:
        reader: Trained; for ``leave_one_out`` on several passages a question.
        kind: Which of them.
        precision: Of the encoder's matrix products; the decoder's are in float32.
    """

    def __init__(self, reader: FusionInDecoder, kind: LikelihoodKind, *, precision: Precision = "auto") -> None:
        self.reader = reader
        self.kind: LikelihoodKind = kind
        self.precision: Precision = precision
        self._asks_closed_book = kind in ("leave_one_out", "perplexity_reduction")

    def relevance(self, readings: Readings) -> Iterator[PassageRelevance]:
        """Judge the passages of every question that has an answer, in the order of the questions."""
        if self.kind == "likelihood":
            return map(of_whole_answer, self.of_tokens(readings))
        return judge_where(_has_answers, readings, self._judge, lacking="answers")

    def of_tokens(self, readings: Readings) -> Iterator[AnswerLikelihood]:
        """Return the log-likelihood of each token of the answer given each passage alone."""
        assert self.kind != "leave_one_out", "that is given all passages but one"
        return judge_where(_has_answers, readings, self._judge_tokens, lacking="answers", nothing=_no_likelihood)

    def _judge(self, readings: Readings) -> Iterator[PassageRelevance]:
        for index, rows, closed in self._batches(readings):
            values = rows.mean(dim=1)
            if self.kind == "leave_one_out":
                values = -values
            if self.kind == "perplexity_reduction":
                values = perplexity_reduction(values, closed.mean())
            yield PassageRelevance(
                question_id=readings.questions[index].id,
                passage_ids=readings.passage_ids(index),
                relevance=tuple(values.tolist()),
            )

    def _judge_tokens(self, readings: Readings) -> Iterator[AnswerLikelihood]:
        for index, rows, _ in self._batches(readings):
            yield AnswerLikelihood(
                question_id=readings.questions[index].id,
                passage_ids=readings.passage_ids(index),
                log_likelihood=tuple(tuple(row) for row in rows.tolist()),
            )

    def _batches(self, readings: Readings) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield for each question its number, its likelihoods by passage and token, and those of closed book."""
        self.reader.eval()
        with bar("score passages", total=len(readings), unit="questions") as progress:
            for part in question_batches(self.reader, readings):
                yield from zip(part, *self._of_batch(readings, part), strict=True)
                progress.advance(len(part))

    @torch.inference_mode()
    def _of_batch(self, readings: Readings, part: range) -> tuple[list[Tensor], list[Tensor]]:
        reader = self.reader
        texts, found = [readings.questions[i].text for i in part], [readings.passages(i) for i in part]
        batch = reader.batch(texts, found, answers=[readings.questions[i].taught_answers[0] for i in part])
        labels = batch.labels
        assert labels is not None, "answers were given"
        counts = batch.num_passages
        owner = torch.arange(len(part), device=counts.device).repeat_interleave(counts)
        place = torch.arange(len(owner), device=counts.device) - (counts.cumsum(0) - counts)[owner]
        with autocast(self.precision, reader.device):
            fused = reader.fuse(batch)
            none = reader.fuse(reader.batch(texts, [[] for _ in part])) if self._asks_closed_book else None
        # The decoder is run in float32: what one passage changes is small beside what bfloat16 rounds away.
        fused = replace(fused, states=fused.states.float())
        closed = torch.zeros(labels.shape, device=labels.device)
        if none is not None:
            closed = reader.log_likelihood(replace(none, states=none.states.float()), labels)
        keep = fused.passage_of_token[owner] == place[:, None]
        if self.kind == "leave_one_out":
            keep = fused.mask[owner] & ~keep
        # Without its only passage a question is read alone, which is closed book.
        rows, some = closed[owner], keep.any(dim=1).nonzero().squeeze(1)
        at_once = max(1, _TOKENS_AT_ONCE // int(keep.sum(dim=1).amax())) if len(some) else 1
        for few in (some[start : start + at_once] for start in range(0, len(some), at_once)):
            states = select_states(fused, owner[few], keep[few])
            rows[few] = reader.log_likelihood(states, labels[owner[few]])
        lengths = (labels != IGNORED_LABEL).sum(dim=1).tolist()
        by_question = rows.double().cpu().split(counts.tolist())
        return (
            [own[:, :length] for own, length in zip(by_question, lengths, strict=True)],
            [own[:length] for own, length in zip(closed.double().cpu(), lengths, strict=True)],
        )


def select_states(fused: FusedStates, question: Int[Tensor, " rows"], keep: Bool[Tensor, "rows length"]) -> FusedStates:
    """Lay out some of the states of encoded questions anew, as if the rest had never been retrieved.

    Passages keep the numbers that they have among all passages of their question.

    Args:
        fused: Encoded questions.
        question: Which of them each new row is made of; a question may be taken several times.
        keep: Which of its states the row keeps, in their order; at least one.
    """
    lengths = keep.sum(dim=1)
    mask = torch.arange(int(lengths.max()), device=keep.device) < lengths[:, None]
    # Kept states first, in their order; what follows is padding.
    places = (~keep).int().argsort(dim=1, stable=True)[:, : mask.shape[1]]
    return FusedStates(
        states=fused.states[question[:, None], places].masked_fill(~mask[:, :, None], 0.0),
        mask=mask,
        passage_of_token=fused.passage_of_token[question[:, None], places].masked_fill(~mask, -1),
        num_passages=fused.num_passages[question],
    )


def of_whole_answer(tokens: AnswerLikelihood) -> PassageRelevance:
    """Sum the log-likelihoods of an answer's tokens."""
    return PassageRelevance(
        question_id=tokens.question_id,
        passage_ids=tokens.passage_ids,
        relevance=tuple(math.fsum(row) for row in tokens.log_likelihood),
    )


def perplexity_reduction(
    log_likelihood: Float[Tensor, " passages"], closed_book: Float[Tensor, ""]
) -> Float[Tensor, " passages"]:
    """Return by which share each passage reduces the perplexity of the answer: 1 all of it, below 0 where it raises it.

    The plain difference of log-likelihoods would differ from the log-likelihood by one constant a question, which no
    softmax sees.

    Args:
        log_likelihood: Mean over the answer's tokens, given each passage alone.
        closed_book: The same given no passage.

    >>> perplexity_reduction(torch.tensor([0.5, 0.125]).log(), torch.tensor(0.25).log()).tolist()
    [0.5, -1.0]
    """
    return -torch.expm1((closed_book - log_likelihood).clamp(max=_WORST))


def _has_answers(question: Question) -> bool:
    return bool(question.taught_answers)


def _no_likelihood(question: Question) -> AnswerLikelihood:
    return AnswerLikelihood(question_id=question.id, passage_ids=(), log_likelihood=())
