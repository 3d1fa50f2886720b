"""Attention without keys and values is attention with them."""

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from dogeared.cheap_dropout import cheap_dropout
from dogeared.reader import fid
from dogeared.reader.absorbed import attend_absorbed, cross_attention_modules, making_few_keys, without_keys
from dogeared.reader.fid import FusionInDecoder
from tiny_readers import KINDS, PASSAGES, QUESTIONS, tiny_reader

FOUND = [PASSAGES[:3], [], PASSAGES[3:4]]
SHORT, LONG = (
    ["yes", "no", "it"],
    ["how long is the longest answer that anybody could ever think of writing here ?"] * 3,
)


@pytest.fixture(scope="module", params=KINDS)
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FusionInDecoder:
    return tiny_reader(request.param, tmp_path_factory.mktemp("reader"))


def loss_and_gradients(reader: FusionInDecoder, answers: list[str]) -> tuple[float, dict[str, torch.Tensor]]:
    reader.zero_grad()
    loss = reader(reader.batch(QUESTIONS, FOUND, answers=answers))
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in reader.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("answers", [SHORT, LONG], ids=["short", "long"])
def test_loss_and_gradients_are_those_with_keys(
    reader: FusionInDecoder, answers: list[str], monkeypatch: pytest.MonkeyPatch
):
    without, gradients = loss_and_gradients(reader, answers)
    monkeypatch.setattr(fid, "making_few_keys", lambda _: nullcontext())
    loss, expected = loss_and_gradients(reader, answers)
    assert without == pytest.approx(loss, abs=1e-5)
    assert gradients.keys() == expected.keys()
    cross = {name for name in gradients if any(part in name for part in ("EncDecAtt", "encoder_attn", "crossatt"))}
    assert all(expected[name].abs().max() > 0 for name in cross if name.endswith("weight"))
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-5, msg=name)


def test_short_answers_make_no_keys_and_long_ones_do(reader: FusionInDecoder):
    made: list[int] = []
    names = ("k", "v", "k_proj", "v_proj", "key", "value")
    hooks = [
        child.register_forward_hook(lambda *_: made.append(1))
        for module in cross_attention_modules(reader.model)
        for name, child in module.named_children()
        if name in names
    ]
    fused = reader.fuse(reader.batch(QUESTIONS, FOUND))
    short, long = (reader.batch(QUESTIONS, FOUND, answers=answers).labels for answers in (SHORT, LONG))
    with torch.no_grad():
        reader.logits_of(fused, short)
        assert not made
        reader.logits_of(fused, long.repeat(1, 4))
        assert len(made) == 2 * len(cross_attention_modules(reader.model))
    for hook in hooks:
        hook.remove()


def test_all_is_as_before_after_an_exception(reader: FusionInDecoder):
    fused = reader.fuse(reader.batch(QUESTIONS, FOUND))
    before = reader.first_step(fused)
    with pytest.raises(ZeroDivisionError), making_few_keys(reader.model):
        raise ZeroDivisionError
    assert torch.equal(reader.first_step(fused), before)


def test_attention_over_the_zeros_that_stand_for_keys_is_an_error(reader: FusionInDecoder):
    fused = reader.fuse(reader.batch(QUESTIONS, FOUND))
    before = reader.first_step(fused)
    # Nobody switches how the model attends, so the library would attend to zeros.
    with pytest.raises(AssertionError, match="keys of zeros"), without_keys(cross_attention_modules(reader.model)):
        reader.first_step(fused)
    assert torch.equal(reader.first_step(fused), before)


def test_modules_that_were_replaced_are_looked_for_again(reader: FusionInDecoder):
    first = cross_attention_modules(reader.model)
    for name, part in list(reader.model.named_modules()):
        if part is first[0]:
            reader.model.set_submodule(name, copy.deepcopy(part))
    of_old = id(first[0])
    del first, part
    found = cross_attention_modules(reader.model)
    assert [*map(id, found)] == [id(module) for module in reader.model.modules() if module in found]
    assert of_old not in map(id, found)
    assert len(found) == len(cross_attention_modules(copy.deepcopy(reader.model)))


class _OneAttention(nn.Module):
    """A cross-attention of two heads of three numbers, with biases."""

    def __init__(self) -> None:
        super().__init__()
        self.key, self.value = nn.Linear(4, 6), nn.Linear(4, 6)


def test_dropped_shares_are_dropped_of_values_with_their_bias():
    torch.manual_seed(0)
    module, states, query = _OneAttention(), torch.randn(2, 5, 4), torch.randn(2, 2, 3, 3)
    with without_keys([module]):
        for part in (module.key, module.value):
            part(states)
        torch.manual_seed(1)
        scores, attended = attend_absorbed(module, query, None, 0.5, dropout=0.4)
    keys, values = (part(states).view(2, 5, 2, 3).transpose(1, 2) for part in (module.key, module.value))
    torch.testing.assert_close(scores, 0.5 * query @ keys.transpose(2, 3), rtol=0, atol=1e-5)
    torch.manual_seed(1)
    share = cheap_dropout(scores.softmax(dim=-1), 0.4)
    assert (share == 0).any()
    torch.testing.assert_close(attended, share @ values, rtol=0, atol=1e-5)
