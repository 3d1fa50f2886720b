"""A student's inputs: those of the model's own preprocessing, whichever way they were asked for."""

import gc
import weakref

import pytest
import torch

from dogeared import token_memory
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.retrieval.feature_chunks import feature_chunks
from dogeared.retrieval.remembered_texts import remembered_texts
from dogeared.token_memory import text_key

TEXTS = ["a house in the north .", "when ?", "", "she was born in the sea , " * 4]


def model_of(kind: str, tiny_models, tiny_language_model):
    settings = {
        "shared": {"model": str(tiny_models / "encoder")},
        "separate": {"model": str(tiny_models / "encoder"), "encoders": "separate"},
        "sparse": {"model": str(tiny_language_model), "vectors": "sparse"},
        "multi": {"model": str(tiny_models / "encoder"), "vectors": "multi"},
    }[kind]
    return DualEncoder.load(RetrieverSettings(**settings, max_length_tokens=16)).model


@pytest.mark.parametrize("kind", ["shared", "separate", "sparse", "multi"])
@pytest.mark.parametrize("task", ["query", "document"])
def test_inputs_are_those_that_the_model_makes_itself(kind, task, tiny_models, tiny_language_model):
    model = model_of(kind, tiny_models, tiny_language_model)
    told = {"task": task} if kind in ("separate", "multi") else {}
    expected = model.preprocess(TEXTS, prompt=model.prompts.get(task) or None, **told)
    [chunk] = feature_chunks(model, TEXTS, task=task, max_chunk_tokens=10_000)
    assert set(chunk.features) == set(expected) | ({"task"} if kind == "multi" else set())
    for name, value in expected.items():
        got = chunk.features[name]
        if not isinstance(value, torch.Tensor):
            assert got == value
        elif value.ndim == 2:
            assert got.dtype == value.dtype
            assert got[:, : value.shape[1]][chunk.rows.argsort()].tolist() == value.tolist()


def asked_of(model, monkeypatch):
    asked, preprocess = [], model.preprocess
    monkeypatch.setattr(model, "preprocess", lambda texts, **told: asked.append(texts) or preprocess(texts, **told))
    return asked


@pytest.mark.parametrize("kind", ["shared", "separate", "sparse", "multi"])
@pytest.mark.parametrize("task", ["query", "document"])
@pytest.mark.parametrize("max_chunk_tokens", [20, 10_000])
def test_what_is_remembered_is_what_the_model_makes(
    kind, task, max_chunk_tokens, tiny_models, tiny_language_model, monkeypatch
):
    model = model_of(kind, tiny_models, tiny_language_model)
    size = {"task": task, "max_chunk_tokens": max_chunk_tokens}
    feature_chunks(model, TEXTS[1:3], **size, remembers=True)
    asked = asked_of(model, monkeypatch)
    for texts in (TEXTS, TEXTS[::-1], [TEXTS[2]], [*TEXTS, *TEXTS]):
        expected = feature_chunks(model, texts, **size)
        asked.clear()
        found = feature_chunks(model, texts, **size, remembers=True)
        assert len(found) == len(expected)
        for got, chunk in zip(found, expected, strict=True):
            assert got.rows.tolist() == chunk.rows.tolist()
            assert got.features.keys() == chunk.features.keys()
            for name, value in chunk.features.items():
                if isinstance(value, torch.Tensor):
                    assert got.features[name].dtype == value.dtype
                    assert got.features[name].tolist() == value.tolist()
                else:
                    assert got.features[name] == value
        # Token vectors' inputs are no plain tokens, and made anew.
        assert asked == ([texts] if kind == "multi" else [[TEXTS[0], TEXTS[3]]] if texts is TEXTS else [])


def test_a_prompt_a_length_and_a_task_have_tokens_of_their_own(tiny_models):
    model = model_of("shared", tiny_models, None)
    lengths = []
    for task, prompt, most in (
        ("query", "", 16),
        ("query", "she was born : ", 16),
        ("query", "", 12),
        ("document", "the sea ", 16),
        ("query", "", 16),
    ):
        model.prompts[task], model.max_seq_length = prompt, most
        [chunk] = feature_chunks(model, [TEXTS[0]], task=task, max_chunk_tokens=100, remembers=True)
        [plain] = feature_chunks(model, [TEXTS[0]], task=task, max_chunk_tokens=100)
        assert chunk.features["input_ids"].tolist() == plain.features["input_ids"].tolist()
        lengths.append(int(chunk.features["attention_mask"].sum()))
    assert lengths[0] == lengths[4] != lengths[1]


@pytest.mark.parametrize("fault", ["hole", "type", "padding", "of all"])
def test_inputs_that_are_more_than_tokens_are_not_remembered(fault, tiny_models, monkeypatch):
    model = model_of("shared", tiny_models, None)
    preprocess = model.preprocess

    def other(texts, **told):
        inputs = preprocess(texts, **told)
        if fault == "hole":
            inputs["attention_mask"][0][1] = 0
        elif fault == "type":
            inputs["token_type_ids"] = [[place % 2 for place in range(len(row))] for row in inputs["input_ids"]]
        elif fault == "padding":
            inputs["input_ids"][1][-1] = 3
        else:
            inputs["modality"] = "image"
        return inputs

    size = {"task": "query", "max_chunk_tokens": 100}
    feature_chunks(model, TEXTS[3:], **size, remembers=True)
    monkeypatch.setattr(model, "preprocess", other)
    asked = asked_of(model, monkeypatch)
    for _ in range(2):
        feature_chunks(model, TEXTS[:2], **size, remembers=True)
    assert asked == [TEXTS[:2]] * 3, "once to look at them, and then each time for all"


def test_the_oldest_texts_are_forgotten_but_not_while_they_are_used(tiny_models, monkeypatch):
    monkeypatch.setattr(token_memory, "_MOST_TOKENS", 20)
    model = model_of("shared", tiny_models, None)
    size = {"task": "query", "max_chunk_tokens": 100, "remembers": True}
    [chunk] = feature_chunks(model, TEXTS, **size)
    assert int(chunk.features["attention_mask"].sum()) > 20
    known = remembered_texts(model, "query", model.prompts.get("query") or None, model.max_seq_length)
    assert 0 < known.tokens.num_tokens <= 20
    feature_chunks(model, TEXTS[1:2], **size)
    feature_chunks(model, [TEXTS[2], "the sea"], **size)
    assert text_key(TEXTS[2]) in known.tokens


def test_what_is_remembered_goes_with_its_model(tiny_models):
    model = model_of("shared", tiny_models, None)
    feature_chunks(model, TEXTS, task="query", max_chunk_tokens=100, remembers=True)
    known = weakref.ref(remembered_texts(model, "query", model.prompts.get("query") or None, model.max_seq_length))
    assert known() is not None
    del model
    gc.collect()
    assert known() is None
