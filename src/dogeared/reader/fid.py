"""Fusion-in-Decoder over any encoder-decoder of the Hugging Face library.

The reader encodes each question with each of its passages apart, lays the encoder's states of all passages one after
the other, and lets the decoder attend to all of them at once: the cost of the encoder is linear in the number of
passages, and evidence is put together in the decoder. No model code is written or copied here: the stock decoder
takes the long sequence through the library's ``encoder_outputs``.

Not here: how the decoder's attention is recorded (``cross_attention.py``) and what it means (``distill/``), training,
retrieval.

Source: Izacard and Grave, "Leveraging Passage Retrieval with Generative Models for Open Domain Question Answering",
EACL 2021.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from pydantic import Field
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    EncoderDecoderModel,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.modeling_outputs import BaseModelOutput

from dogeared.attention import use_fast_attention
from dogeared.batching import IGNORED_LABEL, FusionPlan, ReaderBatch, TokenChunk, end_token_id, reader_batch
from dogeared.cheap_dropout import use_cheap_dropout
from dogeared.errors import ConfigError, ModelError
from dogeared.feed_forward import use_fast_feed_forward
from dogeared.few_rows import use_few_rows
from dogeared.joint_projections import use_joint_projections
from dogeared.models import forget_last_call, resolve_model
from dogeared.reader.absorbed import making_few_keys, without_logits
from dogeared.records import Passage
from dogeared.root_mean_square import fold_norms, use_fast_norms
from dogeared.rounded import Images, call_rounded, round_between, rounded_weights
from dogeared.settings import Settings

__all__ = ["FusedStates", "FusionInDecoder", "ReaderSettings", "set_special_tokens", "special_tokens"]

logger = logging.getLogger(__name__)

_CHUNK_TOKENS, _CHUNK_TOKENS_ON_CPU = 65_536, 4_096  # what so few tokens leave behind stays in a CPU's cache


class ReaderSettings(Settings):
    """What a reader is, apart from its weights."""

    # Left out of what is written down where it is the paper's: readers made before there was a choice stay the same.
    kind: Literal["fusion_in_decoder", "extractive"] = Field(
        default="fusion_in_decoder", exclude_if=lambda kind: kind == "fusion_in_decoder"
    )
    """The paper's reader, which writes answers; or one that marks a span of a passage, which any encoder learns in
    minutes: it says nothing that is not in the passages word for word."""
    model: str = "t5-small"
    """The start of every round's reader: a name on the hub, a folder, or ``demo:reader`` for the shipped one."""
    num_passages: int = Field(default=20, ge=0)
    """How many passages of the ranking the reader reads; more cost more, linearly."""
    max_length_tokens: int = Field(default=250, ge=8)
    """Question, title and text of one passage together; what is longer is cut at its end."""
    max_answer_tokens: int = Field(default=32, ge=2)
    """The longest answer to learn, to generate or to mark."""
    num_beams: int = Field(default=1, ge=1)
    """Beams of the search for an answer; 1 is greedy."""


@dataclass(frozen=True, kw_only=True)
class FusedStates:
    """What the decoder attends to.

    Attributes:
        states: The encoder's states of all passages of a question, one passage after the other.
        mask: Where they are real.
        passage_of_token: The passage of each; -1 where there is none.
        num_passages: How many each question has.
    """

    states: Float[Tensor, "batch length dim"]
    mask: Bool[Tensor, "batch length"]
    passage_of_token: Int[Tensor, "batch length"]
    num_passages: Int[Tensor, " batch"]

    def alone(self, number: int) -> "FusedStates":
        """Cut one question out of the batch, without its padding."""
        length = int(self.mask[number].sum())
        row = slice(number, number + 1)
        return FusedStates(
            states=self.states[row, :length],
            mask=self.mask[row, :length],
            passage_of_token=self.passage_of_token[row, :length],
            num_passages=self.num_passages[row],
        )


class FusionInDecoder(nn.Module):
    """A reader: from questions with passages to answers.

    Args:
        model: Any encoder-decoder; it is used as it is, in place.
        tokenizer: Its tokenizer.
        settings: Lengths and the like.

    Attributes:
        encodes_twice: Whether the encoder's activations are not kept but computed anew for the backward pass, chunk by
            chunk: a third more time, and memory for one chunk in place of all.

    Raises:
        ConfigError: The longest answer has more tokens than the decoder has positions.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: ReaderSettings | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.settings = settings or ReaderSettings()
        self.encodes_twice = False
        _check_positions(model, self.settings)
        use_fast_attention(model)
        use_joint_projections(model)
        use_fast_norms(model)
        use_fast_feed_forward(model)
        use_cheap_dropout(model)
        use_few_rows(model)
        round_between(model)
        # Habits of a former task go: a forced first token (BART's) would put a constant where the first token of the
        # answer is chosen, and a least length or a ban on repeated words would bend short answers.
        special = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
        model.generation_config = GenerationConfig(**{name: getattr(model.generation_config, name) for name in special})

    @classmethod
    def load(cls, settings: ReaderSettings) -> Self:
        """Load a model and its tokenizer.

        An encoder-decoder (T5, mT5, BART and their kin) is taken as it is. A plain encoder (BERT and its kin) becomes
        both halves of an encoder-decoder whose cross-attention is fresh, so that it must be trained before use.

        Raises:
            ModelError: There is no such model, or it is neither an encoder-decoder nor an encoder.
            ConfigError: The longest answer has more tokens than its decoder has positions.
        """
        name = resolve_model(settings.model)
        try:
            config = AutoConfig.from_pretrained(name)
            tokenizer = AutoTokenizer.from_pretrained(name)
            if config.is_encoder_decoder:
                model = AutoModelForSeq2SeqLM.from_pretrained(name, dtype=torch.float32)
            else:
                model = _warm_started(name, tokenizer)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"reader.model: expected an encoder-decoder or an encoder that the transformers library can load, "
                f"got {settings.model!r}: {error}. Give a name on the hub (network needed), a folder made by "
                "save_pretrained, or demo:reader."
            ) from error
        if _decoder_start(model) is None:
            raise ModelError(
                f"reader.model: {settings.model!r} does not say which token its decoder starts from, so it can neither "
                "learn nor answer; set decoder_start_token_id in its config.json (T5's is the padding token)"
            )
        return cls(model, tokenizer, settings)

    def save(self, folder: Path) -> None:
        """Write a folder that ``load`` and plain transformers both read."""
        self.model.save_pretrained(folder)
        forget_last_call(self.tokenizer)
        self.tokenizer.save_pretrained(folder)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    @property
    def start_token_id(self) -> int:
        """The decoder's input at output position 0."""
        start = _decoder_start(self.model)
        assert start is not None, "load() leaves no model without a decoder start token"
        return start

    def batch(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        *,
        answers: Sequence[str] | None = None,
        device: torch.device | None = None,
    ) -> ReaderBatch:
        """Tokenize as this reader's settings say; onto this reader's device where no other is named."""
        chunk_tokens = _CHUNK_TOKENS_ON_CPU if self.device.type == "cpu" else _CHUNK_TOKENS
        return reader_batch(
            self.tokenizer,
            questions,
            passages,
            answers=answers,
            max_length_tokens=self.settings.max_length_tokens,
            max_answer_tokens=self.settings.max_answer_tokens,
            # Where activations are not kept, those of one chunk are most of the peak.
            max_chunk_tokens=chunk_tokens // 4 if self.encodes_twice else chunk_tokens,
        ).to(device or self.device)

    def rounded_weights(self) -> Images:
        """Return what ``fuse`` may use for many batches without gradients; nothing without autocast to bfloat16."""
        with torch.no_grad():
            encoder = self.model.get_encoder()
            images = rounded_weights(encoder)
            fold_norms(encoder, images)
        return images

    def fuse(self, batch: ReaderBatch, weights: Images | None = None) -> FusedStates:
        """Encode every pair apart and lay the states of each question one after the other.

        Args:
            batch: The questions with their passages.
            weights: From ``rounded_weights``, since when no weight has changed; without gradients only.
        """
        encoder = self.model.get_encoder()
        assert weights is None or not torch.is_grad_enabled(), "the weights of norms may stand elsewhere in these"
        weights = rounded_weights(encoder) if weights is None else weights
        parts = []
        for chunk in batch.chunks:
            mask = _encoder_mask(chunk)
            if self.encodes_twice and torch.is_grad_enabled():
                states = checkpoint(_encode, encoder, weights, chunk.token_ids, mask, use_reentrant=False)
            else:
                states = _encode(encoder, weights, chunk.token_ids, mask)
            # Selecting rows by number, not by mask: its backward pass adds up in one fixed order.
            parts.append(states.flatten(0, 1).index_select(0, chunk.places))
        num_questions, length = batch.plan.mask.shape
        fused = _laid_out(parts, batch.plan)
        return FusedStates(
            states=fused.view(num_questions, length, -1),
            mask=batch.plan.mask,
            passage_of_token=batch.plan.passage_of_token,
            num_passages=batch.num_passages,
        )

    def forward(self, batch: ReaderBatch) -> Float[Tensor, ""]:
        """Return the cross-entropy of the labels, averaged over their tokens.

        The average is over all label tokens of the batch, so a step cut into several batches must weight them by
        ``batch.weight``.
        """
        return self.loss(self.fuse(batch), batch)

    def loss(self, fused: FusedStates, batch: ReaderBatch) -> Float[Tensor, ""]:
        """Return the same of a batch whose states are at hand."""
        assert batch.labels is not None and batch.counted is not None, "a batch without answers has no loss"
        logits = self.logits_of(fused, batch.labels).flatten(0, 1).index_select(0, batch.counted)
        return F.cross_entropy(logits, batch.labels.flatten()[batch.counted])

    def log_likelihood(self, fused: FusedStates, labels: Int[Tensor, "batch output"]) -> Float[Tensor, "batch output"]:
        """Return that of each token of one answer a row, the end token's too; 0 where there is no label."""
        logits = self.logits_of(fused, labels).float()
        ignored = labels == IGNORED_LABEL
        chosen = logits.log_softmax(dim=-1).gather(2, labels.masked_fill(ignored, 0)[:, :, None]).squeeze(2)
        return chosen.masked_fill(ignored, 0.0)

    def logits_of(self, fused: FusedStates, labels: Int[Tensor, "batch output"]) -> Float[Tensor, "batch output vocab"]:
        """Return the decoder's logits where it should write the labels, each behind those before it."""
        with making_few_keys(self.model):
            return self.decode(fused, self.decoder_inputs(labels))

    def decoder_inputs(self, labels: Int[Tensor, "batch output"]) -> Int[Tensor, "batch output"]:
        """Shift labels one place to the right, behind the start token."""
        start = torch.full_like(labels[:, :1], self.start_token_id)
        # What stands in place of ignored labels is never looked back at by a label that counts.
        return torch.cat([start, labels[:, :-1].masked_fill(labels[:, :-1] == IGNORED_LABEL, 0)], dim=1)

    def decode(
        self, fused: FusedStates, decoder_ids: Int[Tensor, "batch output"]
    ) -> Float[Tensor, "batch output vocab"]:
        """Run the stock decoder over fused states and return its logits."""
        return self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=fused.states),  # type: ignore[arg-type]
            attention_mask=_for_the_library(fused.mask),
            decoder_input_ids=decoder_ids,
            use_cache=False,
        ).logits

    def first_step(self, fused: FusedStates) -> Float[Tensor, "batch output vocab"]:
        """Run the decoder on its start token alone: the logits of the first answer token. Needs no answer."""
        return self.decode(fused, torch.full_like(fused.num_passages[:, None], self.start_token_id))

    def look(self, fused: FusedStates) -> None:
        """Run the same step for what the decoder attends to, without logits: for whoever records it."""
        with without_logits(self.model):
            self.first_step(fused)

    @torch.inference_mode()
    def generate(self, batch: ReaderBatch) -> list[str]:
        """Write an answer to each question."""
        return self.tokenizer.batch_decode(self.generate_ids(self.fuse(batch)), skip_special_tokens=True)

    def generate_ids(self, fused: FusedStates) -> Int[Tensor, "batch output"]:
        """Write the token ids of an answer to each question, the decoder's start token first."""
        return self._generated(fused)

    @torch.inference_mode()
    def generate_with_likelihood(
        self, fused: FusedStates
    ) -> tuple[Int[Tensor, "batch output"], Float[Tensor, "batch written"]]:
        """Return the same, and the logarithm of each written token's probability behind those before it.

        What is written behind the end of an answer has one too, which means nothing.
        """
        if self.settings.num_beams == 1:
            best = _LikelihoodOfBest()
            ids = self._generated(fused, logits_processor=LogitsProcessorList([best]))
            return ids, torch.stack(best.of_steps, dim=1)
        # For beams the library would keep the logits of all of them; the decoder says the answers again, one by one.
        ids = self._generated(fused)
        answers = enumerate(ids[:, 1:])
        return ids, torch.cat([self.log_likelihood(fused.alone(number), written[None]) for number, written in answers])

    @torch.inference_mode()
    def _generated(self, fused: FusedStates, **options: Any) -> Any:
        config = self.model.generation_config
        return self.model.generate(  # type: ignore[operator]
            encoder_outputs=BaseModelOutput(last_hidden_state=fused.states),  # type: ignore[arg-type]
            attention_mask=fused.mask.long(),
            generation_config=GenerationConfig(
                max_new_tokens=self.settings.max_answer_tokens,
                num_beams=self.settings.num_beams,
                do_sample=False,
                decoder_start_token_id=self.start_token_id,
                pad_token_id=config.pad_token_id,
                eos_token_id=config.eos_token_id,
            ),
            **options,
        )


class _LikelihoodOfBest(LogitsProcessor):
    """Notes how likely the best token of each step is, which a greedy search takes, and changes nothing."""

    def __init__(self) -> None:
        self.of_steps: list[Float[Tensor, " batch"]] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.of_steps.append(scores.amax(dim=-1) - scores.logsumexp(dim=-1))
        return scores


def _encode(
    encoder: nn.Module,
    weights: Images,
    token_ids: Int[Tensor, "rows length"],
    mask: Tensor | None,
) -> Float[Tensor, "rows length dim"]:
    return call_rounded(encoder, weights, token_ids, mask).last_hidden_state


def _encoder_mask(chunk: TokenChunk) -> Tensor | None:
    is_full = len(chunk.places) == chunk.mask.numel()
    return None if is_full else _for_the_library(chunk.mask)


def _for_the_library(mask: Bool[Tensor, "rows length"]) -> Tensor:
    """Return a mask as the library takes it: it looks whether all of a flat one is true, and would wait for a GPU."""
    return mask.long() if mask.device.type == "cpu" else mask[:, None, None]


def _laid_out(parts: list[Float[Tensor, "_tokens dim"]], plan: FusionPlan) -> Float[Tensor, "size dim"]:
    """Put the tokens of all parts, one part after the other, into their slots; zeros stand in the others."""
    shape = (plan.mask.numel(), parts[0].shape[-1])
    if torch.is_grad_enabled():
        # Written in place part by part, each would have the whole gradient copied on the way back.
        tokens = torch.cat(parts)
        return tokens.new_zeros(shape).index_copy(0, plan.slots, tokens)
    laid = parts[0].new_empty(shape).index_fill_(0, plan.padding, 0.0)
    for part, places in zip(parts, plan.slots.split([len(part) for part in parts]), strict=True):
        laid.index_copy_(0, places, part)
    return laid


def _decoder_start(model: PreTrainedModel) -> int | None:
    """Where it is written depends on the kind of model and on the age of its folder."""
    start = model.generation_config.decoder_start_token_id  # type: ignore[union-attr]
    return getattr(model.config, "decoder_start_token_id", None) if start is None else start


def _check_positions(model: PreTrainedModel, settings: ReaderSettings) -> None:
    """See that the longest answer has a place in the decoder's table of positions; T5 and its kin have none."""
    config = model.config.decoder if isinstance(model, EncoderDecoderModel) else model.config
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and settings.max_answer_tokens > positions:
        raise ConfigError(
            f"reader.max_answer_tokens: expected at most {positions}, which is how many positions the decoder of this "
            f"reader has, got {settings.max_answer_tokens}; it could not write so long an answer. Set fewer"
        )


def _warm_started(name: str, tokenizer: PreTrainedTokenizerBase) -> EncoderDecoderModel:
    """Make an encoder-decoder whose halves both start from one encoder's weights.

    Source: Rothe, Narayan and Severyn, "Leveraging Pre-trained Checkpoints for Sequence Generation Tasks", TACL 2020.
    """
    model = EncoderDecoderModel.from_encoder_decoder_pretrained(
        name, name, encoder_dtype=torch.float32, decoder_dtype=torch.float32
    )
    assert isinstance(model, EncoderDecoderModel)
    set_special_tokens(model, special_tokens(tokenizer, name, start_token_id=tokenizer.cls_token_id))
    return model


def special_tokens(tokenizer: PreTrainedTokenizerBase, encoder: str, *, start_token_id: object) -> dict[str, int]:
    """Say which tokens of a plain encoder begin, end and pad what a decoder on top of it writes.

    Raises:
        ModelError: Its tokenizer lacks one.
    """
    special = {
        "decoder_start_token_id": start_token_id,
        "eos_token_id": end_token_id(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
    }
    found = {name: value for name, value in special.items() if isinstance(value, int)}
    if found != special:
        raise ModelError(
            f"reader.model: {encoder} is a plain encoder, and its tokenizer lacks a start, an end or a padding token "
            f"({special}), without which no decoder can be made of it"
        )
    return found


def set_special_tokens(model: EncoderDecoderModel, special: dict[str, int]) -> None:
    """Tell a model made of two halves which tokens these are."""
    model.config.update(special)
    for name, value in special.items():
        setattr(model.generation_config, name, value)
