"""Text for the demo's models, and what both trainings share. Run ``make_demo_models.py``, not this."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from dogeared.data import encyclopedia_words as words
from dogeared.data.encyclopedia import Encyclopedia, generate
from dogeared.records import Passage

SEED = 1
NUM_WORLDS = 12
NUM_PEOPLE = 250  # in each world; one more world is held out, to measure both models
NUM_EDITIONS = 4
VOCABULARY = 2_400
MASK = "<extra_id_0>"  # T5's name for a span that was taken out
DIM = 128


@dataclass(frozen=True, kw_only=True)
class Cloze:
    """A sentence that lost its answer, and the passages that may hold it.

    Attributes:
        question: The sentence with ``MASK`` in it, after the name it is about.
        box_question: The same as the line of an infobox: the name, what is told, and ``MASK``.
        asked: The same as a question of the encyclopedia.
        answer: What stood there.
        relation: What is asked for.
        is_name: Whether the answer is a name, which can only be copied, and not a word of a short list.
        gold: A passage of another edition that states it.
        others: The other passages about the same person, of that edition, each with the answer that it holds.
    """

    question: str
    box_question: str
    asked: str
    answer: str
    relation: str
    is_name: bool
    gold: Passage
    others: tuple[tuple[Passage, str], ...]


def make_worlds(seeds: range, *, num_people: int) -> list[list[Encyclopedia]]:
    """Generate several worlds, each with its own people and places and in several wordings."""
    return [
        [
            generate(
                num_people=num_people,
                num_dev_people=0,
                num_test_people=0,
                seed=seed,
                world="pretraining",
                edition=edition,
            )
            for edition in range(NUM_EDITIONS)
        ]
        for seed in seeds
    ]


def by_title(encyclopedia: Encyclopedia) -> dict[str, list[Passage]]:
    """Group passages by what they are about."""
    groups: dict[str, list[Passage]] = {}
    for passage in encyclopedia.passages:
        groups.setdefault(passage.title, []).append(passage)
    return groups


def cloze_questions(worlds: list[list[Encyclopedia]], *, distance: int = 1) -> list[Cloze]:
    """Take each fact out of a sentence of each edition, and find it in the edition ``distance`` places on."""
    return [
        cloze
        for world in worlds
        for index, source in enumerate(world)
        for cloze in _cloze_questions(source, world[(index + distance) % len(world)])
    ]


def _cloze_questions(source: Encyclopedia, target: Encyclopedia) -> Iterator[Cloze]:
    asked = {passage.id: passage for passage in source.passages}
    read = {passage.id: passage for passage in target.passages}
    groups = by_title(target)
    answers = {question.gold[0]: question.answers[0] for question in target.questions}
    facts = [fact for person in source.people for fact in person.facts]
    for fact, here, there in zip(facts, source.questions, target.questions, strict=True):
        passage, gold = asked[here.gold[0]], read[there.gold[0]]
        sentence = next(part for part in passage.text.split(". ") if fact.answer in part)
        yield Cloze(
            question=f"{passage.title}: {sentence.rstrip('.').replace(fact.answer, MASK)}.",
            box_question=f"{passage.title}. {fact.relation.capitalize()}: {MASK}.",
            asked=here.text,
            answer=fact.answer,
            relation=fact.relation,
            is_name=words.ANSWERS[fact.relation] is None,
            gold=gold,
            others=tuple((other, answers.get(other.id, "")) for other in groups[gold.title] if other.id != gold.id),
        )


def tokenizer_texts(worlds: list[list[Encyclopedia]]) -> list[str]:
    """Collect the words that both tokenizers must know, the templates' own among them."""
    texts: list[str] = []
    for world in worlds:
        texts += [f"title: {passage.title} context: {passage.text}" for passage in world[0].passages]
        texts += [f"question: {question.text}" for question in world[0].questions]
    return texts


def make_optimizer(
    model: nn.Module, *, learning_rate: float, num_steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW with a short warm-up and a fall to a twentieth along a cosine."""

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / 100)
        return warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / num_steps))))

    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def update(model: nn.Module, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler) -> None:
    """Take one step along the gradients and clear them."""
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
    optimizer.zero_grad(set_to_none=True)


def count_parameters(model: nn.Module) -> int:
    """Count the numbers a model has learned."""
    return sum(parameter.numel() for parameter in model.parameters())


def save(model: nn.Module, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write a model in half precision with its tokenizer; loading it as float32 gives the rounded weights."""
    places: set[int] = set()
    half: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in places:  # tied weights are one tensor under several names: the first is enough
            places.add(tensor.data_ptr())
            half[name] = tensor.to(torch.float16)
    model.save_pretrained(out, state_dict=half)  # type: ignore[operator]
    tokenizer.save_pretrained(out)
