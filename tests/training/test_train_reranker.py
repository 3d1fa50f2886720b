"""A cross-encoder taught by a teacher: its loss, that it learns the order, and that what the step makes loads."""

import math

import pytest
import torch
from sentence_transformers import CrossEncoder
from torch import nn
from typer.testing import CliRunner

from dogeared.artifacts import read_manifest
from dogeared.cli import app
from dogeared.data.corpus import build_corpus
from dogeared.distill.cross_encoder import CrossEncoderTeacher, load_cross_encoder
from dogeared.distill.losses import distillation_loss
from dogeared.errors import TrainingError
from dogeared.pipeline.layout import RunFolder
from dogeared.records import PassageRelevance, Question
from dogeared.training.loop import items_of_step
from dogeared.training.train_reranker import RerankerStudent, RerankerTraining, reranker_batch, train_reranker
from tiny_readers import PASSAGES, QUESTIONS, save_tiny, tiny_readings

ASKED = [Question(id=str(number), text=text) for number, text in enumerate(QUESTIONS)]
RELEVANCE = {
    "0": PassageRelevance(question_id="0", passage_ids=("0", "1", "2"), relevance=(3.0, 0.0, -1.0)),
    "1": PassageRelevance(question_id="1", passage_ids=("2", "4"), relevance=(2.0, -2.0)),
    "2": PassageRelevance(question_id="2", passage_ids=("1", "3", "0", "4"), relevance=(0.0, 4.0, 1.0, 0.0)),
}


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    return load_cross_encoder(str(save_tiny("bert2bert", tmp_path / "encoder")))


@pytest.fixture
def corpus(tmp_path):
    return build_corpus(PASSAGES, tmp_path / "corpus")


@pytest.mark.parametrize("loss", ["kl", "max_margin", "cross_entropy"])
def test_the_loss_is_that_of_the_library_s_scores(model, corpus, loss):
    settings = RerankerTraining(loss=loss, num_passages=3, teacher_temperature=2.0)
    batch = reranker_batch(model, ASKED, RELEVANCE, corpus, settings)
    texts = {passage.id: f"{passage.title} {passage.text}" for passage in PASSAGES}
    score, told = torch.zeros(3, 3), torch.full((3, 3), -torch.inf)
    for row, question in enumerate(ASKED):
        item = RELEVANCE[question.id]
        ids = item.passage_ids[:3]
        score[row, : len(ids)] = torch.tensor(model.predict([(question.text, texts[name]) for name in ids]))
        told[row, : len(ids)] = torch.tensor(item.relevance[:3])
    expected = distillation_loss(score, told, loss=loss, teacher_temperature=2.0)
    assert RerankerStudent(model, settings).eval()(batch).item() == pytest.approx(expected.item(), abs=1e-5)


def test_it_learns_the_order_and_judges_by_it(model, corpus, tmp_path):
    settings = RerankerTraining(
        steps=40, questions_per_step=3, learning_rate=5e-3, precision="fp32", dropout=0.0, max_length_tokens=40
    )
    state = train_reranker(model, ASKED, RELEVANCE, corpus, settings, seed=0, folder=tmp_path / "work")
    assert state.losses[-1] < state.losses[0] / 4
    model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    judge = CrossEncoderTeacher(str(tmp_path / "saved"), precision="fp32")
    readings = tiny_readings(tmp_path / "readings")
    batch = reranker_batch(model, ASKED, RELEVANCE, corpus, settings)
    assert RerankerStudent(model, settings).eval().score(batch).argmax(1).tolist() == [0, 0, 1]
    assert len(list(judge.relevance(readings))) == 7
    nothing = {name: PassageRelevance(question_id=name, passage_ids=(), relevance=()) for name in RELEVANCE}
    with pytest.raises(TrainingError, match="two passages or more"):
        train_reranker(model, ASKED, nothing, corpus, settings, seed=0, folder=tmp_path / "none")


def test_the_command_makes_a_folder_that_the_library_loads(tiny_run, tiny_models, tmp_path):
    run = RunFolder(tiny_run)
    changes = [f"reranker_training.model={tiny_models / 'encoder'}", "reranker_training.steps=2"]
    changes += ["reranker_training.questions_per_step=2", "reranker_training.num_passages=3"]
    arguments = ["--data", str(run.data), "--relevance", str(run.round(1).relevance), "--out", str(tmp_path / "made")]
    told = [part for change in changes for part in ("--set", change)]
    done = CliRunner().invoke(app, ["train-reranker", *arguments, *told])
    assert done.exit_code == 0, done.output
    assert len(read_manifest(tmp_path / "made").facts["losses"]) == 2
    loaded = CrossEncoder(str(tmp_path / "made"), device="cpu", activation_fn=nn.Identity())
    assert loaded.predict([("who ?", "she"), ("who ?", "the sea")]).shape == (2,)


def test_a_bad_loss_names_its_questions(model, corpus, tmp_path):
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    settings = RerankerTraining(steps=1, questions_per_step=3, questions_per_batch=2, precision="fp32")
    order = items_of_step(0, num_items=3, items_per_step=3, seed=5)[:2]
    names = ", ".join(repr(ASKED[index].id) for index in order)
    with pytest.raises(TrainingError, match=f"loss of batch 1 of the step. Its questions: {names}[.]"):
        train_reranker(model, ASKED, RELEVANCE, corpus, settings, seed=5, folder=tmp_path / "work")
