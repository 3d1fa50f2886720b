"""ReLU in place: the library's numbers to the bit, forward and backward, and less memory."""

import copy

import pytest
import torch
from transformers import MT5Config, MT5ForConditionalGeneration, T5Config, T5ForConditionalGeneration

from dogeared.relu_in_place import use_relu_in_place

SIZES = {"vocab_size": 32, "d_model": 16, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.0}
SIZES |= {"decoder_start_token_id": 0}


@pytest.mark.parametrize("kind", [T5ForConditionalGeneration, MT5ForConditionalGeneration])
@pytest.mark.parametrize("activation", ["relu", "gated-gelu"])
def test_loss_and_gradients_are_the_librarys_to_the_bit(kind, activation):
    config = (T5Config if kind is T5ForConditionalGeneration else MT5Config)(**SIZES, feed_forward_proj=activation)
    torch.manual_seed(0)
    library = kind(config)
    ours = copy.deepcopy(library)
    use_relu_in_place(ours)
    ids = torch.randint(2, 32, (3, 9))
    for model in (library, ours):
        model(input_ids=ids, labels=ids[:, :4].contiguous()).loss.backward()
    for (name, expected), (_, got) in zip(library.named_parameters(), ours.named_parameters(), strict=True):
        assert torch.equal(expected.grad, got.grad), name


def test_what_is_rectified_is_overwritten():
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(T5Config(**SIZES))
    use_relu_in_place(model)
    seen = []
    layer = model.encoder.block[0].layer[1].DenseReluDense
    layer.wi.register_forward_hook(lambda part, given, wide: seen.append((wide, wide.clone())))
    with torch.inference_mode():
        model.encoder(torch.randint(2, 32, (1, 5)))
    ((after, before),) = seen
    assert (before < 0).any()
    assert torch.equal(after, before.relu())
