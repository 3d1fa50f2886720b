"""Cloze questions: what is left out, what goes with it, and that files carry both."""

import json

import pytest

from dogeared.data.cloze import BLANK, cloze_questions
from dogeared.data.formats import given_line, iter_questions
from dogeared.records import Passage

CURIE = Passage(
    id="c",
    title="Marie Curie",
    text="She was born in Warsaw to a teacher of physics. Later she moved to Paris and studied there. "
    "In 1903 the prize went to her and to two others.",
)
PLAIN = Passage(id="x", title="", text="there is nothing here that begins with a capital or counts anything at all.")


def made(**options):
    return list(cloze_questions([CURIE, PLAIN], seed=0, per_passage=9, **options))


def test_a_name_or_number_inside_a_sentence_is_left_out():
    assert {given.question.answers[0] for given in made()} == {"Warsaw", "Paris", "1903"}
    by_answer = {given.question.answers[0]: given.question.text for given in made()}
    assert by_answer["Warsaw"] == f"She was born in {BLANK} to a teacher of physics."


def test_a_chinese_sentence_ends_at_its_own_mark_and_needs_blanks():
    text = "她于 1903 年 获得 诺贝尔 奖 。他出生于1867年。第 49 届 比赛 以 20 比 18 结束！以后没有了"  # noqa: RUF001
    passage = Passage(id="zh", title="", text=text)
    asked = [given.question.text for given in cloze_questions([passage], seed=0, per_passage=9)]
    assert sorted(asked) == sorted(
        [
            f"她于 {BLANK} 年 获得 诺贝尔 奖 。",
            f"第 {BLANK} 届 比赛 以 20 比 18 结束！",  # noqa: RUF001
            f"第 49 届 比赛 以 {BLANK} 比 18 结束！",  # noqa: RUF001
            f"第 49 届 比赛 以 20 比 {BLANK} 结束！",  # noqa: RUF001
        ]
    )


@pytest.mark.parametrize(
    ("sentence", "spans"),
    [
        ("He was born on 14 December 1902 in The Hague and died there.", {"14 December 1902", "Hague"}),
        ("It opened on May 5, 1945, and again in May 1946 by the sea.", {"May 5, 1945", "May 1946"}),
        ("I met Ludwig van Beethoven at the Duke of York's or so.", {"Ludwig van Beethoven", "Duke of York's"}),
        ("There were 1,200.5 with O'Neill in Saint-Denis on 3 June.", {"1,200.5", "O'Neill", "Saint-Denis", "3 June"}),
        ("Some said: The end is near, and He knew it too.", set()),
    ],
)  # fmt: skip
def test_dates_and_names_are_left_out_whole_and_words_that_name_nothing_are_not(sentence, spans):
    source = Passage(id="s", title="", text=sentence)
    found = cloze_questions([source], seed=0, per_passage=9)
    assert {given.question.answers[0] for given in found} == spans


def test_filling_the_blank_gives_the_sentence_back():
    for given in made():
        assert given.question.text.replace(BLANK, given.question.answers[0]) in CURIE.text


def test_the_source_goes_with_the_question():
    for given in made():
        assert given.passages == (CURIE,)
        assert given.question.gold == ("c",)


@pytest.mark.parametrize("max_words", [12, 15])
def test_a_short_source_still_holds_the_answer(max_words):
    for given in made(max_words=max_words):
        (source,) = given.passages
        sentence = given.question.text.replace(BLANK, given.question.answers[0])
        assert sentence in source.text
        assert len(source.text.split()) <= max(max_words, len(sentence.split()))
        assert given.question.gold == (source.id,)


def test_the_same_seed_takes_the_same_spans_whatever_came_before():
    alone = [given.question for given in cloze_questions([CURIE], seed=3)]
    among = [given.question for given in cloze_questions([PLAIN, CURIE], seed=3)]
    assert alone == among
    assert len(alone) == 1


def test_written_lines_are_read_back(tmp_path):
    file = tmp_path / "cloze.jsonl"
    file.write_text("".join(given_line(given) + "\n" for given in made(max_words=20)), encoding="utf-8")
    read = list(iter_questions(file))
    assert [one.question for one in read] == [given.question for given in made(max_words=20)]
    assert [one.passages for one in read] == [given.passages for given in made(max_words=20)]
    assert not any(one.split_given for one in read)
    assert "split" not in json.loads(file.read_text().splitlines()[0])
