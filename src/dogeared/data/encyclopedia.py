"""A generated encyclopedia of invented people and places: the corpus and the questions of the demo.

Each person has eight passages under one title: six state one fact each, two state none. Questions ask for the facts in
other words than the passages use, so word matching finds the person and must guess the passage; what a retriever can
learn is which wording answers which kind of question. Nobody in a ``train`` question appears in a ``dev`` or ``test``
question.

The facts follow from ``seed``; how they are worded follows from ``seed`` and ``edition``: two editions of one seed say
the same in different words. The worlds share no surname, so models made from the ``pretraining`` world have never met
anyone of the ``demo`` world. The words themselves are in ``encyclopedia_words``.
"""

import json
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dogeared.data import encyclopedia_words as words
from dogeared.records import Passage, Question

__all__ = ["Encyclopedia", "Fact", "Person", "World", "generate", "write_encyclopedia"]

World = Literal["demo", "pretraining"]

NUM_FACTS = 6
NUM_FILLER_PASSAGES = 2
NUM_PLACES = 80
MIN_WORDS = 30
DEMO_SHARE = 4  # one surname in so many belongs to the demo


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """One thing that is true of a person.

    Attributes:
        relation: A key of ``encyclopedia_words.FACTS``.
        answer: The words that answer a question for the relation.
    """

    relation: str
    answer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """An invented person, before anything is worded.

    Attributes:
        name: Unique in its world.
        pronoun: ``she`` or ``he``.
        facts: At most one for each relation.
        split: Where the person's questions belong.
    """

    name: str
    pronoun: str
    facts: tuple[Fact, ...]
    split: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Encyclopedia:
    """Everything generated from one seed.

    Attributes:
        passages: In an order that says nothing; each id is unique.
        questions: One for each fact, with its answer, its gold passage and its split.
        people: Those the passages and the questions are about.
    """

    passages: tuple[Passage, ...]
    questions: tuple[Question, ...]
    people: tuple[Person, ...]


def generate(
    *,
    num_people: int = 230,
    num_dev_people: int = 20,
    num_test_people: int = 40,
    seed: int = 0,
    world: World = "demo",
    edition: int = 0,
) -> Encyclopedia:
    """Generate an encyclopedia and questions about its people.

    Args:
        num_people: Eight passages and six questions follow from each.
        num_dev_people: How many of them are asked about in the ``dev`` split.
        num_test_people: How many of them are asked about in the ``test`` split; the rest are in ``train``.
        seed: Equal seeds give equal people and facts.
        world: Different worlds share no surname.
        edition: Changes the wording of passages and questions, and no fact.

    Returns:
        The same encyclopedia for the same arguments, on every machine.
    """
    facts_rng = random.Random(f"{world} {seed}")
    places = _places(facts_rng)
    splits = ["dev"] * num_dev_people + ["test"] * num_test_people
    splits += ["train"] * (num_people - len(splits))
    people = _people(facts_rng, places=places, splits=splits, world=world)

    wording_rng = random.Random(f"{world} {seed} {edition}")
    drafts: list[tuple[str, str, Person | None, Fact | None]] = []  # title, text, and what the text states
    for person in people:
        drafts += [(person.name, text, person, fact) for fact, text in _articles(wording_rng, person, places)]
    drafts += [(place, _place_text(wording_rng, place, places), None, None) for place in places]
    wording_rng.shuffle(drafts)

    passages: list[Passage] = []
    gold: dict[tuple[str, str], str] = {}
    for number, (title, text, person, fact) in enumerate(drafts):
        passages.append(Passage(id=f"p{number:05d}", title=title, text=text))
        if person is not None and fact is not None:
            gold[person.name, fact.relation] = passages[-1].id

    questions = tuple(
        Question(
            id=f"q{number:05d}",
            text=wording_rng.choice(words.QUESTIONS[fact.relation]).format(name=person.name),
            answers=(fact.answer,),
            split=person.split,
            gold=(gold[person.name, fact.relation],),
        )
        for number, (person, fact) in enumerate((person, fact) for person in people for fact in person.facts)
    )
    return Encyclopedia(passages=tuple(passages), questions=questions, people=people)


def write_encyclopedia(encyclopedia: Encyclopedia, directory: Path) -> None:
    """Write ``passages.jsonl`` and ``questions.jsonl``, one record a line.

    Args:
        encyclopedia: What to write.
        directory: Made if it is not there; files of these names in it are replaced.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "passages.jsonl").open("w", encoding="utf-8") as file:
        for passage in encyclopedia.passages:
            file.write(json.dumps({"id": passage.id, "title": passage.title, "text": passage.text}) + "\n")
    with (directory / "questions.jsonl").open("w", encoding="utf-8") as file:
        for question in encyclopedia.questions:
            record = {
                "id": question.id,
                "question": question.text,
                "answers": list(question.answers),
                "gold": list(question.gold),
                "split": question.split,
            }
            file.write(json.dumps(record) + "\n")


def _places(rng: random.Random) -> list[str]:
    """Name the places of a world."""
    names = [start + end for start in words.PLACE_STARTS.split() for end in words.PLACE_ENDS.split()]
    return sorted(rng.sample(names, NUM_PLACES))


def _names(rng: random.Random, world: World) -> Iterator[tuple[str, str]]:
    """Yield pronouns and full names without end; no full name comes twice, and no surname is in two worlds."""
    surnames = [
        start + middle + end
        for start in words.SURNAME_STARTS.split()
        for middle in words.SURNAME_MIDDLES.split()
        for end in words.SURNAME_ENDS.split()
    ]
    surnames = [name for name in surnames if (zlib.crc32(name.encode()) % DEMO_SHARE == 0) == (world == "demo")]
    taken: set[str] = set()
    while True:
        pronoun = rng.choice(("she", "he"))
        first_name = rng.choice(words.FIRST_NAME_STARTS.split()) + rng.choice(words.FIRST_NAME_ENDS[pronoun].split())
        name = f"{first_name} {rng.choice(surnames)}"
        if name not in taken:
            taken.add(name)
            yield pronoun, name


def _people(rng: random.Random, *, places: list[str], splits: list[str], world: World) -> tuple[Person, ...]:
    """Invent one person for each split label, with facts that hold of nobody else's name."""
    names = _names(rng, world)
    people: list[Person] = []
    for split in splits:
        pronoun, name = next(names)
        facts: list[Fact] = []
        for relation in rng.sample(sorted(words.FACTS), NUM_FACTS):
            lists = words.ANSWERS[relation]
            if lists is not None:
                answer = " ".join(rng.choice(choices.split()) for choices in lists)
            elif relation == "birthplace":
                answer = rng.choice(places)
            else:
                answer = next(names)[1]
            facts.append(Fact(relation=relation, answer=answer))
        people.append(Person(name=name, pronoun=pronoun, facts=tuple(facts), split=split))
    return tuple(people)


def _articles(rng: random.Random, person: Person, places: list[str]) -> Iterator[tuple[Fact | None, str]]:
    """Word all passages about a person; no filler sentence comes twice as long as there are enough of them."""
    birthplaces = {fact.answer for fact in person.facts if fact.relation == "birthplace"}
    elsewhere = [place for place in places if place not in birthplaces]
    fillers = rng.sample(words.FILLERS, len(words.FILLERS))
    for fact in (*person.facts, *(None,) * NUM_FILLER_PASSAGES):
        sentences: list[str] = []
        if fact is not None:
            sentence = rng.choice(words.FACTS[fact.relation])
            if rng.random() < 0.5:
                sentence = f"{rng.choice(words.OPENERS)}, {sentence}"
            sentences.append(_fill(rng, sentence, elsewhere, **_mentions(person), answer=fact.answer))
        while sum(len(sentence.split()) for sentence in sentences) < MIN_WORDS:
            if not fillers:
                fillers = rng.sample(words.FILLERS, len(words.FILLERS))
            sentences.append(_fill(rng, fillers.pop(), elsewhere, **_mentions(person)))
        rng.shuffle(sentences)
        yield fact, _shorten(" ".join(sentences), person.name)


def _shorten(text: str, name: str) -> str:
    """Leave a person's full name at its first mention and the surname at later ones."""
    head, full_name, tail = text.partition(name)
    return head + full_name + tail.replace(name, name.split()[-1])


def _place_text(rng: random.Random, place: str, places: list[str]) -> str:
    """Word the passage about a place."""
    elsewhere = [other for other in places if other != place]
    return " ".join(_fill(rng, sentence, elsewhere, title=place) for sentence in rng.sample(words.PLACE_SENTENCES, 4))


def _mentions(person: Person) -> dict[str, str]:
    """Say how a sentence refers to a person."""
    if person.pronoun == "she":
        return {"name": person.name, "he": "she", "his": "her", "him": "her"}
    return {"name": person.name, "he": "he", "his": "his", "him": "him"}


def _fill(rng: random.Random, sentence: str, places: list[str], **slots: str) -> str:
    """Fill the slots of a sentence and make it one: a capital first, a full stop last."""
    drawn = {slot: rng.choice(choices) for slot, choices in words.SLOTS.items()}
    text = sentence.format(**drawn, place=rng.choice(places), year=rng.randint(1604, 1899), **slots)
    return f"{text[0].upper()}{text[1:]}."
