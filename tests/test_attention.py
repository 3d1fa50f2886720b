"""Attention on a CPU under bfloat16: the library's numbers, the library's types, and gradients of float32."""

import pytest
import torch

from dogeared.attention import attend
from dogeared.cheap_dropout import Drop
from dogeared.reader.copying import CopyingDecoder, make_copying_reader
from tiny_readers import PASSAGES, QUESTIONS, tiny_reader


@pytest.mark.parametrize("with_bias", [False, True])
def test_attention_is_that_of_a_loop(with_bias):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 4, 8) for _ in range(3))
    mask = torch.rand(2, 1, 4, 4) > 0.3
    mask[..., 0] = True
    bias = torch.randn(1, 3, 4, 4) if with_bias else None
    scores = query @ key.transpose(-1, -2) * 0.25 + (0 if bias is None else bias)
    expected = (scores.masked_fill(~mask, -torch.inf).softmax(-1) @ value).transpose(1, 2)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 2e-2)):
        got, _ = attend(
            torch.nn.Identity(),
            *(part.to(dtype) for part in (query, key, value)),
            attention_mask=mask,
            position_bias=None if bias is None else bias.to(dtype),
            scaling=0.25,
        )
        assert got.dtype == dtype
        torch.testing.assert_close(got.float(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("dim", [16, 64])
def test_gradients_in_bfloat16_are_those_in_float32(with_mask, dim):
    torch.manual_seed(0)
    parts = [torch.randn(2, 3, 40, dim) for _ in range(3)]
    mask = (torch.arange(40) < torch.tensor([40, 25])[:, None])[:, None, None, :].expand(2, 1, 40, 40)
    module = torch.nn.Identity()
    module.is_causal = False

    def run(dtype):
        leaves = [part.clone().requires_grad_() for part in parts]
        inputs = [leaf.to(dtype) for leaf in leaves]
        attended, _ = attend(module, *inputs, attention_mask=mask if with_mask else None, scaling=0.25)
        (attended.float() * torch.linspace(-1, 1, dim)).sum().backward()
        return attended.detach().float(), *(leaf.grad for leaf in leaves)

    for rounded, exact in zip(run(torch.bfloat16), run(torch.float32), strict=True):
        assert (rounded - exact).norm() < 0.01 * exact.norm()


def test_a_causal_module_without_a_mask_sees_nothing_that_comes_later():
    query, key, value = (torch.randn(1, 2, 6, 8, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    module = torch.nn.Identity()
    module.is_causal = True
    attended, _ = attend(module, query, key, value, attention_mask=None)
    gradient = torch.autograd.grad(attended[0, 2].sum(), value)[0]
    assert (gradient[0, :, :3] != 0).all()
    assert (gradient[0, :, 3:] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_leaves_the_mean_and_the_padding_as_they_are(dtype):
    torch.manual_seed(0)
    query, key = (torch.randn(1, 2, 32, 8).to(dtype) for _ in range(2))
    value = torch.rand(1, 2, 32, 8).to(dtype)
    mask = (torch.arange(32) < 20)[None, None, None, :].expand(1, 1, 32, 32)
    module = torch.nn.Identity()
    module.is_causal = False
    exact, _ = attend(module, query, key, value, attention_mask=mask)
    dropped = [attend(module, query, key, value, attention_mask=mask, dropout=0.2)[0].float() for _ in range(300)]
    assert (dropped[0] - exact.float()).abs().max() > 0.05
    assert (torch.stack(dropped).mean(0) - exact.float()).abs().mean() < 0.01
    value[:, :, 20:] = torch.nan
    assert attend(module, query, key, value.nan_to_num(9.0), attention_mask=mask, dropout=0.2)[0].max() < 4


@pytest.mark.parametrize("kind", ["none", "mask", "bias", "mask and bias"])
@pytest.mark.parametrize("dropout", [0.0, 1e-6])  # as good as none, and a path of its own
def test_gradients_are_those_of_a_loop(kind, dropout):
    torch.manual_seed(0)
    mask = torch.rand(2, 1, 1, 5) > 0.3 if "mask" in kind else None
    if mask is not None:
        mask[..., 0] = True
    inputs = [torch.randn(2, 3, 4, 8), torch.randn(2, 3, 5, 8), torch.randn(2, 3, 5, 8), torch.randn(1, 3, 4, 5)]
    plain = [part.clone().requires_grad_() for part in inputs]
    scores = plain[0] @ plain[1].transpose(-1, -2) * 0.25 + (plain[3] if "bias" in kind else 0)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weigh = torch.randn(2, 4, 3, 8)
    ((scores.softmax(-1) @ plain[2]).transpose(1, 2) * weigh).sum().backward()
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 5e-2)):
        got = [part.clone().to(dtype).requires_grad_() for part in inputs]
        attended, _ = attend(
            torch.nn.Identity(),
            *got[:3],
            attention_mask=mask,
            position_bias=got[3] if "bias" in kind else None,
            scaling=0.25,
            dropout=dropout,
            is_causal=False,
        )
        (attended * weigh.to(dtype)).sum().backward()
        for of_ours, of_plain in zip(got[: 4 if "bias" in kind else 3], plain, strict=False):
            torch.testing.assert_close(of_ours.grad.float(), of_plain.grad, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("kind", ["none", "mask", "bias", "mask and bias"])
def test_gradients_with_dropout_are_those_of_a_loop_that_drops_the_same(kind):
    torch.manual_seed(0)
    mask = torch.rand(2, 1, 1, 5) > 0.3 if "mask" in kind else None
    if mask is not None:
        mask[..., 0] = True
    inputs = [torch.randn(2, 3, 4, 8), torch.randn(2, 3, 5, 8), torch.randn(2, 3, 5, 8), torch.randn(1, 3, 4, 5)]
    weigh = torch.randn(2, 4, 3, 8)
    plain, got = ([part.clone().requires_grad_() for part in inputs] for _ in range(2))
    torch.manual_seed(1)
    attended, _ = attend(
        torch.nn.Identity(),
        *got[:3],
        attention_mask=mask,
        position_bias=got[3] if "bias" in kind else None,
        scaling=0.25,
        dropout=0.3,
        is_causal=False,
    )
    torch.manual_seed(1)
    falls = Drop.of((2 * 3, 4, 5), 0.3)(torch.ones(2 * 3, 4, 5)).view(2, 3, 4, 5)
    assert 0.5 < (falls > 0).float().mean() < 0.9
    scores = plain[0] @ plain[1].transpose(-1, -2) * 0.25 + (plain[3] if "bias" in kind else 0)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    expected = ((scores.softmax(-1) * falls) @ plain[2]).transpose(1, 2)
    torch.testing.assert_close(attended, expected, atol=1e-6, rtol=1e-5)
    for result in (attended, expected):
        (result * weigh).sum().backward()
    for of_ours, of_plain in zip(got[: 4 if "bias" in kind else 3], plain, strict=False):
        torch.testing.assert_close(of_ours.grad, of_plain.grad, atol=1e-6, rtol=1e-5)


def test_mask_and_bias_are_put_together_once_for_all_layers(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr("dogeared.attention.torch.where", lambda *parts: made.append(1) or _WHERE(*parts))
    reader = tiny_reader("t5", tmp_path)
    batch = reader.batch(QUESTIONS[:1], [PASSAGES])  # one chunk, of pairs of several lengths
    with torch.no_grad():
        reader.fuse(batch)
    of_buckets = 1  # the position bias itself asks for one choice
    assert len(made) == 1 + of_buckets


@pytest.mark.parametrize("kind", ["t5", "bart", "bert2bert"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_model_learns_by_it_as_by_the_library(kind, precision, tmp_path):
    reader = tiny_reader(kind, tmp_path)
    batch = reader.batch(QUESTIONS[:2], [PASSAGES, PASSAGES[:1]], answers=["red", "green fox"])
    gradients = []
    for implementation in ("dogeared_sdpa", "sdpa"):
        for layer in reader.model.modules():
            if hasattr(layer, "config"):
                layer.config._attn_implementation = implementation
        reader.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            reader(batch).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in reader.parameters() if p.grad is not None]))
    ours, library = gradients
    assert (ours - library).norm() < (1e-5 if precision == torch.float32 else 3e-2) * library.norm()


def test_every_layer_of_a_model_made_of_two_attends_by_it():
    texts = ["some words to read the probes off", "and some more"]
    reader = make_copying_reader("demo:encoder", texts, decoder=CopyingDecoder(heads=4))
    layers = [layer for layer in reader.model.modules() if hasattr(layer, "config")]
    assert len({id(layer.config) for layer in layers}) > 2, "the halves keep their own"
    assert {layer.config._attn_implementation for layer in layers} == {"dogeared_sdpa"}


_WHERE = torch.where
