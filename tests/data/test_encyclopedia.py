"""The invented encyclopedia: repeatable, honest between its splits, and deaf to word matching."""

import json
import re

import pytest
import Stemmer

from dogeared.data import encyclopedia_words as words
from dogeared.data.encyclopedia import Encyclopedia, generate, write_encyclopedia

FUNCTION_WORDS = {"a", "by", "for", "in", "is", "of", "the", "to", "was"}


@pytest.fixture(scope="module")
def encyclopedia() -> Encyclopedia:
    return generate(seed=3)


def stems(texts):
    stem = Stemmer.Stemmer("english").stemWord
    return {stem(word) for text in texts for word in re.findall(r"[a-z]+", re.sub(r"{\w+}", "", text).lower())}


def test_equal_seeds_give_equal_encyclopedias(encyclopedia):
    assert generate(seed=3) == encyclopedia
    assert generate(seed=4).passages != encyclopedia.passages


def test_size_and_splits_are_as_asked(encyclopedia):
    assert len(encyclopedia.passages) == 230 * 8 + 80
    counts = {split: sum(q.split == split for q in encyclopedia.questions) for split in ("train", "dev", "test")}
    assert counts == {"train": 170 * 6, "dev": 20 * 6, "test": 40 * 6}
    assert len({passage.id for passage in encyclopedia.passages}) == len(encyclopedia.passages)
    assert len({question.id for question in encyclopedia.questions}) == len(encyclopedia.questions)


def test_a_passage_has_a_few_sentences(encyclopedia):
    lengths = [len(passage.text.split()) for passage in encyclopedia.passages]
    assert min(lengths) >= 20
    assert max(lengths) <= 50


def test_nobody_is_asked_about_in_two_splits(encyclopedia):
    titles = {passage.id: passage.title for passage in encyclopedia.passages}
    people = {"train": set(), "dev": set(), "test": set()}
    for question in encyclopedia.questions:
        name = titles[question.gold[0]]
        assert name in question.text
        people[question.split].add(name)
    assert not people["train"] & (people["dev"] | people["test"])
    assert not people["dev"] & people["test"]


def test_an_answer_stands_in_its_gold_passage_and_in_no_other_of_that_person(encyclopedia):
    passages = {passage.id: passage for passage in encyclopedia.passages}
    for question in encyclopedia.questions:
        (answer,), (gold,) = question.answers, question.gold
        holding = [
            passage.id
            for passage in encyclopedia.passages
            if passage.title == passages[gold].title and re.search(rf"\b{answer}\b", passage.text)
        ]
        assert holding == [gold]


def test_no_sentence_shares_a_content_word_with_a_question():
    asked = stems(template for templates in words.QUESTIONS.values() for template in templates)
    told = stems(template for templates in words.FACTS.values() for template in templates)
    told |= stems((*words.FILLERS, *words.OPENERS, *words.PLACE_SENTENCES))
    told |= stems(text for choices in words.SLOTS.values() for text in choices)
    told |= stems(text for lists in words.ANSWERS.values() for text in lists or ())
    assert asked & told <= FUNCTION_WORDS


def test_every_relation_has_facts_questions_and_answers():
    assert words.FACTS.keys() == words.QUESTIONS.keys() == words.ANSWERS.keys()
    assert all("{answer}" in template for templates in words.FACTS.values() for template in templates)
    assert all("{name}" in template for templates in words.QUESTIONS.values() for template in templates)


def test_editions_word_the_same_facts_differently(encyclopedia):
    other = generate(seed=3, edition=1)
    assert other.people == encyclopedia.people
    assert [q.answers for q in other.questions] == [q.answers for q in encyclopedia.questions]
    assert not {p.text for p in other.passages} & {p.text for p in encyclopedia.passages}


def test_worlds_share_no_surname(encyclopedia):
    def surnames(of):
        named = [person.name for person in of.people]
        named += [
            fact.answer for person in of.people for fact in person.facts if fact.relation in ("teacher", "spouse")
        ]
        return {name.split()[1] for name in named}

    others = generate(seed=3, world="pretraining", num_people=2_000)
    assert len(surnames(encyclopedia)) > 200
    assert not surnames(encyclopedia) & surnames(others)


def test_files_hold_the_records(encyclopedia, tmp_path):
    write_encyclopedia(encyclopedia, tmp_path / "demo")
    passages = [json.loads(line) for line in (tmp_path / "demo" / "passages.jsonl").read_text().splitlines()]
    questions = [json.loads(line) for line in (tmp_path / "demo" / "questions.jsonl").read_text().splitlines()]
    first, asked = encyclopedia.passages[0], encyclopedia.questions[0]
    assert passages[0] == {"id": first.id, "title": first.title, "text": first.text}
    assert questions[0] == {
        "id": asked.id,
        "question": asked.text,
        "answers": list(asked.answers),
        "gold": list(asked.gold),
        "split": asked.split,
    }
    assert (len(passages), len(questions)) == (len(encyclopedia.passages), len(encyclopedia.questions))
