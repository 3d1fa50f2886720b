"""A hint for a fresh reader: mark where an answer stands, while learning to write it.

A decoder that is fresh hears of its mistakes word by word, and the encoder under it only through the decoder. So the
encoder is given a second task on the same batch: of all tokens of all passages of a question, point at those where an
answer begins and where one ends. One softmax covers all passages of a question, so that the states compare passages.
The answers are those the reader learns from anyway; no passage is said to be relevant, since an answer's words are
looked for in every passage (and found in the question, where they stand in it). The two rows of weights that do the
pointing are thrown away after training.

Source: the loss is that of an extractive reader with shared normalisation and marginal likelihood (Clark and Gardner,
"Simple and Effective Multi-Paragraph Reading Comprehension", ACL 2018); its use beside a decoder is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from dogeared.batching import Movable, ReaderBatch
from dogeared.reader.fid import FusionInDecoder

__all__ = ["HintedBatch", "HintedReader", "fused_token_ids", "hinted_batch", "hinted_batches", "pointing_loss"]


@dataclass(frozen=True, kw_only=True)
class HintedBatch(Movable):
    """A reader's batch, and where answers stand in it.

    Attributes:
        reading: The questions with their passages and labels.
        starts: The tokens at which an answer begins.
        ends: The tokens at which an answer ends.
        num_hints: What the losses of its questions are divided by: how many questions have a hint, in a batch that is a
            step; else such a number that the step's loss is the same however it is cut.
    """

    reading: ReaderBatch
    starts: Bool[Tensor, "batch length"]
    ends: Bool[Tensor, "batch length"]
    num_hints: float

    @property
    def weight(self) -> int:
        """The share of this batch in the mean loss of a step."""
        return self.reading.weight


class HintedReader(nn.Module):
    """A reader with two rows of weights that point; training it trains the reader.

    Args:
        reader: Is used as it is, in place.
        weight: What the loss of pointing is multiplied with before it is added.
    """

    def __init__(self, reader: FusionInDecoder, weight: float) -> None:
        super().__init__()
        self.reader = reader
        self.weight = weight
        self.pointer = nn.Linear(reader.model.get_encoder().config.hidden_size, 2)

    def forward(self, batch: HintedBatch) -> Float[Tensor, ""]:
        """Return the reader's loss plus that of pointing."""
        fused = self.reader.fuse(batch.reading)
        scores = self.pointer(fused.states.float())
        hints = [
            pointing_loss(scores[..., side], fused.mask, wanted).sum() / batch.num_hints
            for side, wanted in enumerate((batch.starts, batch.ends))
        ]
        return self.reader.loss(fused, batch.reading) + self.weight * torch.stack(hints).mean()


def pointing_loss(
    scores: Float[Tensor, "batch length"], mask: Bool[Tensor, "batch length"], wanted: Bool[Tensor, "batch length"]
) -> Float[Tensor, " batch"]:
    """Return minus the log of the probability of all wanted tokens together; 0 for a question without any.

    The softmax of a question covers the tokens of all its passages and nothing else.
    """
    has_any = wanted.any(dim=1)
    total = scores.masked_fill(~mask, -torch.inf).logsumexp(dim=1)
    # A question with nothing to point at gets a row of zeros, because the gradient of an empty sum is not a number.
    right = scores.masked_fill(~wanted & has_any[:, None], -torch.inf).logsumexp(dim=1)
    return torch.where(has_any, total - right, 0.0)


def hinted_batches(
    batches: Sequence[ReaderBatch], tokenizer: PreTrainedTokenizerBase, answers: Sequence[Sequence[Sequence[str]]]
) -> list[HintedBatch]:
    """Find the answers in all batches of a step, whose loss averages over the hints of them all.

    Args:
        batches: Of one step.
        tokenizer: The reader's.
        answers: Of each batch all answers of each question.
    """
    hinted = [hinted_batch(batch, tokenizer, texts) for batch, texts in zip(batches, answers, strict=True)]
    num_hints = sum(int(batch.starts.any(dim=1).sum()) for batch in hinted)
    whole = sum(batch.weight for batch in batches)
    # The loop counts a batch by its share in the labels of the step; that is made up for here.
    return [replace(batch, num_hints=max(num_hints, 1) * batch.weight / whole) for batch in hinted]


def hinted_batch(
    batch: ReaderBatch, tokenizer: PreTrainedTokenizerBase, answers: Sequence[Sequence[str]]
) -> HintedBatch:
    """Find the answers of each question among the tokens of its passages, in a batch that is a step.

    Args:
        batch: As ``FusionInDecoder.batch`` makes it, on the CPU: many small questions, which a GPU answers no faster.
        tokenizer: The reader's.
        answers: All answers of each question; those that are not found word for word give no hint.
    """
    token_ids = fused_token_ids(batch)
    starts = torch.zeros_like(batch.plan.mask)
    ends = torch.zeros_like(starts)
    for row, texts in enumerate(answers):
        for text in texts:
            wanted = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"]).to(token_ids)
            if 0 < len(wanted) <= token_ids.shape[1]:
                found = (token_ids[row].unfold(0, len(wanted), 1) == wanted).all(dim=1).nonzero().squeeze(1)
                starts[row, found] = True
                ends[row, found + len(wanted) - 1] = True
    return HintedBatch(reading=batch, starts=starts, ends=ends, num_hints=float(max(1, int(starts.any(dim=1).sum()))))


def fused_token_ids(batch: ReaderBatch) -> Int[Tensor, "batch length"]:
    """Lay the tokens themselves as the reader lays their states; -1 where there is none."""
    tokens = torch.cat([chunk.token_ids.flatten()[chunk.places] for chunk in batch.chunks])
    num_questions, length = batch.plan.mask.shape
    laid = tokens.new_full((num_questions * length,), -1)
    return laid.index_copy(0, batch.plan.slots, tokens).view(num_questions, length)
