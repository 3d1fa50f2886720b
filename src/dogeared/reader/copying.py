"""Make a reader of a plain encoder: a small decoder on top of it that begins as a copier.

A fresh decoder has to find out that the words of an answer stand in the states it attends to, and needs tens of
thousands of questions for that alone. But which word a state stands for can be read off the encoder in seconds, by
least squares on any text: so the last cross-attention starts with values that turn a state into the vector of its word,
and half of its heads start by looking behind the word that was written last. The other heads are left to learn where
an answer begins. Copying then takes a few thousand questions (``data/gaps.py`` makes them).

Every part is the library's own: an ``EncoderDecoderModel`` whose decoder is mBART's, with the encoder's word vectors.
What ``FusionInDecoder.load`` makes of a plain encoder without being asked is another thing: both halves from the
encoder's weights (Rothe et al.), which is larger and learns to copy far more slowly.

Source: ours; ``docs/log.md`` has the figures.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoTokenizer,
    EncoderDecoderModel,
    MBartConfig,
    MBartForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.mbart.modeling_mbart import MBartAttention

from dogeared.errors import ModelError
from dogeared.models import resolve_model
from dogeared.reader.fid import FusionInDecoder, ReaderSettings, set_special_tokens, special_tokens
from dogeared.settings import Settings

__all__ = ["CopyingDecoder", "make_copying_reader"]

logger = logging.getLogger(__name__)

_RIDGE = 10.0
_BATCH = 32
_NUM_POSITIONS = 256
_SHARPNESS = 2.0  # of looking behind the last word: the match of a word with itself outweighs a thousand others
_EMBEDDING_SCALE = 0.3  # what a state says outweighs the word that was written last
_OUTPUT_SCALE = 0.5
_FREE_SCALE = 0.5


class CopyingDecoder(Settings):
    """The decoder put on a plain encoder."""

    layers: int = Field(default=2, ge=1)
    """Few are enough: understanding is the encoder's part."""
    heads: int = Field(default=6, ge=2)
    """Must divide the encoder's dimension. Half of them start by looking behind the word written last."""


@dataclass(frozen=True, kw_only=True)
class _Probes:
    """Linear maps from an encoder's states to vectors of words.

    Attributes:
        mean: The mean of the normalised word vectors of running text.
        this_word: Weight and bias: from a state to the centred vector of its own word.
        word_before: The same for the word before it.
        spread: The standard deviation of the numbers in a state.
    """

    mean: Float[Tensor, " dim"]
    this_word: tuple[Float[Tensor, "dim dim"], Float[Tensor, " dim"]]
    word_before: tuple[Float[Tensor, "dim dim"], Float[Tensor, " dim"]]
    spread: float


def make_copying_reader(
    encoder: str,
    texts: Sequence[str],
    *,
    decoder: CopyingDecoder | None = None,
    settings: ReaderSettings | None = None,
    seed: int = 0,
) -> FusionInDecoder:
    """Put a decoder on an encoder.

    Args:
        encoder: A plain encoder (BERT and its kin) by hub name or folder.
        texts: Some hundred passages to read the probes off.
        decoder: Its size.
        settings: Lengths and the like; ``model`` in them is not looked at.
        seed: For what starts by chance.

    Raises:
        ModelError: There is no such encoder, its tokenizer lacks a special token, or the heads do not fit.
        ConfigError: The longest answer in ``settings`` has more tokens than the decoder gets positions.
    """
    shape, settings = decoder or CopyingDecoder(), settings or ReaderSettings()
    tokenizer, model = _load(encoder)
    dim = model.config.hidden_size
    if dim % shape.heads:
        raise ModelError(
            f"copying decoder: expected a number of heads that divides the encoder's dimension {dim}, got {shape.heads}"
        )
    start_token_id = tokenizer.cls_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    special = special_tokens(tokenizer, encoder, start_token_id=start_token_id)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        half = _fresh_decoder(model.config.vocab_size, dim, shape, special)
        vectors = model.get_input_embeddings().weight.detach()  # type: ignore[union-attr]
        probes = _probes(model, tokenizer, texts, max_length_tokens=settings.max_length_tokens)
        _start_as_copier(half, vectors, probes, start_token_id=special["decoder_start_token_id"])
    whole = EncoderDecoderModel(encoder=model, decoder=half)
    set_special_tokens(whole, special)
    return FusionInDecoder(whole, tokenizer, settings)


def _load(name: str) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    folder = resolve_model(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModel.from_pretrained(folder, dtype=torch.float32)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ModelError(f"copying decoder: expected an encoder, got {name!r}: {error}") from error
    if model.config.is_encoder_decoder or not hasattr(model.config, "hidden_size"):
        raise ModelError(f"copying decoder: expected a plain encoder such as BERT, got {name!r}, which is none")
    return tokenizer, model


def _fresh_decoder(vocabulary: int, dim: int, shape: CopyingDecoder, special: dict[str, int]) -> MBartForCausalLM:
    return MBartForCausalLM(
        MBartConfig(
            vocab_size=vocabulary,
            d_model=dim,
            decoder_layers=shape.layers,
            decoder_attention_heads=shape.heads,
            decoder_ffn_dim=4 * dim,
            encoder_layers=0,
            encoder_attention_heads=shape.heads,
            dropout=0.0,
            attention_dropout=0.0,
            activation_dropout=0.0,
            max_position_embeddings=_NUM_POSITIONS,
            pad_token_id=special["pad_token_id"],
            bos_token_id=special["decoder_start_token_id"],
            eos_token_id=special["eos_token_id"],
            is_decoder=True,
            is_encoder_decoder=False,
            add_cross_attention=True,  # type: ignore[call-arg]
            tie_word_embeddings=True,
        )
    )


@torch.inference_mode()
def _probes(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, max_length_tokens: int
) -> _Probes:
    """Read off, by ridge regression over all tokens of the texts, which word a state stands for and which before it."""
    model.eval()
    states: list[Tensor] = []
    words: list[Tensor] = []
    before: list[Tensor] = []
    for start in range(0, len(texts), _BATCH):
        batch = tokenizer(
            list(texts[start : start + _BATCH]),
            padding=True,
            truncation=True,
            max_length=max_length_tokens,
            return_tensors="pt",
        )
        counted = batch["attention_mask"].bool()
        counted[:, 0] = False
        states.append(model(**batch).last_hidden_state[counted])
        words.append(batch["input_ids"][counted])
        before.append(batch["input_ids"].roll(1, dims=1)[counted])
    flat = torch.cat(states)
    vectors = _normalized(model.get_input_embeddings().weight)  # type: ignore[union-attr]
    mean = vectors[torch.cat(words)].mean(dim=0)
    centered = vectors - mean
    return _Probes(
        mean=mean,
        this_word=_ridge(flat, centered[torch.cat(words)]),
        word_before=_ridge(flat, centered[torch.cat(before)]),
        spread=flat.std().item(),
    )


def _ridge(
    states: Float[Tensor, "tokens dim"], targets: Float[Tensor, "tokens dim"]
) -> tuple[Float[Tensor, "dim dim"], Float[Tensor, " dim"]]:
    """Return weight and bias of the regression ``states @ weight + bias``."""
    mean = states.mean(dim=0)
    inputs = states - mean
    gram = inputs.T @ inputs + _RIDGE * torch.eye(inputs.shape[1])
    weight = torch.linalg.solve(gram, inputs.T @ targets)
    return weight, targets.mean(dim=0) - mean @ weight


@torch.no_grad()
def _start_as_copier(
    decoder: MBartForCausalLM, vectors: Float[Tensor, "vocab dim"], probes: _Probes, *, start_token_id: int
) -> None:
    """Set word vectors, positions and the last cross-attention of a fresh decoder."""
    body, dim = decoder.model.decoder, vectors.shape[1]
    body.embed_tokens.weight.copy_(vectors)
    decoder.tie_weights()
    body.layernorm_embedding.weight.fill_(_EMBEDDING_SCALE)
    body.layer_norm.weight.fill_(_OUTPUT_SCALE)
    # The first position shows the decoder nothing but that it is the first: no word to look behind.
    offset = body.embed_positions.offset
    body.embed_positions.weight[offset] = torch.randn(dim) * vectors.std() - vectors[start_token_id]
    for layer in body.layers:
        attention, turn = layer.encoder_attn, _rotation(dim)
        assert isinstance(attention, MBartAttention), "a decoder layer of mBART attends to the encoder by this"
        weight, bias = probes.this_word
        _set(attention.v_proj, (weight @ turn).T, bias @ turn)
        is_last = layer is body.layers[-1]
        _set(attention.out_proj, turn if is_last else torch.zeros_like(turn), torch.zeros(dim))
        if is_last:
            _look_behind_last_word(attention, probes)


def _look_behind_last_word(attention: MBartAttention, probes: _Probes) -> None:
    """Start half of the heads by matching the word written last with the word before each state; the rest by chance."""
    dim, heads = probes.mean.shape[0], attention.num_heads
    turn = _rotation(dim)
    weight, bias = probes.word_before
    key, key_bias = (weight @ turn).T.contiguous(), bias @ turn
    query, query_bias = _SHARPNESS * turn.T.contiguous(), -_SHARPNESS * (probes.mean @ turn)
    free = slice(heads // 2 * (dim // heads), dim)
    key[free] = torch.randn_like(key[free]) * _FREE_SCALE / (dim**0.5 * probes.spread)
    query[free] = torch.randn_like(query[free]) * _FREE_SCALE / dim**0.5
    key_bias[free] = query_bias[free] = 0.0
    _set(attention.k_proj, key, key_bias)
    _set(attention.q_proj, query, query_bias)


def _set(linear: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)


def _rotation(dim: int) -> Float[Tensor, "dim dim"]:
    """Return a random rotation: each head gets an equal share of every direction."""
    return torch.linalg.qr(torch.randn(dim, dim))[0]


def _normalized(vectors: Float[Tensor, "vocab dim"]) -> Float[Tensor, "vocab dim"]:
    """Return word vectors as the decoder's first norm makes them."""
    return F.layer_norm(vectors, vectors.shape[1:])
