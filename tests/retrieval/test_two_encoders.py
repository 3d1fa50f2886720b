"""Students with an encoder for questions and another for passages: one folder, no flags, and what is frozen."""

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Router
from transformers import AutoModel

from dogeared.errors import ModelError
from dogeared.records import Passage
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings

QUESTIONS = ["who was born in the north ?", "when ?", "which house did she build in the year of her birth ?"]
PASSAGES = [
    Passage(id="a", title="the north", text="she was born in the sea ."),
    Passage(id="b", title="a house", text="it was built in the year of the sea and of the house , " * 5),
]
KINDS = ["separate", "query_only"]


def load(model, encoders="shared", **changes):
    settings = RetrieverSettings(model=str(model), encoders=encoders, max_length_tokens=24, **changes)
    return DualEncoder.load(settings).eval()


def vectors(encoder):
    with torch.inference_mode():
        chunks = encoder.query_chunks(QUESTIONS), encoder.passage_chunks(PASSAGES)
        return tuple(encoder.embed(part).numpy() for part in chunks)


def shift(encoder, task):
    """Change one encoder as training might."""
    with torch.no_grad():
        for parameter in next(iter(encoder.model)).sub_modules[task].parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))


def count(encoder, *, trained=False):
    return sum(p.numel() for p in encoder.parameters() if p.requires_grad or not trained)


@pytest.fixture
def plain(tiny_models):
    return tiny_models / "encoder"


@pytest.fixture
def ready(plain, tmp_path):
    model = SentenceTransformer(str(plain), prompts={"query": "find : ", "document": ""}, device="cpu")
    model.append(Normalize())
    model.save_pretrained(str(tmp_path / "ready"))
    return tmp_path / "ready"


def test_shared_weights_are_counted_once(plain):
    one = sum(parameter.numel() for parameter in AutoModel.from_pretrained(plain).parameters())
    assert count(load(plain)) == count(load(plain), trained=True) == one
    assert count(load(plain, "separate")) == count(load(plain, "separate"), trained=True) == 2 * one
    assert count(load(plain, "query_only")) == 2 * one
    assert count(load(plain, "query_only"), trained=True) == one


@pytest.mark.parametrize("encoders", KINDS)
@pytest.mark.parametrize("start", ["plain", "ready", "plain made cosine"])
def test_both_start_as_the_shared_one_and_go_their_own_ways(plain, ready, start, encoders):
    model = ready if start == "ready" else plain
    similarity = "cosine" if start == "plain made cosine" else "auto"
    one, two = load(model, similarity=similarity), load(model, encoders, similarity=similarity)
    assert two.is_cosine == one.is_cosine == (start != "plain")
    assert two.dim == one.dim == 32
    for found, expected in zip(vectors(two), vectors(one), strict=True):
        np.testing.assert_array_equal(found, expected)
    queries, passages = vectors(two)
    shift(two, "query")
    assert np.abs(vectors(two)[0] - queries).max() > 0.01
    np.testing.assert_array_equal(vectors(two)[1], passages)
    queries, _ = vectors(two)
    shift(two, "document")
    np.testing.assert_array_equal(vectors(two)[0], queries)
    assert np.abs(vectors(two)[1] - passages).max() > 0.01


@pytest.mark.parametrize("encoders", KINDS)
@pytest.mark.parametrize("start", ["plain", "ready"])
def test_the_saved_folder_needs_no_flags(plain, ready, tmp_path, start, encoders):
    encoder = load(ready if start == "ready" else plain, encoders)
    shift(encoder, "query")
    queries, passages = vectors(encoder)
    encoder.save(tmp_path / "saved")

    other = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert other.max_seq_length == 24
    assert other.similarity_fn_name == ("dot" if start == "plain" else "cosine")
    np.testing.assert_allclose(other.encode_query(QUESTIONS), queries, atol=1e-6)
    texts = [encoder.passage_template.format(title=p.title, text=p.text) for p in PASSAGES]
    np.testing.assert_allclose(other.encode_document(texts), passages, atol=1e-6)

    for setting in ("shared", encoders):  # a model that comes with two keeps both
        again = load(tmp_path / "saved", setting)
        assert again.is_cosine == encoder.is_cosine
        np.testing.assert_array_equal(vectors(again)[0], queries)
        np.testing.assert_array_equal(vectors(again)[1], passages)
        assert count(again) == count(encoder)


def test_a_student_saved_with_one_encoder_can_go_on_with_two(plain, tmp_path):
    one = load(plain)
    one.save(tmp_path / "saved")
    two = load(tmp_path / "saved", "separate")
    assert count(two) == 2 * count(one)
    for found, expected in zip(vectors(two), vectors(one), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_each_encoder_may_end_in_a_normalisation_of_its_own(plain, tmp_path):
    parts = [SentenceTransformer(str(plain), device="cpu") for _ in range(2)]
    router = Router.for_query_document(*[[*part, Normalize()] for part in parts])
    SentenceTransformer(modules=[router], device="cpu").save_pretrained(str(tmp_path / "two"))
    encoder = load(tmp_path / "two")
    assert encoder.is_cosine
    assert len(list(encoder.model)) == 1


def test_dropout_falls_where_something_is_trained(plain):
    encoder = load(plain, "query_only").train()
    dropouts = {
        task: {module.training for module in part.modules() if isinstance(module, torch.nn.Dropout)}
        for task, part in next(iter(encoder.model)).sub_modules.items()
    }
    assert dropouts == {"query": {True}, "document": {False}}
    assert not any(module.training for module in encoder.eval().modules())


def test_weights_in_common_cannot_be_trained_and_kept(plain, tmp_path):
    parts = list(SentenceTransformer(str(plain), device="cpu"))
    router = Router.for_query_document(parts, parts)
    SentenceTransformer(modules=[router], device="cpu").save_pretrained(str(tmp_path / "common"))
    assert count(load(tmp_path / "common")) == count(load(plain))
    with pytest.raises(ModelError, match="query_only expects encoders that have no weights in common"):
        load(tmp_path / "common", "query_only")
