"""A change that no test notices and that nobody has read is noticed, and so is a reason without a change."""

import json
from pathlib import Path

import pytest

from mutation.survivors import Kind, Mutant, change_of, compare, figures, read_kinds, split_name

LIST = Path(__file__).with_name("survivors.toml")


def survivor(change: str, function: str = "kl_divergence", module: str = "distill.losses") -> Mutant:
    return Mutant(module=module, function=function, survived=True, change=change)


def test_a_survivor_of_no_kind_is_named():
    faults = compare([survivor("return a + b -> return a - b")], read_kinds(LIST))
    assert faults[0] == "not explained: distill.losses.kl_divergence: return a + b -> return a - b"


def test_a_survivor_of_a_kind_is_counted_under_the_first_that_explains_it():
    kinds = [Kind(why="sums", where=["distill.*"], changes=[r"-> .*dim=\+1"]), Kind(why="all", changes=["->"])]
    mutants = [
        survivor("x.sum(dim=-1) -> x.sum(dim=+1)"),
        survivor("x.sum(dim=-1) -> x.sum(dim=+1)", module="evaluation.ranking"),
        Mutant(module="distill.losses", function="kl_divergence", survived=False),
    ]
    assert compare(mutants, kinds) == []
    assert [kind.survivors for kind in kinds] == [
        {"distill.losses.kl_divergence": 1},
        {"evaluation.ranking.kl_divergence": 1},
    ]
    assert json.loads(json.dumps(figures(mutants, kinds))) == {
        "modules": {
            "distill.losses": {"mutants": 2, "survivors": 1},
            "evaluation.ranking": {"mutants": 1, "survivors": 1},
        },
        "kinds": [
            {"why": "sums", "survivors": {"distill.losses.kl_divergence": 1}},
            {"why": "all", "survivors": {"evaluation.ranking.kl_divergence": 1}},
        ],
    }


def test_a_kind_without_survivors_is_named():
    kinds = [Kind(why="gone", changes=["never"]), Kind(why="all", changes=["->"])]
    assert compare([survivor("a -> b")], kinds) == ["explains nothing: gone"]


@pytest.mark.parametrize(
    ("change", "is_wording"),
    [
        ('raise E("no such file") -> raise E("XXno such fileXX")', True),
        ('raise E("no such file") -> raise E("NO SUCH FILE")', True),
        ('"Keep one of them" -> "keep one of them"', True),
        ('if kind == "first": -> if kind == "XXfirstXX":', False),  # a word that is compared
        ('if kind == "first": -> if kind == "FIRST":', False),
        ('f("no such file", 1) -> f("no such file", 2)', False),
        ('f("no such file", "a") -> f("no such file", "A")', False),
        ("a -> a", False),
    ],
)
def test_wording_is_texts_of_several_words_and_nothing_else(change, is_wording):
    assert survivor(change).is_wording == is_wording
    assert Kind(why="words", wording=True).explains(survivor(change)) == is_wording


def test_names_and_differences_are_taken_apart():
    assert split_name("dogeared.distill.labels.xǁGoldǁrelevance__mutmut_3") == ("distill.labels", "Gold.relevance")
    assert split_name("dogeared.distill.labels.x__marked__mutmut_30") == ("distill.labels", "_marked")
    dunder = "dogeared.distill.labels.xǁAnswerStringǁ__init____mutmut_1"
    assert split_name(dunder) == ("distill.labels", "AnswerString.__init__")
    diff = "--- a\n+++ a\n@@ -1,3 +1,3 @@\n def f():\n-    return 1\n+    return 2"
    assert change_of(diff) == "return 1 -> return 2"
