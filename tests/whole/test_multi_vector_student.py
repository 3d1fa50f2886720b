"""A run whose student has one vector a token, from its untouched start to an answer."""

import pytest
import torch

from dogeared import api
from dogeared.data.rankings import read_rankings
from dogeared.errors import ArtifactError
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.layout import RunFolder
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.service import QuestionAnswering


def test_a_student_with_token_vectors_goes_the_whole_way(tmp_path, tiny_data, tiny_settings):
    api.run(
        questions=tiny_data / "questions.jsonl",
        passages=tiny_data / "passages.jsonl",
        out=tmp_path / "run",
        preset=None,
        overrides=[*tiny_settings, "retriever.vectors=multi", "encoding.precision=fp32", "start=dense"],
    )
    run = RunFolder(tmp_path / "run")
    dataset = Dataset.open(run.data)
    for place in (run.untouched, run.round(1)):
        encoder = DualEncoder.load(RetrieverSettings(model=str(place.retriever), max_length_tokens=64)).eval()
        assert encoder.is_multi
        ranking = read_rankings(place.ranking / "rankings.parquet")[dataset.questions[0].id]
        with torch.inference_mode():
            query = encoder.embed(encoder.query_chunks([dataset.questions[0].text]))
            passages = encoder.embed(encoder.passage_chunks(dataset.corpus.passages(range(30))))
            scores = encoder.score_all(query, passages)[0].sort(descending=True).values[:8]
        assert ranking.scores == pytest.approx(scores.tolist(), abs=5e-3)
    asked = QuestionAnswering.open(run.path)
    assert len(asked.search("who was she ?", k=3)) == 3
    with pytest.raises(ArtifactError, match="one dense vector a text"):
        asked.embed(["who"])
