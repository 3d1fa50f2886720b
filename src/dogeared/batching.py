"""From text to tensors: typed batches, sorted by length, under a token budget.

A reader's batch is a set of **pairs**, one question with one passage each (or a question alone), tokenized, sorted by
length and cut into chunks of about equal length, so that little is padded. With them goes the plan of the fusion: the
place of every real token in the long sequence that the decoder of its question attends to. Nothing is padded between
passages there.

How pairs become tokens is not here (``pairs.py``), nor are files, models and devices.

Axes, here and in the whole package: ``batch`` (questions), ``passages``, ``pairs`` (question with passage), ``length``
(input tokens), ``output`` (output tokens), ``layers``, ``heads``, ``dim``, ``vocab``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from dogeared.cuts import count_cuts
from dogeared.pairs import TokenIds, pair_tokens
from dogeared.records import Passage

__all__ = [
    "IGNORED_LABEL",
    "FusionPlan",
    "Movable",
    "ReaderBatch",
    "TokenChunk",
    "aligned",
    "answer_labels",
    "batch_of_rows",
    "chunk_rows",
    "end_token_id",
    "padded",
    "reader_batch",
    "sorted_chunks",
]

IGNORED_LABEL = -100
"""The label of padding, which no cross-entropy of torch counts."""

_ALIGNMENT, _SHORT = 16, 32
_CHUNK_COST, _CHUNK_COST_SHARE = 256, 16
"""Tokens that a CPU encodes in the time that one more chunk takes, beside its tokens; where chunks are larger than a
CPU likes them, a sixteenth of one."""


class Movable:
    """What all batches share: they can follow a model to its device."""

    def to(self, device: torch.device) -> Self:
        """Return the batch with all its tensors on ``device``."""
        moved: dict[str, Any] = {}
        for item in fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            if isinstance(value, Tensor | Movable):
                moved[item.name] = _on(device, value)
            elif isinstance(value, tuple):
                moved[item.name] = tuple(_on(device, part) for part in value)
            elif isinstance(value, Mapping):
                moved[item.name] = {k: _on(device, v) if isinstance(v, Tensor) else v for k, v in value.items()}
        return replace(self, **moved)  # type: ignore[type-var]


def _on(device: torch.device, value: Any) -> Any:
    """Move a tensor or a batch. From memory that stays where it is, nobody waits for a GPU to be done before."""
    if isinstance(value, Tensor) and device.type == "cuda" and value.device.type == "cpu":
        return value.pin_memory().to(device, non_blocking=True)
    return value.to(device)


@dataclass(frozen=True, kw_only=True)
class TokenChunk(Movable):
    """Sequences of about the same length, padded on the right to the longest, and a little more (``aligned``).

    Attributes:
        token_ids: The tokens.
        mask: Where they are real.
        places: The same by number, row after row: counted where the batch is made, for a GPU would be waited for.
        rows: Which sequences of the batch these are.
    """

    token_ids: Int[Tensor, "rows length"]
    mask: Bool[Tensor, "rows length"]
    places: Int[Tensor, " tokens"]
    rows: Int[Tensor, " rows"]


@dataclass(frozen=True, kw_only=True)
class FusionPlan(Movable):
    """Where each encoded token goes in the long sequence of its question.

    Attributes:
        slots: For each real token, chunk after chunk and row after row: its place in the flattened
            ``batch * length`` of all long sequences.
        mask: Where the long sequences are real; they are padded on the right only.
        padding: Where they are not, by number.
        passage_of_token: The passage each token belongs to, counted from 0 within its question; -1 for the tokens of
            a question without passages and for padding.
    """

    slots: Int[Tensor, " tokens"]
    mask: Bool[Tensor, "batch length"]
    padding: Int[Tensor, " padding"]
    passage_of_token: Int[Tensor, "batch length"]


@dataclass(frozen=True, kw_only=True)
class ReaderBatch(Movable):
    """Several questions with their passages, ready for a Fusion-in-Decoder reader.

    Attributes:
        chunks: All pairs, sorted by length and cut under the token budget.
        plan: Where their tokens go.
        num_passages: How many passages each question has; 0 is allowed.
        labels: The tokens of one answer a question, ended by the end token, padded with ``IGNORED_LABEL``; None where
            nothing is to be learned.
        counted: The labels that are not padding, by number.
    """

    chunks: tuple[TokenChunk, ...]
    plan: FusionPlan
    num_passages: Int[Tensor, " batch"]
    labels: Int[Tensor, "batch output"] | None = None
    counted: Int[Tensor, " counted"] | None = None

    @property
    def weight(self) -> int:
        """The number of label tokens: the share of this batch in the mean loss of a step."""
        return 0 if self.counted is None else len(self.counted)


def reader_batch(
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str],
    passages: Sequence[Sequence[Passage]],
    *,
    answers: Sequence[str] | None = None,
    max_length_tokens: int,
    max_answer_tokens: int = 32,
    max_chunk_tokens: int = 16_384,
) -> ReaderBatch:
    """Tokenize questions with their passages and lay out the fusion.

    Args:
        tokenizer: The reader's.
        questions: The questions as text.
        passages: The passages of each, possibly none; a question without passages is read alone.
        answers: One answer for each question, to learn from.
        max_length_tokens: Longer pairs are cut at their end.
        max_answer_tokens: Longer answers are cut at their end.
        max_chunk_tokens: How many tokens, padding included, are encoded at once; bounds memory, never changes results.
    """
    rows = pair_tokens(tokenizer, questions, passages, max_length_tokens=max_length_tokens)
    count_cuts("reader.max_length_tokens", max_length_tokens, map(len, rows))
    return batch_of_rows(
        rows,
        [len(found) for found in passages],
        labels=None if answers is None else answer_labels(tokenizer, answers, max_answer_tokens=max_answer_tokens),
        pad_token_id=_pad(tokenizer),
        max_length_tokens=max_length_tokens,
        max_chunk_tokens=max_chunk_tokens,
    )


def batch_of_rows(
    token_ids: Sequence[TokenIds],
    num_passages: Sequence[int],
    *,
    labels: Int[Tensor, "batch output"] | None = None,
    pad_token_id: int,
    max_length_tokens: int | None = None,
    max_chunk_tokens: int = 16_384,
) -> ReaderBatch:
    """Lay out the fusion of pairs that are tokenized already.

    Args:
        token_ids: The pairs of the first question in the order of its passages, then those of the second, and so on;
            none empty. A question without passages has one row, the question alone.
        num_passages: How many passages each question has.
        labels: What to learn, if anything.
        pad_token_id: What fills chunks; never looked at.
        max_length_tokens: What no chunk is padded beyond; the longest pair where not said.
        max_chunk_tokens: As in ``reader_batch``.
    """
    passage_of_row = [passage for count in num_passages for passage in (range(count) if count else (-1,))]
    assert len(token_ids) == len(passage_of_row), "one row a passage, and one for a question without any"
    size = {"max_length_tokens": max_length_tokens, "max_chunk_tokens": max_chunk_tokens}
    chunks = tuple(chunk_rows(token_ids, pad_token_id=pad_token_id, **size))
    counts = torch.tensor(num_passages)
    return ReaderBatch(
        chunks=chunks,
        plan=_fusion_plan(
            chunks,
            lengths=torch.tensor([len(row) for row in token_ids]),
            question_of_row=torch.arange(len(counts)).repeat_interleave(counts.clamp(min=1)),
            passage_of_row=torch.tensor(passage_of_row),
            num_questions=len(counts),
        ),
        num_passages=counts,
        labels=labels,
        counted=None if labels is None else _numbers(labels != IGNORED_LABEL),
    )


def chunk_rows(
    token_ids: Sequence[TokenIds],
    *,
    pad_token_id: int,
    max_length_tokens: int | None = None,
    max_chunk_tokens: int,
) -> Iterator[TokenChunk]:
    """Sort sequences by length and cut them into chunks of at most ``max_chunk_tokens`` tokens, padding included.

    A chunk ends earlier where a narrower one saves more padding than a chunk costs. A sequence longer than the budget
    gets a chunk of its own. Sequences of equal length keep their order. No chunk is padded beyond
    ``max_length_tokens``, or the longest sequence.
    """
    lengths = [len(row) for row in token_ids]
    for rows, width in sorted_chunks(lengths, most=max_length_tokens, max_chunk_tokens=max_chunk_tokens):
        yield _token_chunk([token_ids[row] for row in rows], rows=rows, width=width, pad_token_id=pad_token_id)


def sorted_chunks(
    lengths: Sequence[int], *, most: int | None = None, max_chunk_tokens: int
) -> Iterator[tuple[list[int], int]]:
    """Do the same with lengths alone: which sequences each chunk has, and how wide it is."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    widths = [aligned(lengths[row], most=max(lengths) if most is None else most) for row in order]
    start = 0
    while start < len(order):
        end = start + 1
        # Sorted: the newest member is the longest, and decides how wide the whole chunk gets.
        while end < len(order) and widths[end] * (end + 1 - start) <= max_chunk_tokens:
            end += 1
        # The shorter ones go apart where that saves more padding than a chunk of their own costs.
        saved, cut = max(
            ((cut - start) * (widths[end - 1] - widths[cut - 1]), cut) for cut in range(start + 1, end + 1)
        )
        end = cut if saved > max(_CHUNK_COST, max_chunk_tokens // _CHUNK_COST_SHARE) else end
        yield order[start:end], widths[end - 1]
        start = end


def aligned(length: int, *, most: int) -> int:
    """Return how many tokens a chunk of sequences of this length is wide.

    Attention over a multiple of 16 takes a third less time than over the numbers between, on CPUs and on GPUs with
    matrix units, which is more than the padding costs; below 33 tokens attention hardly counts.

    Args:
        length: The longest sequence of the chunk.
        most: What no sequence exceeds, so that a model's positions are not.
    """
    return length if length <= _SHORT else max(length, min(-(-length // _ALIGNMENT) * _ALIGNMENT, most))


def answer_labels(
    tokenizer: PreTrainedTokenizerBase, answers: Sequence[str], *, max_answer_tokens: int
) -> Int[Tensor, "batch output"]:
    """Tokenize answers as labels: the tokens of the answer and the end token, without a start token.

    Some tokenizers put a start token first. It is left out: relevance is read where the decoder chooses its first
    token, and that must be the first of the answer, not a constant.
    """
    end = end_token_id(tokenizer)
    rows = tokenizer(list(answers), add_special_tokens=False, truncation=True, max_length=max_answer_tokens - 1)
    labels = [[*row, end] for row in rows["input_ids"]]
    width = max(len(row) for row in labels)
    return torch.tensor([row + [IGNORED_LABEL] * (width - len(row)) for row in labels])


def end_token_id(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the token that ends an answer: the end token, or the separator where a tokenizer has none (BERT's)."""
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    return end if isinstance(end, int) else None


def _token_chunk(token_ids: Sequence[TokenIds], *, rows: Sequence[int], width: int, pad_token_id: int) -> TokenChunk:
    ids, mask = padded(token_ids, width=width, pad_token_id=pad_token_id)
    return TokenChunk(token_ids=ids, mask=mask, places=_numbers(mask), rows=torch.tensor(rows))


def padded(
    token_ids: Sequence[TokenIds], *, width: int, pad_token_id: int
) -> tuple[Int[Tensor, "rows length"], Bool[Tensor, "rows length"]]:
    """Fill sequences up on the right to a width that none exceeds; return them, and where they are real."""
    ids = np.full((len(token_ids), width), pad_token_id)
    for line, row in zip(ids, token_ids, strict=True):
        line[: len(row)] = row
    return torch.from_numpy(ids), torch.arange(width) < torch.tensor([len(row) for row in token_ids])[:, None]


def _fusion_plan(
    chunks: Sequence[TokenChunk],
    *,
    lengths: Int[Tensor, " pairs"],
    question_of_row: Int[Tensor, " pairs"],
    passage_of_row: Int[Tensor, " pairs"],
    num_questions: int,
) -> FusionPlan:
    """Lay the rows of each question one after the other, in the order in which they came."""
    total = torch.zeros(num_questions, dtype=torch.long).index_add_(0, question_of_row, lengths)
    width = int(total.max())
    # Rows of a question are contiguous, so the place of a row is the running total less that at its question's start.
    first_token = lengths.cumsum(0) - lengths - (total.cumsum(0) - total)[question_of_row]
    row_start = question_of_row * width + first_token
    rows = torch.cat([chunk.rows for chunk in chunks])
    slots = row_start[rows].repeat_interleave(lengths[rows]) + _ranges(lengths[rows])
    passage_of_token = torch.full((num_questions * width,), -1)
    passage_of_token[slots] = passage_of_row[rows].repeat_interleave(lengths[rows])
    mask = torch.arange(width) < total[:, None]
    return FusionPlan(
        slots=slots,
        mask=mask,
        padding=_numbers(~mask),
        passage_of_token=passage_of_token.view(num_questions, width),
    )


def _numbers(mask: Bool[Tensor, "rows length"]) -> Int[Tensor, " true"]:
    """Return where a mask is true, counted row after row."""
    return mask.flatten().nonzero().squeeze(1)


def _ranges(lengths: Int[Tensor, " rows"]) -> Int[Tensor, " tokens"]:
    """Count 0, 1, ... anew for each row."""
    return torch.arange(int(lengths.sum())) - (lengths.cumsum(0) - lengths).repeat_interleave(lengths)


def _pad(tokenizer: PreTrainedTokenizerBase) -> int:
    pad = tokenizer.pad_token_id
    return pad if isinstance(pad, int) else 0
