"""Training an extractive reader in the common loop: what it learns from, and that it goes on where it stopped."""

import logging
from dataclasses import replace

import pytest
import torch

from dogeared.errors import TrainingError
from dogeared.reader.answering import answer_questions
from dogeared.reader.extractive import ExtractiveReader
from dogeared.reader.fid import ReaderSettings
from dogeared.training.train_extractive import train_extractive
from dogeared.training.train_reader import ReaderTraining
from tiny_readers import PASSAGES, QUESTIONS, save_tiny, tiny_readings

ANSWERS = {QUESTIONS[0]: ("Anna",), QUESTIONS[1]: ("Rome",), QUESTIONS[2]: ("Ghent", "the long river")}


def fresh(folder):
    torch.manual_seed(0)
    saved = save_tiny("bert", folder / "bert")
    return ExtractiveReader.load(ReaderSettings(kind="extractive", model=str(saved), max_length_tokens=64))


def readings(folder):
    plain = tiny_readings(folder / "readings", num_passages=5)
    ranking = replace(plain.rankings["q5"], passage_ids=tuple(p.id for p in PASSAGES))
    questions = [replace(question, answers=ANSWERS[question.text]) for question in plain.questions]
    rankings = {q.id: replace(ranking, question_id=q.id) for q in questions[:-1]}
    return replace(plain, questions=questions, rankings=rankings)


SETTINGS = ReaderTraining(steps=60, questions_per_step=6, learning_rate=5e-3, dropout=0.0, precision="fp32")


def test_it_learns_to_answer(tmp_path, caplog):
    reader, given = fresh(tmp_path), readings(tmp_path)
    settings = SETTINGS.model_copy(update={"evaluate_every_steps": 30})
    with caplog.at_level(logging.WARNING):
        state = train_extractive(reader, given, settings, seed=0, folder=tmp_path / "work", dev_readings=given)
    assert "1 of 7 training questions have no answer that stands in their passages" in caplog.text
    assert state.losses[-1] < 0.2 * state.losses[0]
    right = [answer in q.answers for answer, q in zip(answer_questions(reader, given), given.questions, strict=True)]
    assert right == [True] * 6 + [False]
    assert state.evaluations[state.best_step] == pytest.approx(6 / 7)


def test_batches_of_a_step_add_up_to_the_whole(tmp_path):
    given = readings(tmp_path)
    losses = []
    for size in (0, 2):
        settings = SETTINGS.model_copy(update={"steps": 3, "questions_per_batch": size})
        state = train_extractive(fresh(tmp_path), given, settings, seed=0, folder=tmp_path / f"work-{size}")
        losses.append(state.losses)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_without_an_answer_in_any_passage_there_is_nothing_to_learn(tmp_path):
    given = readings(tmp_path)
    given = replace(given, questions=[replace(question, answers=("elsewhere",)) for question in given.questions])
    with pytest.raises(TrainingError, match=r"answers that stand in passages, and none of the 7 training questions"):
        train_extractive(fresh(tmp_path), given, SETTINGS, seed=0, folder=tmp_path / "work")


def test_settings_of_a_decoder_are_said_to_bear_on_nothing(tmp_path, caplog):
    usual = {"steps": 0, "decoder_pace": 1.0}
    for changes, names in (
        ({}, ""),
        ({"decoder_pace": 2.0, "hint_weight": 1.0}, "reader_training.hint_weight and reader_training.decoder_pace: "),
        ({"activation_checkpointing": True}, "reader_training.activation_checkpointing: "),
    ):
        idle = SETTINGS.model_copy(update={**usual, **changes})
        caplog.clear()
        train_extractive(fresh(tmp_path), readings(tmp_path), idle, seed=0, folder=tmp_path / "work")
        assert ("bears on nothing in an extractive one" in caplog.text) is bool(changes)
        assert names in caplog.text
