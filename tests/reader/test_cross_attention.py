"""Recording sees what the decoder computes, and changes nothing of it."""

import copy
from collections.abc import Iterator

import pytest
import torch
from transformers import PreTrainedConfig, PreTrainedModel

from dogeared.errors import ModelError
from dogeared.reader import cross_attention
from dogeared.reader.absorbed import without_logits
from dogeared.reader.cross_attention import record_cross_attention
from dogeared.reader.fid import FusedStates, FusionInDecoder
from tiny_readers import KINDS, PASSAGES, QUESTIONS, tiny_reader

FOUND = [PASSAGES[:3], [], PASSAGES[3:4]]
CLOSE = {"rtol": 0.0, "atol": 1e-6}
FOLLOWING = torch.tensor([[3, 9, 12]])


@pytest.fixture(scope="module", params=KINDS)
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FusionInDecoder:
    return tiny_reader(request.param, tmp_path_factory.mktemp("reader"))


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(reader: FusionInDecoder) -> Iterator[None]:
    before = implementations(reader.model)
    yield
    assert implementations(reader.model) == before
    assert not cross_attention._recorders


def implementations(model: PreTrainedModel) -> list[str | None]:
    return [part.config._attn_implementation for part in model.modules() if isinstance(part, PreTrainedModel)]


@torch.no_grad()
def fused_states(reader: FusionInDecoder) -> FusedStates:
    return reader.fuse(reader.batch(QUESTIONS, FOUND))


@torch.no_grad()
def logits_of(reader: FusionInDecoder, fused: FusedStates) -> torch.Tensor:
    start = torch.full((3, 1), reader.start_token_id)
    return reader.decode(fused, torch.cat([start, FOLLOWING.expand(3, -1)], dim=1))


def by_hand(reader: FusionInDecoder, fused: FusedStates) -> torch.Tensor:
    """Queries times keys from the weights of each cross-attention and from what goes into it, without the library."""
    modules = {
        name: module
        for name, module in reader.model.named_modules()
        if name.endswith(("EncDecAttention", "encoder_attn", "crossattention.self"))
    }
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        module.register_forward_pre_hook(
            lambda _, args, kwargs, name=name: seen.update({name: args[0] if args else kwargs["hidden_states"]}),
            with_kwargs=True,
        )
        for name, module in modules.items()
    ]
    logits_of(reader, fused)
    for hook in hooks:
        hook.remove()
    scores = []
    for name, module in modules.items():
        is_t5 = name.endswith("EncDecAttention")
        if is_t5:
            query, key = module.q, module.k
        else:
            query, key = (module.q_proj, module.k_proj) if "encoder_attn" in name else (module.query, module.key)
        num_heads = 2
        queries = query(seen[name]).unflatten(-1, (num_heads, -1))
        keys = key(fused.states).unflatten(-1, (num_heads, -1))
        scale = 1.0 if is_t5 else queries.shape[-1] ** -0.5
        scores.append(torch.einsum("bohd,blhd->bhol", queries, keys) * scale)
    return torch.stack(scores).detach()


def test_recording_changes_no_logit(reader: FusionInDecoder):
    fused = fused_states(reader)
    before = logits_of(reader, fused)
    with record_cross_attention(reader.model):
        during = logits_of(reader, fused)
    torch.testing.assert_close(during, before, **CLOSE)
    assert torch.equal(logits_of(reader, fused), before)


def test_recorded_scores_are_queries_times_keys(reader: FusionInDecoder):
    fused = fused_states(reader)
    with record_cross_attention(reader.model) as record:
        logits_of(reader, fused)
    expected = by_hand(reader, fused)
    assert expected.shape == (2, 3, 2, 4, fused.mask.shape[1])
    torch.testing.assert_close(record.scores(), expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 0.01


def test_masked_states_may_be_anything(reader: FusionInDecoder):
    fused = fused_states(reader)
    assert not fused.mask.all()
    noise = torch.where(fused.mask[..., None], fused.states, 100.0)
    noisy = FusedStates(
        states=noise, mask=fused.mask, passage_of_token=fused.passage_of_token, num_passages=fused.num_passages
    )
    with record_cross_attention(reader.model) as record:
        before = logits_of(reader, fused)
        scores = record.scores()
    with record_cross_attention(reader.model) as record:
        torch.testing.assert_close(logits_of(reader, noisy), before, **CLOSE)
    real = fused.mask[None, :, None, None, :].expand_as(scores)
    torch.testing.assert_close(record.scores()[real], scores[real], **CLOSE)


def test_all_is_as_before_after_an_exception(reader: FusionInDecoder):
    fused = fused_states(reader)
    before = logits_of(reader, fused)
    with pytest.raises(ZeroDivisionError), record_cross_attention(reader.model):
        logits_of(reader, fused)
        raise ZeroDivisionError
    assert torch.equal(logits_of(reader, fused), before)


def test_all_is_as_before_when_switching_fails(reader: FusionInDecoder, monkeypatch: pytest.MonkeyPatch):
    before = implementations(reader.model)
    setter = PreTrainedConfig._attn_implementation.fset

    def refuse(self: PreTrainedConfig, name: str) -> None:
        if "recording" in name and self is reader.model.get_decoder().config:
            raise ValueError(name)
        setter(self, name)

    monkeypatch.setattr(PreTrainedConfig, "_attn_implementation", PreTrainedConfig._attn_implementation.setter(refuse))
    with pytest.raises(ValueError, match="recording"), record_cross_attention(reader.model):
        pass
    assert implementations(reader.model) == before


def test_a_model_with_parts_attending_in_their_own_ways_gets_each_back(reader: FusionInDecoder):
    model = copy.deepcopy(reader.model)
    model.set_attn_implementation("eager")
    decoder = model.get_decoder().config
    decoder._attn_implementation = "sdpa"
    before = implementations(model)
    with record_cross_attention(model):
        assert implementations(model) != before
    assert implementations(model) == before


def test_one_recording_after_the_other(reader: FusionInDecoder):
    fused = fused_states(reader)
    records = []
    for _ in range(2):
        with record_cross_attention(reader.model) as record:
            logits_of(reader, fused)
        records.append(record)
    assert torch.equal(records[0].scores(), records[1].scores())
    assert records[0].layers is not records[1].layers


def test_a_recording_inside_another_sees_its_own_run_alone(reader: FusionInDecoder):
    fused = fused_states(reader)
    with record_cross_attention(reader.model) as outer:
        with record_cross_attention(reader.model) as inner:
            logits_of(reader, fused)
        assert outer.layers == [None, None]
        with torch.no_grad():
            reader.first_step(fused)
    assert inner.scores().shape[3] == 4
    assert outer.scores().shape[3] == 1


def test_two_models_are_recorded_apart(reader: FusionInDecoder):
    other = copy.deepcopy(reader)
    fused = fused_states(reader)
    with record_cross_attention(reader.model) as first, record_cross_attention(other.model) as second:
        logits_of(reader, fused)
        with torch.no_grad():
            other.first_step(fused)
    assert first.scores().shape[3] == 4
    assert second.scores().shape[3] == 1


def test_only_a_run_inside_the_block_is_recorded(reader: FusionInDecoder):
    with record_cross_attention(reader.model) as record:
        pass
    logits_of(reader, fused_states(reader))
    with pytest.raises(AssertionError, match="did not run"):
        record.scores()


def test_recorded_scores_carry_no_gradient(reader: FusionInDecoder):
    fused = reader.fuse(reader.batch(QUESTIONS, FOUND))
    assert fused.states.requires_grad
    with record_cross_attention(reader.model) as record:
        reader.first_step(fused)
    assert not record.scores().requires_grad


def test_a_model_without_cross_attention_is_refused(reader: FusionInDecoder):
    with (
        pytest.raises(ModelError, match=type(reader.model.get_encoder()).__name__),
        record_cross_attention(reader.model.get_encoder()),
    ):
        pass


@torch.no_grad()
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_single_query_needs_no_keys(reader, precision):
    fused = fused_states(reader)
    results = []
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        for single_query in (False, True):
            with record_cross_attention(reader.model, single_query=single_query) as record:
                logits = reader.first_step(fused)
            results.append((logits.float(), record.scores()[..., fused.mask[1].nonzero().squeeze(1)]))
    for plain, absorbed in zip(*results, strict=True):
        if precision == "fp32":
            torch.testing.assert_close(absorbed, plain, rtol=0.0, atol=1e-5)
        else:
            assert (absorbed - plain).norm() < 0.02 * plain.norm()
    after = reader.first_step(fused)
    torch.testing.assert_close(after, reader.first_step(fused), rtol=0.0, atol=0.0)
    assert not [part for part in reader.model.modules() if type(part).__name__ == "_LeftOut"]


def test_looking_records_the_first_step_and_leaves_the_head_as_it_was(reader: FusionInDecoder):
    fused = reader.fuse(reader.batch(QUESTIONS[:2], [PASSAGES[:3], PASSAGES[3:4]]))
    names = [name for name, _ in reader.model.named_modules()]
    scores = []
    for run in (reader.first_step, reader.look):
        with torch.inference_mode(), record_cross_attention(reader.model) as record:
            run(fused)
        scores.append(record.scores())
    assert torch.equal(*scores)
    assert [name for name, _ in reader.model.named_modules()] == names
    with pytest.raises(ZeroDivisionError), without_logits(reader.model):
        assert not reader.first_step(fused).any()
        raise ZeroDivisionError
    assert reader.first_step(fused).any()
