"""Words in a row, with what must stay among them."""

import random

import pytest

from dogeared.data.windows import cut_words, words_of

TEXT = "one two three four five six seven eight nine ten"


def test_as_many_words_as_asked_for_and_every_place_comes_up():
    seen = {cut_words(TEXT, 4, random.Random(seed)) for seed in range(200)}
    words = TEXT.split()
    assert seen == {" ".join(words[first : first + 4]) for first in range(7)}


@pytest.mark.parametrize("wanted", ["one", "five six", "ten"])
def test_what_is_to_be_kept_is_kept(wanted):
    around = (TEXT.index(wanted), TEXT.index(wanted) + len(wanted))
    seen = {cut_words(TEXT, 4, random.Random(seed), around=around) for seed in range(200)}
    assert all(wanted in text and len(text.split()) == 4 for text in seen)
    assert len(seen) == {"one": 1, "five six": 3, "ten": 1}[wanted]


def test_of_a_span_too_long_the_beginning_is_kept():
    assert cut_words(TEXT, 3, random.Random(0), around=(TEXT.index("two"), TEXT.index("nine"))) == "two three four"


def test_a_short_text_stays_whole():
    assert cut_words(" a  b ", 2, random.Random(0)) == " a  b "


def test_characters_of_chinese_are_words():
    assert len(words_of("山区 river")) == 3
