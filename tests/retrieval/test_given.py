"""Given rankings come back as they were given."""

import pytest

from dogeared.errors import DataError
from dogeared.records import Question, Ranking
from dogeared.retrieval.base import Retriever
from dogeared.retrieval.given import GivenRetriever

RANKINGS = [
    Ranking(question_id="x", passage_ids=("a", "b", "c"), scores=(3.0, 2.0, 1.0)),
    Ranking(question_id="y", passage_ids=(), scores=()),
]


def questions(*question_ids):
    return [Question(id=question_id, text="?") for question_id in question_ids]


def test_rankings_follow_the_questions_and_are_cut():
    retriever: Retriever = GivenRetriever(iter(RANKINGS))
    assert retriever.retrieve(questions("y", "x"), 2) == [
        Ranking(question_id="y", passage_ids=(), scores=()),
        Ranking(question_id="x", passage_ids=("a", "b"), scores=(3.0, 2.0)),
    ]


def test_shorter_rankings_are_returned_whole():
    assert GivenRetriever(RANKINGS).retrieve(questions("x"), 100) == RANKINGS[:1]


def test_a_question_without_ranking_is_named():
    with pytest.raises(DataError, match=r"run\.trec: .*none of 'z'"):
        GivenRetriever(RANKINGS, name="run.trec").retrieve(questions("x", "z"), 5)


def test_two_rankings_of_one_question_are_an_error():
    with pytest.raises(DataError, match="two of 'x'"):
        GivenRetriever([*RANKINGS, RANKINGS[0]])
