"""A student's inputs: those of the model's own preprocessing, whichever way they were asked for."""

import pytest
import torch

from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.retrieval.feature_chunks import feature_chunks

TEXTS = ["a house in the north .", "when ?", "", "she was born in the sea , " * 4]


@pytest.mark.parametrize("kind", ["shared", "separate", "sparse", "multi"])
@pytest.mark.parametrize("task", ["query", "document"])
def test_inputs_are_those_that_the_model_makes_itself(kind, task, tiny_models, tiny_language_model):
    settings = {
        "shared": {"model": str(tiny_models / "encoder")},
        "separate": {"model": str(tiny_models / "encoder"), "encoders": "separate"},
        "sparse": {"model": str(tiny_language_model), "vectors": "sparse"},
        "multi": {"model": str(tiny_models / "encoder"), "vectors": "multi"},
    }[kind]
    model = DualEncoder.load(RetrieverSettings(**settings, max_length_tokens=16)).model
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
