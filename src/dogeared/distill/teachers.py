"""Who tells the student which passages are useful.

A teacher looks at a question with its passages and gives one relevance a passage. What it gives is written to disk:
the student trains with no teacher in memory. Where a teacher can say nothing of a question, it gives a relevance
without passages, and says aloud of how many.

The teacher here is the paper's: the cross-attention of a trained Fusion-in-Decoder reader, read off a single step of
its decoder. It needs no answer. The others stand in modules of their own, and ``choosing.py`` picks one.

Source: Izacard and Grave 2021, section 3.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Protocol, TypeVar

import torch
from jaxtyping import Bool, Float, Int

from dogeared.ahead import ahead
from dogeared.arriving import Arriving, one_behind
from dogeared.batching import IGNORED_LABEL, ReaderBatch
from dogeared.compute import Precision, autocast, keep_freed_memory
from dogeared.data.readings import Readings
from dogeared.distill.relevance import PAPER, Aggregation, passage_relevance
from dogeared.errors import ConfigError
from dogeared.progress import bar
from dogeared.reader.answering import questions_per_batch
from dogeared.reader.cross_attention import record_cross_attention
from dogeared.reader.fid import FusedStates, FusionInDecoder
from dogeared.reader.text_tokens import text_tokens
from dogeared.records import PassageRelevance, Question
from dogeared.rounded import Images

__all__ = [
    "CrossAttention",
    "Teacher",
    "fused_relevance",
    "judge_where",
    "labels_of_written",
    "nothing_said",
    "written_labels",
]

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Teacher(Protocol):
    """Whoever can say how useful each passage of a question is."""

    def relevance(self, readings: Readings) -> Iterator[PassageRelevance]:
        """Judge the passages of every question, in the order of the questions."""
        ...


class CrossAttention:
    """The paper's teacher: how much a reader's decoder looks at each passage.

    Args:
        reader: Trained on several passages a question; a reader that never had to choose between passages has no
            opinion worth learning.
        aggregation: How its attention becomes one number a passage; the paper's way by default.
        precision: Of the encoder's matrix products; scores are put together in float32.
    """

    def __init__(
        self, reader: FusionInDecoder, aggregation: Aggregation = PAPER, *, precision: Precision = "auto"
    ) -> None:
        self.reader = reader
        self.aggregation = aggregation
        self.precision: Precision = precision

    def relevance(self, readings: Readings) -> Iterator[PassageRelevance]:
        """Judge the passages of every question, in the order of the questions."""
        if self.aggregation.output_tokens == "given":
            return judge_where(_has_answers, readings, self._judge, lacking="answers")
        return self._judge(readings)

    def _judge(self, readings: Readings) -> Iterator[PassageRelevance]:
        keep_freed_memory()
        self.reader.eval()
        device = self.reader.device
        size = questions_per_batch(self.reader.settings, device, num_passages=readings.num_passages)
        if self.aggregation.output_tokens == "first":
            size *= 1 if device.type == "cpu" else 2  # no keys are made, and the step of a decoder is long for a GPU
        else:
            size = max(1, size // self.reader.settings.max_answer_tokens)  # what is recorded grows with the answer
        with bar("score passages", total=len(readings), unit="questions") as progress:
            # A CPU computes no sooner for it, for it makes the batches too.
            parts = ahead(
                lambda part: (part, *self._batch(readings, part)),
                readings.batches(size),
                in_thread=device.type != "cpu",
            )
            with autocast(self.precision, device):
                weights = self.reader.rounded_weights()
            judged = (
                (part, Arriving(self._of_batch(batch, counted, weights, most=readings.num_passages)))
                for part, batch, counted in parts
            )
            for part, values in one_behind(judged, wanted=device.type == "cuda"):
                for index, row in zip(part, values.take().tolist(), strict=True):
                    ids = readings.passage_ids(index)
                    yield PassageRelevance(
                        question_id=readings.questions[index].id, passage_ids=ids, relevance=tuple(row[: len(ids)])
                    )
                progress.advance(len(part))

    def _batch(self, readings: Readings, part: range) -> tuple[ReaderBatch, Bool[torch.Tensor, "batch length"] | None]:
        """Tokenize questions with their passages, and mark the tokens that count where not all do."""
        texts, found = [readings.questions[i].text for i in part], [readings.passages(i) for i in part]
        is_given = self.aggregation.output_tokens == "given"
        answers = [readings.questions[i].taught_answers[0] for i in part] if is_given else None
        counted = text_tokens(self.reader, texts, found) if self.aggregation.input_tokens == "passage" else None
        return self.reader.batch(texts, found, answers=answers), counted

    def of_batch(
        self,
        batch: ReaderBatch,
        *,
        counted: Bool[torch.Tensor, "batch length"] | None = None,
        weights: Images | None = None,
    ) -> Float[torch.Tensor, "batch passages"]:
        """Return the relevance of the passages of one batch, one row a question, minus infinity where there is none.

        Args:
            batch: The questions with their passages.
            counted: Which input tokens count where not all do.
            weights: As ``FusionInDecoder.fuse`` takes them.
        """
        return self._of_batch(batch, counted, weights, most=int(batch.num_passages.max())).cpu()

    @torch.inference_mode()
    def _of_batch(
        self,
        batch: ReaderBatch,
        counted: Bool[torch.Tensor, "batch length"] | None,
        weights: Images | None,
        *,
        most: int,
    ) -> Float[torch.Tensor, "batch passages"]:
        with autocast(self.precision, self.reader.device):
            fused = self.reader.fuse(batch, weights)
            return _relevance(self.reader, fused, self.aggregation, labels=batch.labels, counted=counted, most=most)


def fused_relevance(
    reader: FusionInDecoder,
    fused: FusedStates,
    aggregation: Aggregation = PAPER,
    *,
    labels: Int[torch.Tensor, "batch output"] | None = None,
    counted: Bool[torch.Tensor, "batch length"] | None = None,
) -> Float[torch.Tensor, "batch passages"]:
    """Return the relevance of passages that are encoded already, as whoever also generates from them wants it.

    Args:
        reader: In evaluation mode; one thread at a time may use it.
        fused: Its states.
        aggregation: How its attention becomes one number a passage.
        labels: The given answers; where all output tokens are asked and no answer is given, what the reader writes is.
        counted: Which input tokens count where not all do.

    Returns:
        One row a question, minus infinity where it has fewer passages than another; on the CPU.

    Raises:
        ConfigError: More layers are asked for than the decoder has.
    """
    most = int(fused.num_passages.max())
    return _relevance(reader, fused, aggregation, labels=labels, counted=counted, most=most).cpu()


def _relevance(
    reader: FusionInDecoder,
    fused: FusedStates,
    aggregation: Aggregation,
    *,
    labels: Int[torch.Tensor, "batch output"] | None,
    counted: Bool[torch.Tensor, "batch length"] | None,
    most: int,
) -> Float[torch.Tensor, "batch passages"]:
    """Return what :func:`fused_relevance` does where the states are, which nobody waits for; ``most`` columns wide."""
    first_only = aggregation.output_tokens == "first"
    if not first_only and (labels is None or aggregation.output_tokens == "generated"):
        labels = written_labels(reader, fused)
    is_single = (first_only or labels is None) and aggregation.quantity != "probability_times_value_norm"
    with record_cross_attention(reader.model, single_query=is_single) as record:
        if first_only or labels is None:
            reader.look(fused)
        else:
            reader.decode(fused, reader.decoder_inputs(labels))
    if aggregation.num_last_layers > len(record.layers):
        raise ConfigError(
            f"relevance.num_last_layers: expected at most the {len(record.layers)} layers of the reader's decoder, got "
            f"{aggregation.num_last_layers}; give a smaller number, or 0 for all"
        )
    return passage_relevance(
        record.scores(),
        fused.passage_of_token,
        num_passages=most,
        aggregation=aggregation,
        output_mask=None if first_only or labels is None else labels != IGNORED_LABEL,
        value_norms=record.value_norms() if aggregation.quantity == "probability_times_value_norm" else None,
        counted=counted,
    )


def written_labels(reader: FusionInDecoder, fused: FusedStates) -> Int[torch.Tensor, "batch output"]:
    """Let the reader write answers, and return them as labels: up to the end token, which counts."""
    return labels_of_written(reader, reader.generate_ids(fused))


def labels_of_written(
    reader: FusionInDecoder, ids: Int[torch.Tensor, "batch _output"]
) -> Int[torch.Tensor, "batch _written"]:
    """Return what a reader wrote, its start token first, as labels: up to the end token, which counts."""
    written = ids[:, 1:].clone()  # generated tensors are closed to what is done with them later
    ends = torch.isin(written, torch.tensor(reader.model.generation_config.eos_token_id, device=written.device))
    return written.masked_fill((ends.cumsum(dim=1) - ends.long()) > 0, IGNORED_LABEL)


def nothing_said(question: Question) -> PassageRelevance:
    """Return the relevance of a question of which a teacher can say nothing: that of no passage."""
    return PassageRelevance(question_id=question.id, passage_ids=(), relevance=())


def judge_where(
    able: Callable[[Question], bool],
    readings: Readings,
    judge: Callable[[Readings], Iterable[T]],
    *,
    lacking: str,
    nothing: Callable[[Question], T] = nothing_said,
) -> Iterator[T]:
    """Judge the questions of which a teacher can say something, and say aloud how many the others are.

    Args:
        able: Whether the teacher can judge a question's passages.
        readings: All questions.
        judge: The teacher, for questions that it can judge.
        lacking: What the others lack, for the warning.
        nothing: What stands in the place of the others.
    """
    judgeable = [question for question in readings.questions if able(question)]
    if left_out := len(readings) - len(judgeable):
        logger.warning(
            "%d of %d questions have no %s, so that this teacher says nothing of their passages",
            left_out,
            len(readings),
            lacking,
        )
    judged = iter(judge(replace(readings, questions=judgeable)))
    for question in readings.questions:
        yield next(judged) if able(question) else nothing(question)
    rest = list(judged)  # a teacher may have a word to say after its last question
    assert not rest, "each question is judged once"


def _has_answers(question: Question) -> bool:
    return bool(question.taught_answers)
