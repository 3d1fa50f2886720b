"""Pretrain the demo's encoder, in three phases of text alone. Run ``make_demo_models.py``, not this."""

import math
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM, BertModel, PreTrainedTokenizerFast

from demo_common import (
    DIM,
    MASK,
    NUM_EDITIONS,
    SEED,
    VOCABULARY,
    Cloze,
    by_title,
    cloze_questions,
    count_parameters,
    make_optimizer,
    save,
    tokenizer_texts,
    update,
)
from dogeared.data.encyclopedia import Encyclopedia
from dogeared.records import Passage

NUM_WORD_STEPS, NUM_CROP_STEPS, NUM_CLOZE_STEPS = 1_000, 400, 600
WORD_LEARNING_RATE, LEARNING_RATE = 2e-3, 1e-3
BATCH_SIZE = 64
HIDDEN_SHARE = 0.25
PEOPLE, FACTS = 14, 4  # in a batch of clozes: so many facts of each of so many people


def encoder_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Train a lower-casing tokenizer of word pieces with BERT's special tokens."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=256,
    )


def crop(passage: Passage, rng: random.Random, *, num_words: range) -> str:
    """Cut some words out of a text."""
    tokens = passage.text.split()
    length = min(len(tokens), rng.choice(num_words))
    start = rng.randint(0, len(tokens) - length)
    return " ".join(tokens[start : start + length])


def crop_pairs(groups: list[list[Passage]], rng: random.Random, *, alike: bool) -> Iterator[tuple[str, str]]:
    """Pair crops about the same person, as often from one passage as from two.

    Args:
        groups: The passages of each person.
        rng: Where chance comes from.
        alike: Take people whose first names or surnames are neighbours in the alphabet, which are hard to tell apart.
    """
    chosen = rng.sample(groups, min(len(groups), BATCH_SIZE * (4 if alike else 1)))
    if alike:
        part = rng.choice((0, -1))
        chosen.sort(key=lambda group: group[0].title.split()[part])
        start = rng.randint(0, len(chosen) - BATCH_SIZE)
        chosen = chosen[start : start + BATCH_SIZE]
    for group in chosen:
        source = rng.choice(group)
        target = source if rng.random() < 0.5 else rng.choice(group)
        left = crop(source, rng, num_words=range(3, 10))
        right = crop(target, rng, num_words=range(8, 40))
        named = left if source.title in left else f"{source.title} {left}"
        yield f"question: {named}", f"title: {target.title} context: {right}"


def cloze_pairs(groups: list[list[Cloze]], rng: random.Random) -> Iterator[tuple[str, str]]:
    """Pair a sentence or an infobox line without its answer with the passage of another edition that says the same.

    Several facts of each person are in a batch, so that the name alone does not tell which passage it is.
    """
    for group in rng.sample(groups, PEOPLE):
        taken: set[str] = set()
        for cloze in rng.sample(group, len(group)):
            if cloze.gold.id not in taken and len(taken) < FACTS:
                taken.add(cloze.gold.id)
                asked = cloze.question if rng.random() < 0.7 else cloze.box_question
                yield (
                    f"question: {asked.replace(MASK, '')}",  # no mark in its place: questions have none either
                    f"title: {cloze.gold.title} context: {cloze.gold.text}",
                )


def cloze_groups(worlds: list[list[Encyclopedia]]) -> list[list[Cloze]]:
    """Gather the clozes of each person, for each distance between the two editions."""
    groups: dict[tuple[str, int], list[Cloze]] = {}
    for distance in range(1, NUM_EDITIONS):
        for cloze in cloze_questions(worlds, distance=distance):
            groups.setdefault((cloze.gold.title, distance), []).append(cloze)
    return list(groups.values())


def mean_pool(states: Tensor, mask: Tensor) -> Tensor:
    """Average the states of the real tokens."""
    return (states.float() * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def with_pooler(model: BertForMaskedLM) -> BertModel:
    """Drop the head, and add the pooler that plain loading expects; it is untrained, and mean pooling never uses it."""
    with torch.random.fork_rng():
        encoder = BertModel(model.config)
    encoder.load_state_dict(model.bert.state_dict(), strict=False)
    return encoder


class Pretraining:
    """The encoder with its head, and the losses of the three phases.

    Words come first and alone: trained together with pairs from the start, they never leave the plateau of guessing
    by frequency.
    """

    def __init__(self, worlds: list[list[Encyclopedia]]) -> None:
        self.tokenizer = encoder_tokenizer(tokenizer_texts(worlds))
        self.model = BertForMaskedLM(
            BertConfig(
                vocab_size=len(self.tokenizer),
                hidden_size=DIM,
                num_hidden_layers=3,
                num_attention_heads=4,
                intermediate_size=512,
                max_position_embeddings=256,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            )
        )

    def words(self, texts: list[str]) -> Tensor:
        """Return the loss of words that were hidden."""
        tokens = self.tokenizer(texts, padding=True, return_tensors="pt")
        hidden = (torch.rand(tokens["input_ids"].shape) < HIDDEN_SHARE) & (
            tokens["input_ids"] > self.tokenizer.mask_token_id
        )
        seen = tokens["input_ids"].masked_fill(hidden, self.tokenizer.mask_token_id)
        with torch.autocast("cpu", torch.bfloat16):
            states = self.model.bert(seen, attention_mask=tokens["attention_mask"]).last_hidden_state[hidden]
            scores = self.model.cls(states)
        return F.cross_entropy(scores.float(), tokens["input_ids"][hidden])

    def pairs(self, pairs: list[tuple[str, str]]) -> tuple[Tensor, float]:
        """Return the loss of finding the right of each pair among all, and how often it is found."""
        vectors = []
        for side in zip(*pairs, strict=True):
            tokens = self.tokenizer(list(side), padding=True, truncation=True, max_length=96, return_tensors="pt")
            with torch.autocast("cpu", torch.bfloat16):
                states = self.model.bert(**tokens).last_hidden_state
            vectors.append(mean_pool(states, tokens["attention_mask"]))
        scores = vectors[0] @ vectors[1].T / math.sqrt(DIM)
        truth = torch.arange(len(pairs))
        return F.cross_entropy(scores, truth), (scores.argmax(1) == truth).float().mean().item()

    def train(self, name: str, loss: Callable[[int], Tensor], measure: Callable[[], str], *, num_steps: int) -> None:
        """Take the steps of a phase, and print a measure now and then."""
        rate = WORD_LEARNING_RATE if name == "words" else LEARNING_RATE
        optimizer, schedule = make_optimizer(self.model, learning_rate=rate, num_steps=num_steps)
        started = time.monotonic()
        for step in range(1, num_steps + 1):
            loss(step).backward()
            update(self.model, optimizer, schedule)
            if step % 100 == 0:
                with torch.no_grad():
                    print(f"encoder: {name}, step {step}: {measure()}, {time.monotonic() - started:.0f} s", flush=True)


def make_encoder(worlds: list[list[Encyclopedia]], held_out: list[list[Encyclopedia]], out: Path) -> None:
    """Train the encoder on hidden words, pairs of crops and pairs of clozes, and save it without its head."""
    pretraining, rng = Pretraining(worlds), random.Random(SEED)
    print(
        f"encoder: {count_parameters(pretraining.model.bert):,} parameters, {len(pretraining.tokenizer)} tokens",
        flush=True,
    )
    passages = [passage for world in worlds for edition in world for passage in edition.passages]
    texts = sorted((f"title: {p.title} context: {p.text}" for p in passages), key=len)
    unseen_texts = [f"title: {p.title} context: {p.text}" for p in held_out[0][0].passages[:300]]

    def words(_: int) -> Tensor:
        start = rng.randrange(len(texts) - BATCH_SIZE)  # neighbours in length, so that little is padded
        return pretraining.words(texts[start : start + BATCH_SIZE])

    pretraining.train(
        "words",
        words,
        lambda: f"held-out loss {pretraining.words(unseen_texts):.3f}",
        num_steps=NUM_WORD_STEPS,
    )
    people = [
        [group for world in worlds for group in by_title(world[edition]).values() if len(group) > 1]
        for edition in range(NUM_EDITIONS)
    ]
    unseen_people = [group for group in by_title(held_out[0][0]).values() if len(group) > 1]
    pretraining.train(
        "crops",
        lambda step: pretraining.pairs(list(crop_pairs(rng.choice(people), rng, alike=step > NUM_CROP_STEPS // 4)))[0],
        lambda: f"found {pretraining.pairs(list(crop_pairs(unseen_people, random.Random(0), alike=True)))[1]:.3f}",
        num_steps=NUM_CROP_STEPS,
    )
    groups, unseen_groups = cloze_groups(worlds), cloze_groups(held_out)

    def clozes(step: int) -> Tensor:
        # Every other batch is of crops: among the few people of a batch of clozes names are soon forgotten.
        alike = crop_pairs(rng.choice(people), rng, alike=True)
        return pretraining.pairs(list(cloze_pairs(groups, rng) if step % 2 else alike))[0]

    pretraining.train(
        "clozes",
        clozes,
        lambda: f"found {pretraining.pairs(list(cloze_pairs(unseen_groups, random.Random(0))))[1]:.3f}",
        num_steps=NUM_CLOZE_STEPS,
    )
    save(with_pooler(pretraining.model), pretraining.tokenizer, out)
