"""A gap question is answered word for word by one of its passages."""

import random

from dogeared.data.cloze import BLANK
from dogeared.data.gaps import draw_gap
from dogeared.records import Passage

TEXTS = [
    "The river rises in the northern hills and reaches the sea after three hundred miles of marsh and meadow.",
    "A clock in the tower strikes every hour but the mayor has long forbidden it to strike at night or on Sundays.",
]
PASSAGES = [Passage(id=str(number), title=f"title {number}", text=text) for number, text in enumerate(TEXTS)]


def test_question_and_answer_together_stand_in_one_passage():
    seen = set()
    for seed in range(200):
        gap = draw_gap(PASSAGES, num_words=14, draw=random.Random(seed))
        assert gap is not None
        whole = gap.question.replace(BLANK, gap.answer)
        assert [whole in passage.text for passage in gap.passages].count(True) == 1
        assert whole in TEXTS[0]
        assert gap.source == "0"
        assert {passage.title for passage in gap.passages} == {"title 0", "title 1"}
        assert all(len(passage.text.split()) == 14 for passage in gap.passages)
        seen.add(gap.passages[0].id)
    assert seen == {"0", "1"}  # the passage that answers does not always stand first


def test_the_same_draw_gives_the_same_question():
    first, second = (draw_gap(PASSAGES, num_words=12, draw=random.Random(3)) for _ in range(2))
    assert first == second


def test_a_passage_too_short_gives_no_question():
    assert draw_gap([Passage(id="0", title="", text="Three words only")], num_words=14, draw=random.Random(0)) is None


def test_chinese_is_cut_between_characters():
    passage = Passage(id="0", title="河", text="这条河发源于北方的山区流经三百里的沼泽和草地之后注入大海。")
    gap = draw_gap([passage], num_words=14, draw=random.Random(1))
    assert gap is not None
    assert 1 <= len(gap.answer) <= 5
    assert gap.answer in passage.text
