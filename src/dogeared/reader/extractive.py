"""An extractive reader: the answer is a span of one of the passages, and all passages compete for it.

A bidirectional encoder reads the question with each passage apart and gives each token two numbers, as the start and
as the end of the answer. Both are normalised over the tokens of *all* passages of the question, so that passages can be
compared: a reader that is trained on each passage by itself has no opinion on which of them is right. It is trained on
the likelihood of all places where an answer stands, added up; none of them is marked as the right one.

The passages' text alone can be answered from; question and title are read with it. What is saved is a plain
question-answering model of the Hugging Face library, and any such model can be the start.

Not here: training (``training/train_extractive.py``), relevance (``distill/posterior.py``).

Sources: Karpukhin et al., "Dense Passage Retrieval", EMNLP 2020 (the reader; ours needs no head that chooses among
passages); Clark and Gardner, "Simple and Effective Multi-Paragraph Reading Comprehension", ACL 2018 (one normalisation
over passages, all occurrences); Yang and Seo, "Is Retriever Merely an Approximator of Reader?", 2020.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from dogeared.attention import use_fast_attention
from dogeared.errors import ModelError
from dogeared.evaluation.answers import AnswerMatcher, Language
from dogeared.models import forget_last_call, resolve_model
from dogeared.reader.extractive_batch import ExtractiveBatch, extractive_batch
from dogeared.reader.fid import ReaderSettings
from dogeared.reader.spans import best_spans, marginal_loss, passage_log_posterior, span_scores
from dogeared.records import Passage

__all__ = ["ExtractiveReader", "SpanLogits"]


@dataclass(frozen=True, kw_only=True)
class SpanLogits:
    """What the reader thinks of each token of the long sequences.

    Attributes:
        start: As the first token of the answer.
        end: As its last.
    """

    start: Float[Tensor, "batch length"]
    end: Float[Tensor, "batch length"]


class ExtractiveReader(nn.Module):
    """A reader: from questions with passages to spans of the passages.

    Args:
        model: Any encoder with a span head; it is used as it is, in place.
        tokenizer: Its tokenizer, which must be able to say where in a text a token stands.
        settings: Lengths and the like; ``max_answer_tokens`` is the longest span.
        language: How answers are found in texts.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: ReaderSettings | None = None,
        *,
        language: Language = "en",
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.settings = settings or ReaderSettings(kind="extractive")
        self.language: Language = language
        self._matcher = AnswerMatcher(language)
        use_fast_attention(model)

    @classmethod
    def load(cls, settings: ReaderSettings, *, language: Language = "en") -> Self:
        """Load an encoder and its tokenizer; a plain encoder gets a fresh span head, so it must be trained before use.

        Raises:
            ModelError: There is no such model, it is not a bidirectional encoder, or its tokenizer cannot say where in
                a text its tokens stand.
        """
        name = resolve_model(settings.model)
        try:
            config = AutoConfig.from_pretrained(name)
            if config.is_encoder_decoder or config.model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
                raise ValueError(f"a model of type {config.model_type} is none")
            tokenizer = AutoTokenizer.from_pretrained(name)
            model = AutoModelForQuestionAnswering.from_pretrained(name, dtype=torch.float32)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                "reader.model: expected a bidirectional encoder (BERT and its kin) that the transformers library can "
                f'load, as reader.kind = "extractive" wants, got {settings.model!r}: {error}. Give a name on the hub '
                '(network needed) or a folder made by save_pretrained, or set reader.kind = "fusion_in_decoder".'
            ) from error
        if not tokenizer.is_fast:
            raise ModelError(
                f"reader.model: the tokenizer of {settings.model!r} does not tell where in a text its tokens stand, "
                "so that no answer can be cut out; save it with a fast tokenizer (tokenizer.json)"
            )
        return cls(model, tokenizer, settings, language=language)

    def save(self, folder: Path) -> None:
        """Write a folder that ``load`` and plain transformers both read."""
        self.model.save_pretrained(folder)
        forget_last_call(self.tokenizer)
        self.tokenizer.save_pretrained(folder)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    def batch(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        *,
        answers: Sequence[Sequence[str]] | None = None,
    ) -> ExtractiveBatch:
        """Tokenize as this reader's settings say, on this reader's device; ``answers`` are all right ones of each."""
        return extractive_batch(
            self.tokenizer,
            questions,
            passages,
            answers=answers,
            max_length_tokens=self.settings.max_length_tokens,
            matcher=self._matcher,
            typed=getattr(self.model.config, "type_vocab_size", 0) > 1,
        ).to(self.device)

    def logits(self, batch: ExtractiveBatch) -> SpanLogits:
        """Encode every pair apart and lay the numbers of each question's tokens one after the other."""
        flat = []
        for place, chunk in enumerate(batch.pairs.chunks):
            told = {"token_type_ids": batch.token_types[place]} if batch.token_types else {}
            said = self.model(input_ids=chunk.token_ids, attention_mask=chunk.mask.long(), **told)
            both = torch.stack([said.start_logits, said.end_logits], dim=-1).float()
            flat.append(both.flatten(0, 1).index_select(0, chunk.places))
        plan = batch.pairs.plan
        num_questions, length = plan.mask.shape
        tokens = torch.cat(flat)
        laid = tokens.new_zeros(num_questions * length, 2).index_copy(0, plan.slots, tokens)
        start, end = laid.view(num_questions, length, 2).unbind(dim=-1)
        return SpanLogits(start=start, end=end)

    def forward(self, batch: ExtractiveBatch) -> Float[Tensor, ""]:
        """Return the negative log-likelihood of all places where an answer stands, averaged over questions.

        Questions without such a place add nothing, and count.
        """
        logits = self.logits(batch)
        return marginal_loss(logits.start, logits.end, batch.readable, batch.occurrences)

    def scores(self, batch: ExtractiveBatch) -> Float[Tensor, "batch length lags"]:
        """Return the score of every span that may be an answer, minus infinity where there is none."""
        logits = self.logits(batch)
        return span_scores(
            logits.start,
            logits.end,
            batch.pairs.plan.passage_of_token.masked_fill(~batch.readable, -1),
            max_tokens=self.settings.max_answer_tokens,
        )

    def log_posterior(
        self, scores: Float[Tensor, "batch length lags"], batch: ExtractiveBatch
    ) -> Float[Tensor, "batch passages"]:
        """Return how likely each passage holds the answer, as logarithms, minus infinity where there is no passage."""
        counts = batch.pairs.num_passages
        return passage_log_posterior(
            scores, batch.pairs.plan.passage_of_token, num_passages=counts, width=int(counts.max())
        )

    @torch.inference_mode()
    def generate(self, batch: ExtractiveBatch) -> list[str]:
        """Cut out an answer to each question: the best span, empty where there is nothing to read."""
        return self.answers(self.scores(batch), batch)

    def answers(self, scores: Float[Tensor, "batch length lags"], batch: ExtractiveBatch) -> list[str]:
        """Cut out the best span of each question from scores at hand."""
        answers = []
        for number, span in enumerate(best_spans(scores)):
            if span is None:
                answers.append("")
                continue
            passage = int(batch.pairs.plan.passage_of_token[number, span[0]])
            first, last = (int(batch.offsets[number, token, side]) for side, token in enumerate(span))
            answers.append(batch.texts[number][passage][first:last].strip())
        return answers
