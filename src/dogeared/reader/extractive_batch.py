"""What an extractive reader reads: questions with passages, tokenized as pairs, and where answers stand in them.

Tokens of the passages' text are told from those of question and title, because an answer is looked for in the text
alone. This module knows tokenizers; it does not know models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from dogeared.batching import Movable, ReaderBatch, batch_of_rows
from dogeared.cuts import count_cuts
from dogeared.evaluation.answers import AnswerMatcher, answer_places
from dogeared.records import Passage

__all__ = ["ExtractiveBatch", "extractive_batch"]


@dataclass(frozen=True, kw_only=True)
class ExtractiveBatch(Movable):
    """Several questions with their passages, ready for an extractive reader.

    Attributes:
        pairs: Tokens of questions with passages, and their places in the long sequence of each question.
        token_types: For each chunk of ``pairs``, which tokens are the passage's; empty where the model is not told.
        readable: Which tokens of the long sequences are of a passage's text: answers are looked for there alone.
        occurrences: Where answers stand, one row each: question, first and last token in its long sequence.
        offsets: Of each token, the first character of its row's text and the one after its last.
        texts: What the offsets are of: for each question, one text a passage.
    """

    pairs: ReaderBatch
    token_types: tuple[Int[Tensor, "_ _"], ...]
    readable: Bool[Tensor, "batch length"]
    occurrences: Int[Tensor, "occurrences 3"]
    offsets: Int[Tensor, "batch length 2"]
    texts: Sequence[Sequence[str]]

    def to(self, device: torch.device) -> Self:
        """Return the batch with all its tensors on ``device``; texts have none."""
        return type(self)(
            pairs=self.pairs.to(device),
            token_types=tuple(one.to(device) for one in self.token_types),
            readable=self.readable.to(device),
            occurrences=self.occurrences.to(device),
            offsets=self.offsets.to(device),
            texts=self.texts,
        )

    @property
    def weight(self) -> int:
        """The number of questions: the share of this batch in the mean loss of a step."""
        return len(self.pairs.num_passages)


def extractive_batch(
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str],
    passages: Sequence[Sequence[Passage]],
    *,
    answers: Sequence[Sequence[str]] | None = None,
    max_length_tokens: int,
    matcher: AnswerMatcher,
    typed: bool = False,
) -> ExtractiveBatch:
    """Tokenize questions with their passages, and find the answers in them.

    Args:
        tokenizer: The reader's; it tells where in a text its tokens stand.
        questions: The questions as text.
        passages: The passages of each, possibly none; a question without passages has nothing to be answered from.
        answers: All right answers of each, to learn from.
        max_length_tokens: Of longer pairs the longer half is cut at its end, as a rule the passage.
        matcher: How answers are found in texts.
        typed: Whether the model is told which tokens are the passage's.
    """
    texts = [[f"{p.title}: {p.text}" if p.title else p.text for p in found] for found in passages]
    counts = [max(1, len(found)) for found in passages]
    pairs = tokenizer(
        [question for question, count in zip(questions, counts, strict=True) for _ in range(count)],
        [text for found in texts for text in found or [""]],
        truncation=True,
        max_length=max_length_tokens,
        return_offsets_mapping=True,
        return_token_type_ids=True,
    )
    count_cuts("reader.max_length_tokens", max_length_tokens, map(len, pairs["input_ids"]))
    offsets: list[list[tuple[int, int]]] = pairs["offset_mapping"]
    readable: list[list[bool]] = []
    spans: set[tuple[int, int, int]] = set()
    for number, (found, own_texts) in enumerate(zip(passages, texts, strict=True)):
        first_token = 0
        for passage, text in zip(found or [None], own_texts or [""], strict=True):
            row = len(readable)
            start = len(text) - (0 if passage is None else len(passage.text))
            readable.append(
                [
                    which == 1 and end > max(begin, start)
                    for which, (begin, end) in zip(pairs.sequence_ids(row), offsets[row], strict=True)
                ]
            )
            if answers is not None and passage is not None:
                places = [(place, *offsets[row][place]) for place, counted in enumerate(readable[row]) if counted]
                spans |= {
                    (number, first_token + first, first_token + last)
                    for first, last in _occurrences(answers[number], passage.text, places, start, matcher)
                }
            first_token += len(offsets[row])
    pad = tokenizer.pad_token_id
    fused = batch_of_rows(
        pairs["input_ids"],
        [len(found) for found in passages],
        pad_token_id=pad if isinstance(pad, int) else 0,
        max_length_tokens=max_length_tokens,
    )
    types = [
        _padded([pairs["token_type_ids"][row] for row in chunk.rows], width=chunk.token_ids.shape[1])
        for chunk in fused.chunks
        if typed
    ]
    return ExtractiveBatch(
        pairs=fused,
        token_types=tuple(types),
        readable=_laid_out(readable, counts).bool(),
        occurrences=torch.tensor(sorted(spans), dtype=torch.long).reshape(-1, 3),
        offsets=_laid_out(offsets, counts),
        texts=texts,
    )


def _occurrences(
    answers: Sequence[str],
    text: str,
    places: Sequence[tuple[int, int, int]],
    text_start: int,
    matcher: AnswerMatcher,
) -> list[tuple[int, int]]:
    """Find the first and last token of each place where an answer stands; those cut off are left out.

    Args:
        answers: What to look for.
        text: The passage's.
        places: Of each of its tokens that is read: which one it is, its first character and the one after its last.
        text_start: Where the text begins in what the characters are counted in.
        matcher: How answers are found.
    """
    if not places or not matcher.has_answer(answers, text):
        return []
    found = []
    for answer in answers:
        for start, end in answer_places([answer], text, matcher.language):
            first, last = start + text_start, end + text_start
            inside = [place for place, begin, after in places if after > first and begin < last]
            if inside and places[-1][2] >= last:
                found.append((inside[0], inside[-1]))
    return found


def _padded(rows: Sequence[Sequence[int]], *, width: int) -> Int[Tensor, "rows length"]:
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])


def _laid_out(rows: Sequence[Sequence[Any]], counts: Sequence[int]) -> Tensor:
    """Lay values of the tokens of each question's rows one after the other, padded with zeros to the longest."""
    values = iter(rows)
    whole = [torch.cat([torch.tensor(next(values), dtype=torch.long) for _ in range(count)]) for count in counts]
    return nn.utils.rnn.pad_sequence(whole, batch_first=True)
