"""The tokens of a passage's text, told from those of the question and the title before it."""

import pytest
import torch

from dogeared.errors import ModelError
from dogeared.reader.fid import FusionInDecoder
from dogeared.reader.text_tokens import text_tokens
from dogeared.records import Passage
from tiny_readers import KINDS, PASSAGES, QUESTIONS, passage, tiny_reader

FOUND = [PASSAGES[:3], [], PASSAGES[3:4]]


@pytest.fixture(scope="module", params=KINDS)
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FusionInDecoder:
    return tiny_reader(request.param, tmp_path_factory.mktemp("reader"))


def marked_words(reader: FusionInDecoder, question: str, one: Passage) -> str:
    """What is marked of one pair, as words."""
    (pair,) = reader.batch([question], [[one]]).chunks
    marks = text_tokens(reader, [question], [[one]])
    assert marks.shape == (1, int(pair.mask.sum()))  # the pair without what pads it
    return " ".join(reader.tokenizer.convert_ids_to_tokens(pair.token_ids[:, : marks.shape[1]][marks]))


@pytest.mark.parametrize("number", range(len(PASSAGES)))
def test_the_marked_tokens_are_the_words_of_the_text(reader, number):
    assert marked_words(reader, QUESTIONS[0], PASSAGES[number]) == PASSAGES[number].text


def test_a_title_or_question_that_holds_the_text_is_not_marked(reader):
    same = passage(7, "the red book", title="the red book")
    assert marked_words(reader, "the red book", same) == "the red book"


def test_they_lie_where_the_fused_states_lie(reader):
    marks = text_tokens(reader, QUESTIONS, FOUND)
    with torch.no_grad():
        fused = reader.fuse(reader.batch(QUESTIONS, FOUND))
    assert marks.shape == fused.mask.shape
    assert not (marks & (fused.passage_of_token < 0)).any()
    for number, one in enumerate(FOUND[0]):
        assert int((marks & (fused.passage_of_token == number))[0].sum()) == len(one.text.split())
    assert not marks[1].any()


def test_of_a_text_that_is_cut_what_is_left_is_marked(tmp_path):
    short = tiny_reader("t5", tmp_path, max_length_tokens=16)
    before = 6 + len(QUESTIONS[0].split()) + len(PASSAGES[0].title.split())
    words = marked_words(short, QUESTIONS[0], PASSAGES[0])
    assert words == " ".join(PASSAGES[0].text.split()[: 16 - 1 - before])
    shorter = tiny_reader("t5", tmp_path, max_length_tokens=12)
    assert marked_words(shorter, QUESTIONS[0], PASSAGES[0]) == ""


def test_a_tokenizer_that_does_not_know_places_is_refused(reader, monkeypatch):
    monkeypatch.setattr(type(reader.tokenizer), "is_fast", False)
    with pytest.raises(ModelError, match="expected a tokenizer that says where its tokens stand"):
        text_tokens(reader, QUESTIONS, FOUND)
