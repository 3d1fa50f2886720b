"""A run whose passages keep their vectors: the corpus is encoded once, for all rounds."""

import numpy as np
import pytest
import torch

from dogeared import api
from dogeared.artifacts import read_manifest
from dogeared.data.corpus import Corpus
from dogeared.errors import ConfigError
from dogeared.pipeline import steps
from dogeared.pipeline.config import load_experiment
from dogeared.pipeline.layout import RunFolder
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.service import QuestionAnswering

OVERRIDES = ("retriever.encoders=query_only", "rounds.max=2", "rounds.patience=9", "rounds.enough_overlap=1.0")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_data, tiny_settings):
    """Two rounds, and how often the corpus was encoded."""
    folder, encoded = tmp_path_factory.mktemp("query-only") / "run", []
    real = steps.encode_corpus
    steps.encode_corpus = lambda *arguments: (encoded.append(arguments), real(*arguments))[1]
    try:
        api.run(
            questions=tiny_data / "questions.jsonl",
            passages=tiny_data / "passages.jsonl",
            out=folder,
            preset=None,
            overrides=[*tiny_settings, *OVERRIDES],
        )
    finally:
        steps.encode_corpus = real
    return RunFolder(folder), len(encoded)


def test_the_corpus_is_encoded_once(finished):
    run, times = finished
    assert times == 1
    files = [place.vectors / "vectors.npy" for place in (run.untouched, run.round(1), run.round(2))]
    assert len({file.stat().st_ino for file in files}) == 1, "and takes the space of once"
    inputs = read_manifest(run.round(2).vectors).inputs
    assert inputs["vectors"] == read_manifest(run.round(1).vectors).fingerprint
    assert read_manifest(run.round(2).retriever).inputs["vectors"] == inputs["vectors"]


def test_the_vectors_are_those_that_the_trained_student_would_make(finished, tiny_settings):
    run, _ = finished
    experiment = load_experiment(overrides=[*tiny_settings, *OVERRIDES])
    queries = []
    for place in (run.untouched, run.round(1), run.round(2)):
        settings = RetrieverSettings(model=str(place.retriever), max_length_tokens=64)
        encoder = DualEncoder.load(settings).eval()
        folder = place.path / "encoded"
        folder.mkdir()
        steps.encode_corpus(encoder, Corpus.open(run.data / "corpus"), folder, experiment.encoding)
        made, reused = (np.load(where / "vectors.npy") for where in (folder, place.vectors))
        np.testing.assert_array_equal(made, reused)
        with torch.inference_mode():
            queries.append(encoder.embed(encoder.query_chunks(["who was she ?"])))
    assert (queries[0] - queries[1]).abs().max() > 1e-4
    assert (queries[1] - queries[2]).abs().max() > 1e-4


def test_such_a_run_answers(finished):
    run, _ = finished
    assert len(QuestionAnswering.open(run.path).search("who was she ?", k=3)) == 3


def test_vectors_are_not_kept_by_a_student_whose_passages_are_trained(finished, tiny_settings, tmp_path):
    run, _ = finished
    experiment = load_experiment(overrides=[*tiny_settings, "retriever.encoders=separate"])
    with pytest.raises(ConfigError, match=r"expected none for retriever\.encoders = separate, got .*vectors; training"):
        steps.encode(
            tmp_path / "vectors",
            data=run.data,
            retriever=run.round(1).retriever,
            experiment=experiment,
            vectors=run.untouched.vectors,
        )
