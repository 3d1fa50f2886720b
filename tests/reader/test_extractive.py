"""The extractive reader against the library's own model, text by text, and what it learns, saves and refuses."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForQuestionAnswering

from dogeared.errors import ModelError
from dogeared.reader.answering import answer_questions
from dogeared.reader.extractive import ExtractiveReader
from dogeared.reader.fid import FusionInDecoder, ReaderSettings
from dogeared.reader.kinds import open_reader
from tiny_readers import PASSAGES, QUESTIONS, passage, save_tiny, tiny_readings, tiny_tokenizer


def save_encoder(folder: Path) -> Path:
    """A random BERT, whose tokenizer puts pairs together as BERT's does and tells the model which half is which."""
    saved = save_tiny("bert", folder)
    tokenizer = tiny_tokenizer("bert")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save_pretrained(saved)
    return saved


@pytest.fixture
def reader(tmp_path):
    saved = save_encoder(tmp_path / "bert")
    torch.manual_seed(0)
    settings = ReaderSettings(kind="extractive", model=str(saved), max_length_tokens=64, max_answer_tokens=4)
    return ExtractiveReader.load(settings).eval()


def test_numbers_are_those_of_the_library_pair_by_pair(reader):
    found = [PASSAGES[:3], [], [PASSAGES[4]]]
    batch = reader.batch(QUESTIONS, found)
    assert batch.token_types
    with torch.no_grad():
        logits = reader.logits(batch)
        for number, question in enumerate(QUESTIONS):
            start, end = [], []
            for one in found[number] or [passage(9, "", title="")]:
                text = f"{one.title}: {one.text}" if one.title else one.text
                said = reader.model(
                    **reader.tokenizer([question], [text], return_token_type_ids=True, return_tensors="pt")
                )
                start += said.start_logits[0].tolist()
                end += said.end_logits[0].tolist()
            length = int(batch.pairs.plan.mask[number].sum())
            assert logits.start[number, :length].tolist() == pytest.approx(start, abs=1e-5)
            assert logits.end[number, :length].tolist() == pytest.approx(end, abs=1e-5)


def test_only_the_passages_text_can_be_answered_from(reader):
    batch = reader.batch([QUESTIONS[0]], [[PASSAGES[1], PASSAGES[3]]])
    ids = torch.zeros_like(batch.pairs.plan.passage_of_token).flatten()
    ids[batch.pairs.plan.slots] = torch.cat([chunk.token_ids[chunk.mask] for chunk in batch.pairs.chunks])
    read = reader.tokenizer.convert_ids_to_tokens(ids[batch.readable.flatten()].tolist())
    assert read == ["Cora", "sang", "the", "long", "river", "lies", "by", "Ghent"]


def test_occurrences_are_found_in_every_passage_and_for_every_answer(reader):
    batch = reader.batch(
        QUESTIONS[:2],
        [[PASSAGES[0], PASSAGES[4]], [PASSAGES[2]]],
        answers=[["Anna", "the red book"], ["river in the north", "nothing"]],
    )
    shown = [
        (
            question,
            batch.texts[question][int(batch.pairs.plan.passage_of_token[question, first])][
                int(batch.offsets[question, first, 0]) : int(batch.offsets[question, last, 1])
            ],
        )
        for question, first, last in batch.occurrences.tolist()
    ]
    assert sorted(shown) == [(0, "Anna"), (0, "the red book"), (0, "the red book"), (1, "river in the north")]


def test_an_answer_that_was_cut_off_is_no_occurrence(reader):
    reader.settings = reader.settings.model_copy(update={"max_length_tokens": 18})
    batch = reader.batch([QUESTIONS[1]], [[PASSAGES[2]]], answers=[["north", "the tower is", "Rome"]])
    texts = [
        batch.texts[0][0][int(batch.offsets[0, i, 0]) : int(batch.offsets[0, j, 1])]
        for _, i, j in batch.occurrences.tolist()
    ]
    assert texts == ["Rome"]


def test_the_answer_is_a_span_of_one_passage_and_no_longer_than_allowed(reader):
    found = [PASSAGES[:4], [], PASSAGES[2:]]
    for answer, passages in zip(reader.generate(reader.batch(QUESTIONS, found)), found, strict=True):
        if not passages:
            assert answer == ""
        else:
            assert any(answer in one.text for one in passages)
            assert 1 <= len(answer.split()) <= 4


def test_it_learns_where_the_answer_stands_in_which_passage(reader):
    answers = [["Anna"], ["Rome"], ["the long river"]]
    found = [PASSAGES, PASSAGES, PASSAGES]
    optimizer = torch.optim.AdamW(reader.parameters(), lr=3e-3)
    reader.train()
    for _ in range(150):
        loss = reader(reader.batch(QUESTIONS, found, answers=answers))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    reader.eval()
    batch = reader.batch(QUESTIONS, found)
    assert reader.generate(batch) == ["Anna", "Rome", "the long river"]
    with torch.no_grad():
        posterior = reader.log_posterior(reader.scores(batch), batch)
    assert posterior.argmax(dim=1).tolist() == [0, 2, 3]
    torch.testing.assert_close(posterior.exp().sum(dim=1), torch.ones(3))


def test_what_is_saved_is_a_plain_question_answering_model(reader, tmp_path):
    reader.save(tmp_path / "saved")
    plain = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "saved")
    torch.testing.assert_close(plain.qa_outputs.weight, reader.model.qa_outputs.weight)
    again = open_reader(reader.settings.model_copy(update={"model": str(tmp_path / "saved")})).eval()
    readings = tiny_readings(tmp_path / "readings")
    assert answer_questions(again, readings) == answer_questions(reader, readings)


def test_answers_do_not_depend_on_who_is_read_beside(reader, tmp_path):
    readings = tiny_readings(tmp_path)
    together = answer_questions(reader, readings, precision="fp32")
    alone = [
        answer_questions(reader, replace(readings, questions=[question]), precision="fp32")[0]
        for question in readings.questions
    ]
    assert together == alone
    assert together[0] == together[-1] == ""


def test_the_kind_is_the_settings(reader, tmp_path):
    assert isinstance(open_reader(reader.settings), ExtractiveReader)
    saved = save_tiny("t5", tmp_path / "t5")
    assert isinstance(open_reader(ReaderSettings(model=str(saved))), FusionInDecoder)
    # Readers that were made before there was a choice are still what they were.
    assert "kind" not in ReaderSettings().model_dump()
    assert reader.settings.model_dump()["kind"] == "extractive"


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_a_model_that_is_no_encoder_is_refused(kind, tmp_path):
    saved = save_tiny(kind, tmp_path / kind)
    with pytest.raises(ModelError, match=f"expected a bidirectional encoder .* a model of type {kind} is none.*Give a"):
        open_reader(ReaderSettings(kind="extractive", model=str(saved)))
