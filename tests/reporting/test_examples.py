"""Which questions are shown, and what is said of their passages."""

import shutil
from dataclasses import replace

import pytest

from dogeared.data.rankings import read_rankings, read_relevance, write_relevance
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.results import read_experiment, read_results
from dogeared.reporting.contenders import read_contenders
from dogeared.reporting.examples import choose_questions, find_examples, softmax


def test_most_that_moved_and_two_that_fell():
    moves = {f"up{number}": float(number) for number in range(1, 21)} | {"a": -0.1, "b": -0.2, "c": -0.3}
    assert choose_questions(moves) == [f"up{number}" for number in range(20, 12, -1)] + ["b", "c"]


def test_one_that_rose_is_not_lost_among_those_that_fell():
    moves = {f"down{number}": -float(number) for number in range(1, 21)} | {"up": 0.5}
    assert choose_questions(moves) == ["up"] + [f"down{number}" for number in range(12, 21)]


def test_fewer_questions_than_ten_are_all_shown():
    assert choose_questions({"a": 0.0, "b": -1.0}) == ["a", "b"]


def test_softmax_is_of_the_passages_read():
    assert softmax([0.0, 0.0]) == [0.5, 0.5]
    assert softmax([5000.0, 0.0], temperature=2.0) == [1.0, 0.0]
    assert softmax([]) == []
    assert softmax([1.0, 0.0], temperature=0.5)[0] == pytest.approx(0.880797, abs=1e-6)


def test_what_is_shown_is_what_the_rounds_left(tiny_run):
    run = RunFolder(tiny_run)
    contenders, dataset = read_contenders(run, read_results(run)), Dataset.open(run.data)
    found = find_examples(dataset, read_experiment(run), contenders[0], contenders[2], "test")
    assert len(found.examples) == 6 == found.num_risen + found.num_fallen + found.num_same
    for example in found.examples:
        gold = example.question.gold[0]
        for number, side in ((0, example.before), (1, example.after)):
            ranking = read_rankings(run.round(number).ranking / "rankings.parquet")[example.question.id]
            judged = read_relevance(run.round(number).relevance_eval / "relevance.parquet")[example.question.id]
            expected = ranking.passage_ids.index(gold) + 1 if gold in ranking.passage_ids else None
            assert side.first_hit == expected
            shown = sorted((*side.shown, *side.folded), key=lambda passage: passage.rank)
            assert [passage.rank for passage in shown] == list(range(1, len(ranking.passage_ids) + 1))
            assert tuple(passage.score for passage in shown) == ranking.scores
            shares = [passage.share for passage in shown]
            assert sum(shares[:4]) == pytest.approx(1.0)
            assert set(shares[4:]) <= {None}
            assert shares[0] / shares[1] == pytest.approx(softmax(judged.relevance)[0] / softmax(judged.relevance)[1])
            for passage in shown:
                text = dataset.corpus.passage(dataset.corpus.row_of(ranking.passage_ids[passage.rank - 1])).text
                assert "".join(piece for piece, _ in passage.pieces) == text
                assert (passage.hit == "gold") == (passage.rank == expected)
                if passage.hit == "gold":
                    assert passage in side.shown
                    assert (example.question.answers[0].lower(), True) in [(p.lower(), m) for p, m in passage.pieces]


def test_a_share_is_that_of_the_passage_also_where_a_re_ranker_chose_what_is_read(tiny_run, tmp_path):
    """The reader has judged others than the first passages of the ranking, in another order."""
    run = RunFolder(shutil.copytree(tiny_run, tmp_path / "run"))
    file = run.round(0).relevance_eval / "relevance.parquet"
    rankings = read_rankings(run.round(0).ranking / "rankings.parquet")
    judged = {
        name: replace(item, passage_ids=tuple(reversed(rankings[name].passage_ids))[: len(item.passage_ids)])
        for name, item in read_relevance(file).items()
    }
    write_relevance(judged.values(), file)
    contenders, dataset = read_contenders(run, read_results(run)), Dataset.open(run.data)
    for example in find_examples(dataset, read_experiment(run), contenders[0], contenders[2], "test").examples:
        read, ids = judged[example.question.id], rankings[example.question.id].passage_ids
        expected = dict(zip(read.passage_ids, softmax(read.relevance), strict=True))
        shown = (*example.before.shown, *example.before.folded)
        assert {ids[one.rank - 1]: one.share for one in shown if one.share is not None} == pytest.approx(expected)
