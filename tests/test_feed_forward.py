"""T5's feed-forward layers in few passes: the library's numbers, forward and backward, and less memory."""

import copy

import pytest
import torch
from transformers import MT5Config, MT5ForConditionalGeneration, T5Config, T5ForConditionalGeneration
from transformers.models.mt5.modeling_mt5 import MT5LayerFF
from transformers.models.t5.modeling_t5 import T5LayerFF

from dogeared import feed_forward
from dogeared.cheap_dropout import use_cheap_dropout
from dogeared.compute import multiplies_bfloat16
from dogeared.feed_forward import use_fast_feed_forward
from dogeared.few_rows import use_few_rows

SIZES = {"vocab_size": 32, "d_model": 16, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.0}
SIZES |= {"decoder_start_token_id": 0}

in_bfloat16 = pytest.mark.skipif(
    not multiplies_bfloat16(torch.device("cpu")), reason="this processor multiplies no matrices in bfloat16"
)


@pytest.fixture
def rectified_products(monkeypatch):
    """The path for bfloat16 on any processor: where it has no such products, plain ones stand in for oneDNN's."""
    if not multiplies_bfloat16(torch.device("cpu")):
        monkeypatch.setattr("dogeared.feed_forward.multiplies_bfloat16", lambda device: True)
        monkeypatch.setattr(
            "dogeared.feed_forward._rectified_on_cpu", lambda states, weight: (states @ weight.t()).relu()
        )


@pytest.mark.parametrize("kind", [T5ForConditionalGeneration, MT5ForConditionalGeneration])
@pytest.mark.parametrize("activation", ["relu", "gated-gelu"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_in_float32_loss_and_gradients_are_the_librarys_to_the_bit(kind, activation, dropout):
    sizes = SIZES | {"feed_forward_proj": activation, "dropout_rate": dropout}
    config = (T5Config if kind is T5ForConditionalGeneration else MT5Config)(**sizes)
    torch.manual_seed(0)
    library = kind(config).train()
    use_cheap_dropout(library)
    ours = copy.deepcopy(library)
    use_few_rows(ours)  # as a reader does too
    use_fast_feed_forward(ours)
    ids = torch.randint(2, 32, (3, 9))
    for model in (library, ours):
        torch.manual_seed(1)
        model(input_ids=ids, labels=ids[:, :4].contiguous()).loss.backward()
    for (name, expected), (_, got) in zip(library.named_parameters(), ours.named_parameters(), strict=True):
        assert torch.equal(expected.grad, got.grad), name


def test_what_is_rectified_is_overwritten():
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(T5Config(**SIZES))
    use_fast_feed_forward(model)
    seen = []
    layer = model.encoder.block[0].layer[1].DenseReluDense
    layer.wi.register_forward_hook(lambda part, given, wide: seen.append((wide, wide.clone())))
    with torch.inference_mode():
        model.encoder(torch.randint(2, 32, (1, 5)))
    ((after, before),) = seen
    assert (before < 0).any()
    assert torch.equal(after, before.relu())


def layers(kind, *, dropout=0.0):
    """A layer of the library's in bfloat16, and the same one computed here."""
    config = T5Config(**(SIZES | {"d_model": 64, "d_ff": 256, "dropout_rate": dropout}))
    torch.manual_seed(0)
    library = kind(config).to(torch.bfloat16)
    use_cheap_dropout(library)
    ours = copy.deepcopy(library)
    use_few_rows(ours)  # as a reader does too
    use_fast_feed_forward(ours)
    assert type(ours) is not kind
    return library, ours


def learned(layer, states, weigh):
    """What a layer returns, and all gradients; what is dropped is the same every time."""
    torch.manual_seed(1)
    leaf = states.clone().requires_grad_()
    output = layer(leaf)
    (output * weigh).sum().backward()
    return [output, leaf.grad, *(weight.grad for weight in layer.parameters())]


@pytest.mark.usefixtures("rectified_products")
@pytest.mark.parametrize("kind", [T5LayerFF, MT5LayerFF])
def test_in_bfloat16_output_and_gradients_are_the_librarys_to_the_bit(kind):
    library, ours = layers(kind)
    states, weigh = torch.randn(2, 5, 7, 64).bfloat16()
    assert feed_forward._is_wanted(ours, states)
    for expected, got in zip(learned(library, states, weigh), learned(ours, states, weigh), strict=True):
        assert torch.equal(expected, got)


@pytest.mark.usefixtures("rectified_products")
@pytest.mark.parametrize("kind", [T5LayerFF, MT5LayerFF])
def test_in_bfloat16_with_dropout_gradients_are_as_near_to_float32_as_the_librarys(kind):
    library, ours = layers(kind, dropout=0.3)
    states, weigh = torch.randn(2, 50, 7, 64).bfloat16()
    exact = learned(copy.deepcopy(library).float(), states.float(), weigh.float())
    theirs, got = learned(library, states, weigh), learned(ours, states, weigh)
    assert torch.equal(theirs[0], got[0])  # going forward nothing differs, to the bit
    for true, by_library, by_ours in zip(exact[1:], theirs[1:], got[1:], strict=True):
        # Nearly all of it is from signs that rounding turned before the ReLU, the same ones on both sides.
        their_error = (by_library - true).norm()
        assert their_error < 0.05 * true.norm()
        assert (by_ours - true).norm() < 1.02 * their_error


@in_bfloat16
@pytest.mark.parametrize("kind", [T5LayerFF, MT5LayerFF])
def test_without_gradients_it_is_nearer_to_float32_than_the_library(kind):
    library, ours = (layer.eval() for layer in layers(kind))
    states = torch.randn(50, 7, 64).bfloat16()
    with torch.inference_mode():
        exact = library.float()(states.float())
        rounded, fused = library.bfloat16()(states), ours(states)
    assert fused.dtype == torch.bfloat16
    assert (fused - exact).norm() < (rounded - exact).norm() < 0.01 * exact.norm()


@pytest.mark.usefixtures("rectified_products")
def test_what_trains_drops_without_gradients_too():
    library, ours = layers(T5LayerFF, dropout=0.3)
    states = torch.randn(5, 7, 64).bfloat16()
    outputs = []
    for layer in (library, ours):
        torch.manual_seed(1)
        with torch.no_grad():
            outputs.append(layer(states))
    assert torch.equal(*outputs)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.usefixtures("rectified_products")
def test_what_is_wide_is_kept_once_with_dropout_too(precision):
    layer = T5LayerFF(T5Config(**(SIZES | {"d_model": 64, "d_ff": 256, "dropout_rate": 0.3}))).to(precision)
    use_cheap_dropout(layer)
    use_fast_feed_forward(layer)
    kept = {}
    states = torch.randn(5, 7, 64, dtype=precision, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda part: kept.setdefault(part.data_ptr(), part), lambda part: part
    ):
        layer(states)
    wide = 5 * 7 * 256
    assert [part.dtype for part in kept.values() if part.numel() == wide] == [precision]


@in_bfloat16
def test_a_layer_whose_product_was_replaced_is_asked_itself():
    _, ours = layers(T5LayerFF)

    class Adapted(torch.nn.Linear):
        def forward(self, states):
            return super().forward(states) * 0

    ours.DenseReluDense.wi.__class__ = Adapted
    states = torch.randn(2, 3, 64).bfloat16()
    assert torch.equal(ours(states), states)


def test_the_model_is_saved_as_before(tmp_path):
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(T5Config(**SIZES))
    use_fast_feed_forward(model)
    model.save_pretrained(tmp_path)
    again = T5ForConditionalGeneration.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
