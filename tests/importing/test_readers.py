"""Readers are imported whole or not at all; their numbers are compared in ``tests/reference``."""

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from dogeared.errors import ModelError
from dogeared.importing.readers import CROSS_BIAS, import_reader, plain_t5_names
from dogeared.importing.tensors import Checkpoint
from tiny_readers import tiny_tokenizer

SIZES = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2, "pad_token_id": 0}


@pytest.fixture
def tokenizer(tmp_path):
    made = tiny_tokenizer("t5")
    made.save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "tokenizer" / "config.json").write_text('{"model_type": "t5"}')
    return str(tmp_path / "tokenizer")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return T5ForConditionalGeneration(T5Config(vocab_size=len(tiny_tokenizer("t5")), **SIZES))


def wrapped(model):
    """The names that the reference code gives, by hand."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        if name.startswith("encoder."):
            name = "encoder." + name
            if ".block.0." in name:
                name = name.replace(".block.0.", ".block.0.module.")
        tensors[name] = tensor
    return tensors


def config(model):
    return model.config.to_dict()


def test_the_wrapping_comes_off(model):
    plain = plain_t5_names(wrapped(model))
    assert plain.keys() == model.state_dict().keys()
    assert "decoder.block.0.layer.0.layer_norm.weight" in plain_t5_names(
        {"decoder.block.0.layer.0.layer_norm.weight": 1}
    )


def test_every_tensor_arrives(model, tokenizer):
    reader = import_reader(Checkpoint(tensors=wrapped(model), config=config(model)), tokenizer)
    for name, tensor in model.state_dict().items():
        assert torch.equal(reader.model.state_dict()[name], tensor), name
    assert reader.start_token_id == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tensors: tensors.pop("decoder.final_layer_norm.weight"), "missing keys: decoder.final_layer_norm"),
        (lambda tensors: tensors.update({"decoder.more": torch.ones(1)}), "unexpected keys: decoder.more"),
        (
            lambda tensors: tensors.update({"decoder.final_layer_norm.weight": torch.ones(3)}),
            "final_layer_norm|mismatched",
        ),
    ],
)
def test_a_tensor_without_its_place_is_an_error_that_names_it(model, tokenizer, change, reason):
    tensors = wrapped(model)
    change(tensors)
    with pytest.raises(ModelError, match=reason):
        import_reader(Checkpoint(tensors=tensors, config=config(model)), tokenizer)


def test_the_bias_alone_is_dropped_and_said(model, tokenizer, caplog):
    tensors = wrapped(model) | {CROSS_BIAS: torch.ones(32, 2)}
    import_reader(Checkpoint(tensors=tensors, config=config(model)), tokenizer)
    assert "was dropped" in caplog.text
    caplog.clear()
    import_reader(Checkpoint(tensors=wrapped(model), config=config(model)), tokenizer)
    assert caplog.text == ""


def test_without_sizes_nothing_is_guessed(model, tokenizer):
    with pytest.raises(ModelError, match=r"config\.json"):
        import_reader(Checkpoint(tensors=wrapped(model), config={}), tokenizer)


def test_a_tokenizer_that_is_too_large_is_refused(tokenizer):
    small = T5ForConditionalGeneration(T5Config(vocab_size=5, **SIZES))
    with pytest.raises(ModelError, match="at most 5 tokens"):
        import_reader(Checkpoint(tensors=wrapped(small), config=config(small)), tokenizer)
