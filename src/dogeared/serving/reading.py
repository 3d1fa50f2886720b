"""Read questions with their passages, and tell what the reader saw on the way.

Several questions are encoded and answered at once. The attention of the written answer is then looked at question by
question: what is recorded grows with answer and passages, and one question's worth bounds the memory.

Here is no retrieval, and no judgement on whether an answer is good enough to show.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int

from dogeared.batching import IGNORED_LABEL
from dogeared.compute import Precision, autocast
from dogeared.distill.relevance import Aggregation
from dogeared.distill.teachers import fused_relevance, labels_of_written
from dogeared.pairs import PASSAGE_TEMPLATE
from dogeared.reader.absorbed import without_logits
from dogeared.reader.cross_attention import record_cross_attention
from dogeared.reader.extractive import ExtractiveReader
from dogeared.reader.fid import FusedStates, FusionInDecoder
from dogeared.reader.kinds import Reader
from dogeared.reader.text_tokens import text_tokens
from dogeared.records import Passage
from dogeared.serving.recent import RecentStates
from dogeared.serving.words import cut_words, word_weights

__all__ = ["PassageAttention", "Reading", "judge", "read"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PassageAttention:
    """What each token of an answer saw of one passage.

    Attributes:
        words: First character of each word of the text, and the one after its last.
        token_share: For each answer token, the share of all attention that went to the passage, question and title
            included; the shares of all passages add up to 1.
        token_relevance: For each answer token, the share that went to each word.
    """

    words: tuple[tuple[int, int], ...]
    token_share: tuple[float, ...]
    token_relevance: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What a reader made of one question.

    Attributes:
        answer: What it wrote; may be empty.
        confidence: From 0 to 1: the geometric mean of the written tokens' probabilities; of an extractive reader, the
            probability of the span.
        relevance: One number a passage.
        answer_tokens: What was written, token by token; empty where nobody asked.
        attention: One a passage; empty where nobody asked or there is no decoder.
    """

    answer: str
    confidence: float
    relevance: tuple[float, ...]
    answer_tokens: tuple[str, ...] = ()
    attention: tuple[PassageAttention, ...] = ()


@torch.inference_mode()
def read(
    reader: Reader,
    questions: Sequence[str],
    passages: Sequence[Sequence[Passage]],
    *,
    aggregation: Aggregation,
    precision: Precision,
    attention: Sequence[bool],
    recent: RecentStates,
) -> list[Reading]:
    """Answer questions from their passages, in one batch.

    Args:
        reader: In evaluation mode; one thread at a time may use it.
        questions: As text.
        passages: Those of each, possibly none.
        aggregation: How attention becomes relevance; an extractive reader does not ask.
        precision: Of the reader's matrix products.
        attention: For each question, whether to tell what each answer token saw.
        recent: What this reader encoded a moment ago, in this precision.
    """
    if isinstance(reader, ExtractiveReader):
        return _mark(reader, questions, passages, precision)
    counted = text_tokens(reader, questions, passages) if aggregation.input_tokens == "passage" else None
    with autocast(precision, reader.device):
        fused = recent.fuse(reader, questions, passages)
        relevance = fused_relevance(reader, fused, aggregation, counted=counted).tolist()
        ids, likelihood = reader.generate_with_likelihood(fused)
        labels = labels_of_written(reader, ids)
        readings = []
        for number, found in enumerate(passages):
            is_written = labels[number] != IGNORED_LABEL
            written, seen = labels[number][is_written], ()
            if attention[number]:
                alone = fused.alone(number)
                seen = _attention(reader, questions[number], found, alone, _look(reader, alone, written))
            readings.append(
                Reading(
                    answer=str(reader.tokenizer.decode(written, skip_special_tokens=True)).strip(),
                    confidence=float(likelihood[number][is_written].mean().exp()),
                    relevance=tuple(relevance[number][: len(found)]),
                    answer_tokens=_token_texts(reader, written) if attention[number] else (),
                    attention=seen,
                )
            )
    return readings


@torch.inference_mode()
def judge(
    reader: Reader,
    question: str,
    passages: Sequence[Passage],
    *,
    aggregation: Aggregation,
    precision: Precision,
    recent: RecentStates,
) -> list[float]:
    """Return the relevance of passages that nobody retrieved; the reader writes nothing it need not."""
    if isinstance(reader, ExtractiveReader):
        return list(_mark(reader, [question], [passages], precision)[0].relevance)
    counted = text_tokens(reader, [question], [passages]) if aggregation.input_tokens == "passage" else None
    with autocast(precision, reader.device):
        fused = recent.fuse(reader, [question], [passages])
        return fused_relevance(reader, fused, aggregation, counted=counted)[0].tolist()


def _mark(
    reader: ExtractiveReader, questions: Sequence[str], passages: Sequence[Sequence[Passage]], precision: Precision
) -> list[Reading]:
    """The best span is the answer, and each passage's share of all spans its relevance."""
    batch = reader.batch(questions, passages)
    with autocast(precision, reader.device):
        scores = reader.scores(batch)
    flat = scores.flatten(1).float()
    sure = (flat.amax(dim=1) - flat.logsumexp(dim=1)).exp().nan_to_num(0.0).tolist()  # no span at all: no confidence
    relevance = reader.log_posterior(scores, batch).tolist()
    return [
        Reading(answer=answer, confidence=sure[number], relevance=tuple(relevance[number][: len(found)]))
        for number, (answer, found) in enumerate(zip(reader.answers(scores, batch), passages, strict=True))
    ]


def _look(
    reader: FusionInDecoder, fused: FusedStates, written: Int[torch.Tensor, " output"]
) -> Float[torch.Tensor, "output length"]:
    """Let the decoder say its answer again, and return what share of attention each input token got."""
    with record_cross_attention(reader.model) as record, without_logits(reader.model):
        reader.decode(fused, reader.decoder_inputs(written[None]))
    return record.scores()[:, 0].float().softmax(dim=-1).mean(dim=(0, 1)).cpu()


def _attention(
    reader: FusionInDecoder,
    question: str,
    passages: Sequence[Passage],
    fused: FusedStates,
    shares: Float[torch.Tensor, "output length"],
) -> tuple[PassageAttention, ...]:
    passage_of_token = fused.passage_of_token[0].cpu()
    attention = []
    for number, passage in enumerate(passages):
        own = shares[:, passage_of_token == number]
        words = cut_words(passage.text)
        of_word = own.new_zeros(len(own), len(words))
        for token, word, weight in word_weights(_places(reader, question, passage), words):
            of_word[:, word] += own[:, token] * weight
        attention.append(
            PassageAttention(
                words=tuple(words),
                token_share=tuple(own.sum(dim=1).tolist()),
                token_relevance=tuple(map(tuple, of_word.tolist())),
            )
        )
    return tuple(attention)


def _places(reader: FusionInDecoder, question: str, passage: Passage) -> list[tuple[int, int]]:
    """Say where each token of a pair stands in the passage's text; none does where the tokenizer does not tell."""
    if not reader.tokenizer.is_fast:
        return []
    before = PASSAGE_TEMPLATE.format(question=question, title=passage.title, text="")
    places = reader.tokenizer(
        before + passage.text,
        truncation=True,
        max_length=reader.settings.max_length_tokens,
        return_offsets_mapping=True,
    )["offset_mapping"]
    return [(max(0, start - len(before)), end - len(before)) for start, end in places]


def _token_texts(reader: FusionInDecoder, written: Int[torch.Tensor, " output"]) -> tuple[str, ...]:
    return tuple(str(reader.tokenizer.decode([token])) for token in written.tolist())
