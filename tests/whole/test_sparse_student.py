"""A run whose student has sparse vectors, from its untouched start to an answer."""

import numpy as np
from scipy import sparse

from dogeared import api
from dogeared.data.rankings import read_rankings
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.layout import RunFolder
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.service import QuestionAnswering


def test_a_sparse_student_goes_the_whole_way(tmp_path, tiny_data, tiny_settings, tiny_language_model):
    api.run(
        questions=tiny_data / "questions.jsonl",
        passages=tiny_data / "passages.jsonl",
        out=tmp_path / "run",
        preset=None,
        overrides=[*tiny_settings, f"retriever.model={tiny_language_model}", "retriever.vectors=sparse"],
    )
    run = RunFolder(tmp_path / "run")
    dataset = Dataset.open(run.data)
    for place in (run.untouched, run.round(1)):
        passages = sparse.load_npz(place.vectors / "vectors.npz").toarray()
        encoder = DualEncoder.load(RetrieverSettings(model=str(place.retriever), max_length_tokens=64)).eval()
        assert encoder.is_sparse
        ranking = read_rankings(place.ranking / "rankings.parquet")[dataset.questions[0].id]
        chunks = encoder.query_chunks([dataset.questions[0].text])
        scores = encoder.embed(chunks).detach().numpy()[0] @ passages.T
        np.testing.assert_allclose(ranking.scores, np.sort(scores)[::-1][:8], rtol=2e-2)  # bfloat16 where it is fast
    assert len(QuestionAnswering.open(run.path).search("who was she ?", k=3)) == 3
