"""Queries, keys and values in one product: the library's numbers, forward and backward, or the library's way."""

import copy

import pytest
import torch
from transformers import MT5Config, MT5ForConditionalGeneration, T5Config, T5ForConditionalGeneration

from dogeared import joint_projections
from dogeared.attention import use_fast_attention
from dogeared.few_rows import use_few_rows
from dogeared.joint_projections import use_joint_projections

SIZES = {"vocab_size": 32, "d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 3, "num_heads": 2, "dropout_rate": 0.0}
SIZES |= {"decoder_start_token_id": 0}
IDS = torch.randint(2, 32, (3, 9), generator=torch.Generator().manual_seed(0))
MASK = torch.arange(9) < torch.tensor([9, 4, 6])[:, None]


@pytest.fixture(params=[T5ForConditionalGeneration, MT5ForConditionalGeneration])
def library(request):
    torch.manual_seed(0)
    model = request.param((T5Config if request.param is T5ForConditionalGeneration else MT5Config)(**SIZES)).train()
    use_fast_attention(model)
    return model


@pytest.fixture
def products(monkeypatch):
    """Let a CPU do as a GPU does, and count."""
    made = []
    cat = torch.cat

    def counted(parts, *arguments, **options):
        made.append(len(parts))
        return cat(parts, *arguments, **options)

    monkeypatch.setattr(joint_projections.torch, "cat", counted)
    is_wanted = joint_projections._is_wanted
    monkeypatch.setattr(joint_projections, "_is_wanted", lambda module, states: is_wanted(module, states.to("meta")))
    return made


@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "padded"])
def test_loss_and_gradients_are_the_librarys(library, products, mask):
    ours = copy.deepcopy(library)
    use_few_rows(ours)  # as a reader does too
    use_joint_projections(ours)
    losses = [
        model(input_ids=IDS, attention_mask=mask, labels=IDS[:, :4].contiguous(), use_cache=False).loss
        for model in (library, ours)
    ]
    assert products.count(3) == 6  # self-attention of the encoder and of the decoder
    torch.testing.assert_close(losses[1], losses[0], rtol=0, atol=1e-6)
    for loss in losses:
        loss.backward()
    for (name, expected), (_, got) in zip(library.named_parameters(), ours.named_parameters(), strict=True):
        torch.testing.assert_close(got.grad, expected.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_with_a_cache_the_library_is_asked(library, products):
    ours = copy.deepcopy(library).eval()
    use_joint_projections(ours)
    expected = library.eval().generate(IDS, max_new_tokens=5, do_sample=False)
    assert torch.equal(ours.generate(IDS, max_new_tokens=5, do_sample=False), expected)
    assert products.count(3) == 3  # the encoder's alone


@pytest.mark.parametrize("change", ["watched", "replaced", "eager"])
def test_what_somebody_else_looks_at_is_left_alone(library, products, change):
    use_joint_projections(library)
    seen = []
    attention = library.encoder.block[1].layer[0].SelfAttention
    if change == "watched":
        attention.k.register_forward_hook(lambda *_: seen.append(1))
    elif change == "replaced":
        attention.k = torch.nn.Sequential(attention.k)
    else:
        library.set_attn_implementation("eager")
    library.encoder(IDS)
    assert products.count(3) == (0 if change == "eager" else 2)
    assert len(seen) == (change == "watched")


def test_a_cpu_keeps_the_librarys_way(library):
    ours = copy.deepcopy(library)
    use_joint_projections(ours)
    assert torch.equal(ours.encoder(IDS).last_hidden_state, library.encoder(IDS).last_hidden_state)
