"""The set of questions: splits, counts, gold passages, and the file it is kept in."""

import hashlib
import random

import pytest

from dogeared.data.corpus import build_corpus
from dogeared.data.formats import GivenQuestion
from dogeared.data.questions import (
    assign_splits,
    check_gold,
    count_by_split,
    read_questions_file,
    write_questions,
)
from dogeared.errors import DataError
from dogeared.records import Passage, Question


def given(text, *, question_id=None, split=None):
    question = Question(id=question_id or text, text=text, split=split or "train")
    return GivenQuestion(question=question, split_given=split is not None)


def test_given_splits_are_kept():
    rows = [given("a", split="test"), given("b", split="train"), given("c", split="dev")]
    questions, said = assign_splits(rows, seed=0)
    assert said is True
    assert questions == [row.question for row in rows]


def test_splits_that_are_not_given_are_dealt_eight_one_one():
    questions, said = assign_splits([given(f"question {number}") for number in range(5000)], seed=3)
    assert said is False
    counts = count_by_split(questions)
    # Three standard deviations of a binomial of 5000.
    assert abs(counts["train"] - 4000) < 3 * 28.3
    assert abs(counts["dev"] - 500) < 3 * 21.3
    assert abs(counts["test"] - 500) < 3 * 21.3


def test_split_follows_from_seed_and_text_as_documented():
    for text in ("who?", "北京在哪里", "what"):
        share = int.from_bytes(hashlib.blake2b(f"5\t{text}".encode(), digest_size=8).digest(), "little") / 2**64
        expected = "train" if share < 0.8 else "dev" if share < 0.9 else "test"
        (question,), _ = assign_splits([given(text)], seed=5)
        assert question.split == expected


def test_split_of_a_question_does_not_depend_on_place_id_or_company():
    texts = [f"question {number}" for number in range(200)]
    before = {question.text: question.split for question in assign_splits(map(given, texts), seed=1)[0]}
    shuffled = random.Random(0).sample(texts, 120)
    again, _ = assign_splits([given(text, question_id=f"id {at}") for at, text in enumerate(shuffled)], seed=1)
    assert [question.text for question in again] == shuffled
    assert all(question.split == before[question.text] for question in again)
    other = {question.text: question.split for question in assign_splits(map(given, texts), seed=2)[0]}
    assert other != before


def test_splits_given_to_some_only_are_an_error_that_names_the_first_without():
    rows = [given("a", split="train"), given("b"), given("c"), given("d", split="test")]
    with pytest.raises(DataError, match="2 of 4 do, the question 'b' is the first that does not") as raised:
        assign_splits(rows, seed=0)
    assert raised.value.field == "split"


def test_no_questions_have_no_splits():
    assert assign_splits([], seed=0) == ([], False)
    assert count_by_split([]) == {"train": 0, "dev": 0, "test": 0}


def test_questions_are_read_back_as_they_were_written(tmp_path):
    questions = [
        Question(id="1", text='Who said "no"?\n', answers=("Ann", " Bo ", "3.10"), split="dev", gold=("p1", "7")),
        Question(id="two words", text="谁?\u2028", split="test", near_gold=("p2",)),
    ]
    write_questions(iter(questions), tmp_path / "questions.jsonl")
    assert read_questions_file(tmp_path / "questions.jsonl") == questions


def test_file_without_splits_is_not_ours(tmp_path):
    (tmp_path / "questions.jsonl").write_text('{"id": "a", "question": "who?"}\n')
    with pytest.raises(DataError, match="expected every question to have a split, 'a' has none"):
        read_questions_file(tmp_path / "questions.jsonl")


@pytest.mark.parametrize(("field", "at"), [("gold", 1), ("near_gold", 0)])
def test_gold_passage_that_the_corpus_lacks_is_an_error_naming_question_and_id(tmp_path, field, at):
    corpus = build_corpus([Passage(id="p1", title="", text="t"), Passage(id="p2", title="", text="u")], tmp_path)
    good = Question(id="q1", text="who?", gold=("p1",), near_gold=("p2",))
    assert check_gold([good], corpus, file=tmp_path / "q.jsonl") == [good]
    bad = Question(id="q2", text="who?", **{field: ("p1", "p9")[1 - at :]})
    with pytest.raises(DataError, match="question 'q2' names the passage 'p9'") as raised:
        check_gold([good, bad], corpus, file=tmp_path / "q.jsonl")
    assert (raised.value.field, raised.value.file) == (f"{field}[{at}]", str(tmp_path / "q.jsonl"))
    told: list[DataError] = []
    assert check_gold([bad, good, bad], corpus, file=tmp_path / "q.jsonl", on_error=told.append) == [good]
    assert [error.reason for error in told] == [raised.value.reason] * 2
