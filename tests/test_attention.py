"""Attention in float32 under bfloat16: the library's numbers, the library's types."""

import pytest
import torch

from dogeared.attention import attend, use_fast_attention
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


@pytest.mark.parametrize("kind", ["t5", "bart", "bert2bert"])
def test_a_model_attends_by_it_after_it_was_asked_to(kind, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("dogeared.attention.sdpa_attention_forward", _noting(seen))
    reader = tiny_reader(kind, tmp_path)
    use_fast_attention(reader.model)  # twice does no harm
    with torch.autocast("cpu", torch.bfloat16):
        reader(reader.batch(QUESTIONS[:2], [PASSAGES, PASSAGES[:1]], answers=["red", "green fox"])).backward()
    assert seen
    assert set(seen) == {torch.float32}


def _noting(seen):
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    def attend_and_note(module, query, *rest, **options):
        seen.append(query.dtype)
        return sdpa_attention_forward(module, query, *rest, **options)

    return attend_and_note
