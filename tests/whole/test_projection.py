"""A student whose vectors go through a projection keeps it over rounds: it learns, is saved, and is not drawn anew."""

from itertools import pairwise

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer

from dogeared import api
from dogeared.data.rankings import read_rankings
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.layout import RunFolder
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings

DIM = 16


@pytest.fixture
def student_of(tiny_models, tmp_path):
    """The settings of a student whose projection was saved with it, or is drawn for its vectors of tokens."""

    def student_of(kind):
        if kind == "drawn":
            return ("retriever.vectors=multi", "encoding.precision=fp32")
        torch.manual_seed(3)
        inner = Transformer(str(tiny_models / "encoder"))
        parts = [inner, Pooling(inner.get_embedding_dimension()), Dense(32, DIM)]
        SentenceTransformer(modules=parts, device="cpu").save_pretrained(str(tmp_path / "projected"))
        return (f"retriever.model={tmp_path / 'projected'}", "encoding.precision=fp32")

    return student_of


def opened(folder):
    return DualEncoder.load(RetrieverSettings(model=str(folder), max_length_tokens=64)).eval()


def projection(encoder):
    (found,) = [module for module in encoder.modules() if isinstance(module, Dense)]
    return {name: value.clone() for name, value in found.named_parameters()}


@pytest.mark.parametrize("kind", ["saved", "drawn"])
def test_a_projection_learns_from_round_to_round_and_is_not_drawn_anew(
    student_of, tiny_data, tiny_settings, tmp_path, kind
):
    files = {name: tiny_data / f"{name}.jsonl" for name in ("questions", "passages")}
    overrides = [*tiny_settings, "rounds.max=2", "rounds.patience=9", *student_of(kind)]
    api.run(**files, out=tmp_path / "run", preset=None, overrides=overrides)
    run = RunFolder(tmp_path / "run")
    encoders = [opened(one.retriever) for one in (run.untouched, run.round(1), run.round(2))]
    weights = [projection(encoder)["linear.weight"] for encoder in encoders]
    if kind == "saved":
        assert torch.equal(weights[0], projection(opened(tmp_path / "projected"))["linear.weight"])
        assert encoders[-1].dim == DIM
    for before, after in pairwise(weights):
        moved = (after - before).abs().max().item()
        # Three steps of Adam, each of about the learning rate; another draw would lie ten times as far.
        assert 1e-4 < moved < 0.05
    dataset = Dataset.open(run.data)
    ranking = read_rankings(run.round(2).ranking / "rankings.parquet")[dataset.questions[0].id]
    with torch.inference_mode():
        passages = encoders[-1].embed(encoders[-1].passage_chunks(dataset.corpus.passages(range(30))))
        query = encoders[-1].embed(encoders[-1].query_chunks([dataset.questions[0].text]))
        scores = encoders[-1].score_all(query, passages)[0].sort(descending=True).values[:8]
    assert ranking.scores == pytest.approx(scores.tolist(), abs=5e-3)
