"""Full-width and half-width writing of one word: the same in Chinese and Japanese, and in English only for searching.

Answers in English are judged to the letter of SQuAD's rules, which know no such forms.
"""

# ruff: noqa: RUF001

import pytest

from dogeared.data.language import detect_language
from dogeared.data.occurrence import AnswerSearch
from dogeared.evaluation.answers import AnswerMatcher, exact_match, f1, has_answer, normalize_answer
from dogeared.records import Passage, Question
from dogeared.retrieval.bm25 import BM25Retriever, BM25Settings
from dogeared.retrieval.tfidf import TfidfRetriever

# The usual form, and how it may be written.
PAIRS = [
    ("ガイドブック", "ｶﾞｲﾄﾞﾌﾞｯｸ"),
    ("ピカソ", "ﾋﾟｶｿ"),
    ("スーパーマン", "ｽｰﾊﾟｰﾏﾝ"),
    ("が", "か\u3099"),
    ("nhk", "ＮＨＫ"),
    ("2024", "２０２４"),
    ("第3回", "第３回"),
    ("キロ", "㌔"),
    ("(株)", "㈱"),
]


@pytest.mark.parametrize("language", ["ja", "zh"])
@pytest.mark.parametrize(("usual", "other"), PAIRS)
def test_an_answer_is_the_same_in_every_form(usual, other, language):
    assert normalize_answer(usual, language) == normalize_answer(other, language) != ""
    for one, two in ((usual, other), (other, usual)):
        assert exact_match(one, [two], language)
        assert f1(one, [two], language) == 1.0
        assert has_answer([one], f"これは{two}です。", language)
        assert AnswerMatcher(language).has_answer([one], f"これは{two}です。")


@pytest.mark.parametrize(("usual", "other"), PAIRS)
def test_a_search_finds_every_form(usual, other):
    rest = [Passage(id=f"rest-{n}", title="", text="無関係な文章") for n in range(3)]
    for one, two in ((usual, other), (other, usual)):
        passages = [*rest, Passage(id="wanted", title="", text=f"これは{two}です。")]
        question = [Question(id="q", text=f"{one}?")]
        for language in ("en", "ja", "zh", "none"):
            (found,) = BM25Retriever.build(passages, BM25Settings(language=language)).retrieve(question, 1)
            assert found.passage_ids == ("wanted",), language
        (found,) = TfidfRetriever.build(passages).retrieve(question, 1)
        assert found.passage_ids == ("wanted",)
        search = AnswerSearch([one])
        search.look_in(passages[-1].text)
        assert search.absent == set()


def test_half_width_kana_are_japanese():
    assert detect_language(["ﾄﾞﾗﾏﾉﾀｲﾄﾙﾊ?"]).language == "ja"
    usual, other = (detect_language([text]) for text in ("ガギグゲゴ is one word", "ｶﾞｷﾞｸﾞｹﾞｺﾞ is one word"))
    assert usual == other


@pytest.mark.parametrize(("usual", "other"), [("nhk", "ＮＨＫ"), ("2024", "２０２４"), ("fi", "ﬁ"), ("1/2", "½")])
def test_in_english_the_forms_stay_apart_as_in_squad(usual, other):
    assert normalize_answer(other) == other.lower()
    assert not exact_match(usual, [other])
    assert f1(usual, [other]) == 0.0
    assert not has_answer([usual], f"it was {other}.")
