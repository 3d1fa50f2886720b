"""The control: it is the reader's relevance that teaches, and not the training.

The demo's shipped reader scores BM25's passages; the demo's shipped encoder learns from the scores, and another one
from the same scores shuffled within each question. Both see the same questions and passages for as many steps.
"""

import random
from dataclasses import replace

import pytest
import torch

from dogeared.data.corpus import build_corpus
from dogeared.data.encyclopedia import generate
from dogeared.data.readings import Readings
from dogeared.distill.teachers import CrossAttention
from dogeared.pipeline.config import load_experiment
from dogeared.reader.fid import FusionInDecoder
from dogeared.retrieval.bm25 import BM25Retriever
from dogeared.retrieval.dual_encoder import DualEncoder
from dogeared.training.train_retriever import train_retriever


@pytest.mark.slow
def test_with_shuffled_relevance_the_retriever_does_not_gain(tmp_path):
    world = generate(num_people=70, num_dev_people=0, num_test_people=20)
    train = [question for question in world.questions if question.split == "train"]
    test = [question for question in world.questions if question.split == "test"]
    corpus = build_corpus(world.passages, tmp_path / "corpus")
    experiment = load_experiment(preset="tiny", overrides=["retriever_training.steps=40"])
    settings = experiment.retriever_training

    rankings = BM25Retriever.build(world.passages).retrieve(train, settings.num_passages)
    readings = Readings(
        questions=train,
        rankings={ranking.question_id: ranking for ranking in rankings},
        corpus=corpus,
        num_passages=settings.num_passages,
    )
    teacher = CrossAttention(FusionInDecoder.load(experiment.reader), experiment.relevance)
    told = {item.question_id: item for item in teacher.relevance(readings)}
    draw = random.Random(0)
    shuffled = {
        name: replace(item, relevance=tuple(draw.sample(item.relevance, len(item.relevance))))
        for name, item in told.items()
    }

    @torch.inference_mode()
    def success(encoder):
        encoder.eval()
        passages = encoder.embed(encoder.passage_chunks(world.passages))
        queries = encoder.embed(encoder.query_chunks([question.text for question in test]))
        first = (queries @ passages.T).argmax(dim=1).tolist()
        right = [world.passages[place].id in question.gold for place, question in zip(first, test, strict=True)]
        return sum(right) / len(right)

    untouched = success(DualEncoder.load(experiment.retriever))
    learned = {}
    for name, relevance in (("from the reader", told), ("from chance", shuffled)):
        encoder = DualEncoder.load(experiment.retriever)
        train_retriever(encoder, train, relevance, corpus, settings, seed=1, folder=tmp_path / name)
        learned[name] = success(encoder)
    assert learned["from the reader"] > untouched + 0.15, (untouched, learned)
    assert learned["from chance"] <= untouched, (untouched, learned)
