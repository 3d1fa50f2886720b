"""Where answers stand in a text; the spans must say the same as the judgment that counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dogeared.evaluation.answers import answer_places, answer_spans, has_answer


@pytest.mark.parametrize(
    ("answers", "text", "language", "marked"),
    [
        (["beatles"], "In 1960 The Beatles formed.", "en", ["Beatles"]),
        (["The Beatles", "beatles"], "The Beatles, the beatles", "en", ["The Beatles", "the beatles"]),
        (["1990"], "The 1990s, not 1990.", "en", ["1990"]),
        (["U.S. Army"], "A U.S.  Army camp; US Army", "en", ["U.S.  Army"]),
        (["cafe\u0301"], "Un CAFÉ.", "en", ["CAFÉ"]),
        (["a b", "b c"], "a b c", "en", ["a b c"]),
        (["北京"], "首都是北京。", "zh", ["北京"]),
        (["北京", "上海"], "北京上海", "zh", ["北京", "上海"]),  # side by side, they are two
        (["AB"], "这是\uff21\uff22公司", "zh", ["\uff21\uff22"]),
        (["ガイド"], "東京ｶﾞｲﾄﾞです", "ja", ["ｶﾞｲﾄﾞ"]),
        (["ﾊﾟﾘ"], "花のパリ、パ", "ja", ["パリ"]),
        (["パリ"], "花のハ\u309aリ", "ja", ["ハ\u309aリ"]),
        (["a\u0323\u0301"], "x a\u0301\u0323 y", "en", ["a\u0301\u0323"]),
        (["", " "], "anything", "en", []),
        ([], "anything", "en", []),
    ],
)
def test_an_answer_is_marked_where_it_stands(answers, text, language, marked):
    assert [text[start:end] for start, end in answer_spans(answers, text, language)] == marked


@given(
    st.lists(st.text("aAb é.\u0301\u0323 京1ｶﾞﾊﾟガー\u3099", max_size=4), max_size=3),
    st.text("aAb é.\u0301\u0323 京1ｶﾞﾊﾟガー\u3099\r\n", max_size=30),
    st.sampled_from(["en", "zh", "ja"]),
)
def test_there_is_a_mark_exactly_where_an_answer_counts(answers, text, language):
    spans = answer_spans(answers, text, language)
    assert bool(spans) == has_answer(answers, text, language)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert spans == sorted(spans)


def test_where_no_language_is_named_words_are_what_stands_between_spaces():
    assert answer_spans(["北京"], "首都是北京。") == answer_spans(["北京"], "首都是北京。", "en") == []


def test_places_that_overlap_are_each_an_answer():
    assert answer_places(["哈哈"], "哈哈哈", "zh") == [(0, 2), (1, 3)]
    assert answer_spans(["哈哈"], "哈哈哈", "zh") == [(0, 3)]
    assert answer_places(["a b", "A B"], "a b", "en") == [(0, 3)]
