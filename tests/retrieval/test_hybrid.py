"""Fusion: by hand for both ways, whole at the ends of the weight, and definite among equals."""

import itertools
import random

import pytest

from dogeared.records import Question, Ranking
from dogeared.retrieval.base import Retriever
from dogeared.retrieval.given import GivenRetriever
from dogeared.retrieval.hybrid import HybridRetriever, HybridSettings, fuse


def ranking(**scores):
    return Ranking(question_id="q", passage_ids=tuple(scores), scores=tuple(map(float, scores.values())))


WORDS = ranking(a=9, b=5, c=1)
VECTORS = ranking(c=0.8, d=0.6, a=0.4)


def as_dict(found):
    return dict(zip(found.passage_ids, found.scores, strict=True))


def test_reciprocal_ranks_by_hand():
    found = fuse(WORDS, VECTORS, 10, HybridSettings(rank_constant=60.0))
    # a: ranks 1 and 3; c: 3 and 1, equal to a, which the words put first; b and d: 2, and b is by words.
    assert list(found.passage_ids) == ["a", "c", "b", "d"]
    both = (1 / 61 + 1 / 63) / 2
    assert found.scores == pytest.approx((both, both, 0.5 / 62, 0.5 / 62))
    weighted = fuse(WORDS, VECTORS, 10, HybridSettings(dense_weight=0.75, rank_constant=0.0))
    expected = {"a": 0.25 / 1 + 0.75 / 3, "b": 0.25 / 2, "c": 0.25 / 3 + 0.75 / 1, "d": 0.75 / 2}
    assert as_dict(weighted) == pytest.approx(expected)
    assert list(weighted.passage_ids) == ["c", "a", "d", "b"]


def test_stretched_scores_by_hand():
    found = fuse(WORDS, VECTORS, 10, HybridSettings(method="score", dense_weight=0.25))
    # Words: a 1, b 0.5, c 0, d nothing. Vectors: c 1, d 0.5, a 0, b nothing.
    assert as_dict(found) == pytest.approx({"a": 0.75, "b": 0.375, "c": 0.25, "d": 0.125})
    assert list(found.passage_ids) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("method", ["rank", "score"])
@pytest.mark.parametrize(("weight", "part"), [(0.0, 0), (1.0, 1)])
def test_weights_of_0_and_1_are_the_parts(method, weight, part):
    draw = random.Random(0)
    settings = HybridSettings(method=method, dense_weight=weight)
    for _ in range(50):
        lists = []
        for _ in range(2):
            # Few different scores: many equal ones, whose order must be kept.
            scores = sorted((draw.randrange(3) for _ in range(8)), reverse=True)
            lists.append(ranking(**dict(zip(draw.sample("abcdefghijkl", 8), scores, strict=True))))
        for k in (3, 8, 20):
            assert fuse(*lists, k, settings).passage_ids == lists[part].passage_ids[:k]


@pytest.mark.parametrize("method", ["rank", "score"])
def test_a_list_without_passages_or_of_one_score_is_no_trouble(method):
    settings = HybridSettings(method=method)
    assert fuse(ranking(), ranking(), 5, settings) == ranking()
    assert fuse(WORDS, ranking(), 5, settings).passage_ids == ("a", "b", "c")
    assert fuse(ranking(), VECTORS, 2, settings).passage_ids == ("c", "d")
    even = fuse(ranking(x=2, y=2), ranking(), 5, settings)
    assert even.passage_ids == ("x", "y")
    if method == "score":
        assert even.scores == (0.5, 0.5)


@pytest.mark.parametrize("method", ["rank", "score"])
def test_names_play_no_part_and_scores_do_not_increase(method):
    settings = HybridSettings(method=method)
    for names in itertools.permutations("abcd"):
        renamed = dict(zip("abcd", names, strict=True))
        lists = [
            Ranking(question_id="q", passage_ids=tuple(renamed[x] for x in one.passage_ids), scores=one.scores)
            for one in (WORDS, VECTORS)
        ]
        found = fuse(*lists, 4, settings)
        assert found.passage_ids == tuple(renamed[x] for x in fuse(WORDS, VECTORS, 4, settings).passage_ids)
        assert list(found.scores) == sorted(found.scores, reverse=True)


def test_the_retriever_asks_both_as_deep_as_it_is_told():
    lexical, dense = GivenRetriever([WORDS], "words"), GivenRetriever([VECTORS], "vectors")
    question = Question(id="q", text="?")
    deep: Retriever = HybridRetriever(lexical, dense, HybridSettings(), depth=3)
    assert deep.name == "vectors + words"
    assert deep.retrieve([question], 2) == [fuse(WORDS, VECTORS, 2, HybridSettings())]
    shallow = HybridRetriever(lexical, dense, HybridSettings(), depth=1)
    assert shallow.retrieve([question], 1)[0].passage_ids == ("a",)
    assert set(shallow.retrieve([question], 2)[0].passage_ids) <= {"a", "b", "c", "d"}
