"""Tiny decoder-only language models with random weights: what the tests of teachers that are language models share."""

from pathlib import Path

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from tiny_readers import tiny_tokenizer

__all__ = ["CAUSAL", "save_tiny_causal", "tiny_causal"]

CAUSAL = ("gpt2", "llama")


def tiny_causal(kind: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A random model; Llama's has two heads of keys for four of queries, and a tokenizer with a start token."""
    tokenizer = tiny_tokenizer("t5" if kind == "gpt2" else "bart")
    torch.manual_seed(0)
    if kind == "gpt2":
        sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 256}
        config = GPT2Config(vocab_size=len(tokenizer), **sizes, initializer_range=0.4)
        return GPT2LMHeadModel(config).eval(), tokenizer
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), **sizes, **heads, initializer_range=0.4)
    return LlamaForCausalLM(config).eval(), tokenizer


def save_tiny_causal(kind: str, folder: Path) -> str:
    """Write the model and its tokenizer as someone else would have."""
    model, tokenizer = tiny_causal(kind)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
