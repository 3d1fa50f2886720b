"""Answers are compared as SQuAD, DPR, CMRC 2018 and JaQuAD compare them."""

import unicodedata

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from dogeared.evaluation.answers import AnswerMatcher, exact_match, f1, has_answer, normalize_answer


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("The Beatles!", "beatles"),
        ("A.", ""),
        ("a.b.c", "abc"),
        ("  an\tApple\na day ", "apple day"),
        ("theatre", "theatre"),
        ("the-end", "theend"),
        ("l\u2019an", "l\u2019"),  # the curly apostrophe is no ASCII punctuation, so that an article stands after it
    ],
)
def test_english_normalization(text, normalized):
    assert normalize_answer(text) == normalized


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("《红楼梦》", "红 楼 梦"),
        ("\uff11\uff12\uff13分。", "123 分"),
        ("NFL 联盟", "nfl 联 盟"),
        ("ゴールド", "ゴ ー ル ド"),
        ("……", ""),
    ],
)
def test_chinese_normalization(text, normalized):
    assert normalize_answer(text, "zh") == normalized


def test_exact_match_takes_any_answer():
    assert exact_match("the Po.", ["Polonium", "po"])
    assert exact_match("po", ["Polonium", "The Po!"])
    assert not exact_match("Po", ["Polonium"])
    assert not exact_match("Po", [])
    assert exact_match("24次拦截", ["24 次拦截。"], "zh")
    assert not exact_match("24次拦截", ["24 次拦截。"])


def test_f1_counts_common_words_of_the_best_answer():
    # prediction: cat sat on mat (4); answer: mat sat sat (3); common: sat, mat. 2 * 2 / 7
    assert f1("the cat sat on the mat", ["nothing", "mat sat sat"]) == pytest.approx(4 / 7)
    assert f1("cat", ["The Cat"]) == 1.0
    assert f1("cat", ["dog"]) == 0.0
    assert f1("cat", []) == 0.0


def test_f1_of_texts_of_which_nothing_is_left():
    assert f1("the", ["a"]) == 1.0
    assert f1("the", ["cat"]) == 0.0
    assert f1("cat", ["the"]) == 0.0


def test_chinese_f1_counts_the_longest_common_run():
    # Of 6 and of 5 characters; 海淀区 stands in both in one piece, 北京 and 海淀区 together do not. 2 * 3 / 11
    assert f1("北京市海淀区", ["北京海淀区"], "zh") == pytest.approx(6 / 11)
    assert f1("北京市海淀区", ["北京海淀区"]) == 0.0
    assert f1("abab", ["ab"], "zh") == 0.0
    assert f1("天地天地玄", ["地玄黄"], "zh") == pytest.approx(4 / 8)


@pytest.mark.parametrize(
    ("prediction", "answers", "em", "f1_value"),
    [
        # The definition of CMRC 2018: in lower case, punctuation away, each Han character a unit and the rest by words;
        # exact match of any answer; F1 of the longest run that both have, the best answer counting.
        ("踢爆", ["踢爆"], True, 1.0),
        ("即为一泡封", ["一泡封"], False, 2 * 3 / (5 + 3)),
        ("1961年", ["1961年。", "六一年"], True, 1.0),
        ("4 分钟", ["4分钟"], True, 1.0),
        ("由韩国Nexon开发", ["韩国nexon"], False, 2 * 3 / (6 + 3)),
        ("《跑跑卡丁车》与《泡泡堂》", ["跑跑卡丁车", "泡泡堂"], False, 2 * 5 / (9 + 5)),
        ("张三、李四", ["张三李四"], True, 1.0),
        (
            "李四和张三",
            ["张三和李四"],
            False,
            2 * 2 / (5 + 5),
        ),  # 李四, 张三, and 和 stand in both; the longest run is 2
        ("没有", ["北京"], False, 0.0),
    ],
)
def test_chinese_is_judged_as_cmrc_2018_defines(prediction, answers, em, f1_value):
    assert exact_match(prediction, answers, "zh") == em
    assert f1(prediction, answers, "zh") == pytest.approx(f1_value)


@pytest.mark.parametrize(
    ("prediction", "answers", "em", "f1_value"),
    [
        ("東京タワー", ["東京タワー。"], True, 1.0),
        ("1958年", ["\uff11\uff19\uff15\uff18年"], True, 1.0),
        ("ﾀﾜｰ", ["タワー"], True, 1.0),
        # Characters count wherever they stand: 東, 京, タ, ワ and ー of 5 and of 8. In Chinese it would be a run of 3.
        ("東京タワー", ["東京にあるタワー"], False, 2 * 5 / (5 + 8)),
        ("大阪", ["東京"], False, 0.0),
    ],
)
def test_japanese_is_judged_by_characters_as_jaquad_does(prediction, answers, em, f1_value):
    assert exact_match(prediction, answers, "ja") == em
    assert f1(prediction, answers, "ja") == pytest.approx(f1_value)


def test_japanese_answers_are_found_inside_a_sentence():
    assert has_answer(["タワー"], "東京タワーは1958年に完成した。", "ja")
    assert has_answer(["1958年"], "東京タワーは\uff11\uff19\uff15\uff18年に完成した。", "ja")
    assert not has_answer(["195"], "東京タワーは1958年に完成した。", "ja")
    assert not has_answer(["タワー"], "東京タワーは1958年に完成した。")


@given(st.lists(st.sampled_from("天地玄黄"), max_size=8), st.lists(st.sampled_from("天地玄黄"), max_size=8))
def test_chinese_f1_equals_a_search_of_all_runs(left, right):
    runs = [left[i:j] for i in range(len(left)) for j in range(i + 1, len(left) + 1)]
    longest = max((len(run) for run in runs if "".join(run) in "".join(right)), default=0)
    expected = 2 * longest / (len(left) + len(right)) if left and right else float(left == right)
    assert f1("".join(left), ["".join(right)], "zh") == pytest.approx(expected)


def test_a_passage_holds_whole_words_only():
    assert has_answer(["1960", "x"], "In 1960, in Liverpool")
    assert not has_answer(["1990"], "in the 1990s")
    assert not has_answer(["apple day"], "an apple a day")
    assert not has_answer(["mass"], "Maß")  # in lower case, not folded: in capitals the two would be one word
    assert has_answer(["CURAÇAO"], "the island of " + unicodedata.normalize("NFD", "Curaçao"))
    assert has_answer(["rock & roll"], "Rock  &\u00a0Roll")
    assert not has_answer([], "anything")


@pytest.mark.parametrize("blank", ["", "  ", "\u200b", "\n"])
def test_a_blank_answer_is_in_no_passage(blank):
    assert not has_answer([blank], "anything at all")
    assert not has_answer([blank], "")
    assert not has_answer([blank], "首都", "zh")
    assert has_answer([blank, "at all"], "anything at all")


def test_chinese_answers_are_found_inside_a_sentence():
    assert has_answer(["北京"], "中国的首都是北京。", "zh")
    assert not has_answer(["北京"], "中国的首都是北京。")
    assert has_answer(["308"], "只丢了308分", "zh")
    assert not has_answer(["30"], "只丢了308分", "zh")
    assert has_answer(["3.5%"], "增长\uff13\uff0e\uff15\uff05", "zh")
    assert not has_answer(["北京"], "北、京", "zh")


def test_a_matcher_judges_alike_when_it_remembers():
    matcher = AnswerMatcher()
    verdicts = [matcher.has_answer([answer], "one two") for answer in ("one", "two", "three", "one")]
    assert verdicts == [True, True, False, True]
    assert not matcher.has_answer(["北京"], "首都是北京。")  # English, where no language is named


@given(
    st.lists(st.text("aBc1 .é́\u200b", max_size=3), max_size=3),
    st.text("aBc1 .é́\u200b", max_size=12),
)
def test_matching_equals_a_comparison_of_token_lists(answers, text):
    def tokens(value):
        return [
            token.lower()
            for token in regex.findall(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]", unicodedata.normalize("NFD", value))
        ]

    held = tokens(text)
    wanted = [tokens(answer) for answer in answers]
    expected = any(
        answer and any(held[start : start + len(answer)] == answer for start in range(len(held))) for answer in wanted
    )
    assert has_answer(answers, text) == expected
