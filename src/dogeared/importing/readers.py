"""Reads T5 readers as the paper's reference code saves them.

Their encoder is wrapped once, and each of its blocks once more; and they have a bias of the decoder's cross-attention
by position that the library's T5 no longer has. The wrapping is taken off. The bias is dropped, and that is said: at
the first output position it is one number a head for all tokens, which changes neither a softmax nor the order of
passages; at later positions it touches only the first few tokens.

Source: the names of parameters, as saved by the reference implementation.
"""

import logging
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

from dogeared.errors import ModelError
from dogeared.importing.tensors import Checkpoint
from dogeared.models import resolve_model
from dogeared.reader.fid import FusionInDecoder, ReaderSettings

__all__ = ["CROSS_BIAS", "import_reader", "plain_t5_names"]

logger = logging.getLogger(__name__)

CROSS_BIAS = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
"""The parameter that the library's T5 no longer has."""


def plain_t5_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors the names that the library's T5 has for them.

    >>> list(plain_t5_names({"encoder.encoder.block.0.module.layer.0.layer_norm.weight": torch.ones(1)}))
    ['encoder.block.0.layer.0.layer_norm.weight']
    """
    plain = {}
    for name, tensor in tensors.items():
        name = re.sub(r"^encoder\.encoder\.", "encoder.", name)
        plain[re.sub(r"^(encoder\.block\.\d+)\.module\.", r"\1.", name)] = tensor
    return plain


def import_reader(checkpoint: Checkpoint, tokenizer: str) -> FusionInDecoder:
    """Make a reader of a checkpoint.

    Args:
        checkpoint: A T5, with or without the reference code's wrapping.
        tokenizer: The name or the folder of its tokenizer, which the reference code does not save.

    Raises:
        ModelError: A tensor is missing, is one too many, or has another shape than the configuration says; or there is
            no configuration, or no tokenizer.
    """
    if not checkpoint.config:
        raise ModelError(
            "expected the reader's config.json beside its checkpoint, found none; it says the model's sizes"
        )
    tensors = plain_t5_names(checkpoint.tensors)
    if tensors.pop(CROSS_BIAS, None) is not None:
        logger.warning(
            "%s was dropped: today's T5 has no such bias. The order of passages by relevance stays; relevance itself "
            "moves by a number a question, and logits after the first by little",
            CROSS_BIAS,
        )
    config = T5Config(**_known(checkpoint.config))
    if getattr(config, "decoder_start_token_id", None) is None:
        config.decoder_start_token_id = config.pad_token_id
    try:
        loaded: Any = T5ForConditionalGeneration.from_pretrained(
            None, config=config, state_dict=tensors, output_loading_info=True, dtype=torch.float32
        )
        model, loading = loaded
    except (RuntimeError, ValueError, OSError) as error:
        raise ModelError(f"expected a T5 of the sizes in config.json, found otherwise ({error})") from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if loading[kind]:
            named = ", ".join(str(key) for key in sorted(loading[kind], key=str)[:5])
            raise ModelError(f"expected the tensors of a T5 and no others; {kind.replace('_', ' ')}: {named}")
    try:
        found = AutoTokenizer.from_pretrained(resolve_model(tokenizer))
    except (OSError, ValueError) as error:
        raise ModelError(f"expected the tokenizer of the reader at {tokenizer!r}, found otherwise ({error})") from error
    if len(found) > config.vocab_size:
        raise ModelError(
            f"expected a tokenizer of at most {config.vocab_size} tokens, as the reader has, found {len(found)} at "
            f"{tokenizer!r}; give the one the reader was trained with"
        )
    return FusionInDecoder(model, found, ReaderSettings())


def _known(config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what only says which code once wrote the file."""
    return {name: value for name, value in config.items() if name not in ("architectures", "transformers_version")}
