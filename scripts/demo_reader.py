"""Pretrain the demo's reader. Run ``make_demo_models.py``, not this."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from demo_common import (
    DIM,
    MASK,
    SEED,
    VOCABULARY,
    Cloze,
    cloze_questions,
    count_parameters,
    make_optimizer,
    save,
    tokenizer_texts,
    update,
)
from dogeared.batching import PASSAGE_TEMPLATE, ReaderBatch
from dogeared.data.encyclopedia import Encyclopedia
from dogeared.reader.fid import FusionInDecoder, ReaderSettings
from dogeared.records import Passage

MAX_WORDS_WITHOUT_NAMES = 2  # texts as short as this are read without the person's name, which would be copied instead


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of the reader's training.

    Attributes:
        num_passages: How many are fused for a question; the steps take these in turn. None: nothing is read.
        num_steps: How many updates it takes.
        learning_rate: The highest of its course.
        share_of_names: How many questions are drawn from those whose answer can only be copied.
        num_words: How many words on each side of an answer are read, from the first step to the last.
    """

    num_passages: tuple[int, ...]
    num_steps: int
    learning_rate: float
    share_of_names: float = 0.0
    num_words: range = range(1)


PHASES = (
    # Who is meant: no reading yet.
    Phase(num_passages=(), num_steps=500, learning_rate=1e-3),
    # Copying and choosing at once, from few words: a decoder that first learns to copy alone never looks at questions.
    Phase(num_passages=(2,), num_steps=700, learning_rate=2e-3, share_of_names=0.4, num_words=range(12)),
    Phase(num_passages=(1, 2), num_steps=500, learning_rate=2e-3, share_of_names=0.5, num_words=range(3, 20)),
    Phase(num_passages=(2, 5), num_steps=600, learning_rate=1.5e-3, share_of_names=0.2, num_words=range(14, 36)),
    Phase(num_passages=(4, 8, 12), num_steps=1800, learning_rate=1.5e-3, share_of_names=0.2, num_words=range(36, 37)),
)
SAME_RELATION = 0.5  # of the strangers read, how many tell the same as the passage that answers
NUM_PAIRS = 96  # questions of an update times their passages
NUM_MEANT = 48  # pairs of an update for telling who is meant
SHARES_OF_FORMS = (0.6, 0.3, 0.1)  # questions, lines of an infobox, sentences


def reader_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Train a tokenizer with T5's special tokens: pad 0, end 1, unknown 2, and the end token appended."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>", MASK]
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=[MASK],
        model_max_length=512,
    )


def grouped(clozes: list[Cloze], key: Callable[[Cloze], str]) -> dict[str, list[Cloze]]:
    """Group clozes by something they share."""
    groups: dict[str, list[Cloze]] = {}
    for cloze in clozes:
        groups.setdefault(key(cloze), []).append(cloze)
    return groups


def window(text: str, span: str, num_words: int) -> str:
    """Keep a span and so many words on each side of it."""
    left, _, right = text.partition(span)
    return " ".join([*left.split()[max(0, len(left.split()) - num_words) :], span, *right.split()[:num_words]])


def reader_passages(
    cloze: Cloze, strangers: dict[str, list[Cloze]], num_passages: int, num_words: int, rng: random.Random
) -> list[Passage]:
    """Put the passage that answers among others, in any order, all cut to the words around what they tell.

    Some are about strangers, half of those tell the same of them. A decoder learns to copy from few words.
    """
    alone = num_words <= MAX_WORDS_WITHOUT_NAMES
    num_near = num_passages - 1 if alone else rng.randint(num_passages // 3, num_passages - 1)
    found = [(cloze.gold, cloze.answer), *rng.sample(cloze.others, min(num_near, len(cloze.others)))]
    while len(found) < num_passages:
        relation = cloze.relation if rng.random() < SAME_RELATION else rng.choice(sorted(strangers))
        stranger = rng.choice(strangers[relation])
        found.append((stranger.gold, stranger.answer))
    rng.shuffle(found)
    return [
        Passage(
            id=passage.id,
            title="" if alone else passage.title,
            text=window(passage.text, answer or passage.text.split()[0], num_words),
        )
        for passage, answer in found
    ]


def reader_question(cloze: Cloze, num_words: int, rng: random.Random) -> str:
    """Ask by a question, the line of an infobox or a sentence; at first by the line alone, without the name."""
    if num_words <= MAX_WORDS_WITHOUT_NAMES:
        return cloze.box_question.split(". ")[1]
    return rng.choices((cloze.asked, cloze.box_question, cloze.question), weights=SHARES_OF_FORMS)[0]


def who_is_meant(
    reader: FusionInDecoder, judge: nn.Linear, clozes: list[Cloze], by_name: dict[str, list[Cloze]], rng: random.Random
) -> tuple[Tensor, float]:
    """Ask the encoder whether a passage is about the person in the question, as BERT is asked for the next sentence.

    Half of the passages are; of the others, some are about people of the same first name.

    Returns:
        The loss, and the share of right judgments.
    """
    texts: list[str] = []
    about: list[float] = []
    for cloze in clozes:
        other = cloze
        if rng.random() < 0.5:
            other = rng.choice(by_name[rng.choice((first_name(cloze), rng.choice(sorted(by_name))))])
        text = window(other.gold.text, other.answer, rng.choice((2, 4, 8, 16, 36)))
        texts.append(
            PASSAGE_TEMPLATE.format(
                question=rng.choice((cloze.asked, cloze.box_question)), title=other.gold.title, text=text
            )
        )
        about.append(float(other.gold.title == cloze.gold.title))
    tokens = reader.tokenizer(texts, padding=True, return_tensors="pt")
    mask = tokens["attention_mask"][..., None]
    states = reader.model.get_encoder()(**tokens).last_hidden_state
    scores, truth = judge((states * mask).sum(1) / mask.sum(1)).squeeze(1), torch.tensor(about)
    return F.binary_cross_entropy_with_logits(scores, truth), ((scores > 0) == (truth > 0)).float().mean().item()


def first_name(cloze: Cloze) -> str:
    """Return the first name of the person that a cloze is about."""
    return cloze.gold.title.split()[0]


def measure_reader(reader: FusionInDecoder, clozes: list[Cloze], num_passages: int) -> float:
    """Return the share of questions that the reader answers exactly."""
    rng = random.Random(0)
    strangers = grouped(clozes, lambda cloze: cloze.relation)
    right = 0
    for start in range(0, len(clozes), 100):
        part = clozes[start : start + 100]
        passages = [reader_passages(cloze, strangers, num_passages, 99, rng) for cloze in part]
        answers = reader.generate(reader.batch([cloze.asked for cloze in part], passages))
        right += sum(given == cloze.answer for given, cloze in zip(answers, part, strict=True))
    return right / len(clozes)


@torch.no_grad()
def start_heads(model: T5ForConditionalGeneration) -> None:
    """Start three heads as the word before, the word after, and the same word elsewhere.

    Copying a name needs the first, telling people apart the last, and finding them takes a fresh model very long.
    """
    attention = model.encoder.block[0].layer[0].SelfAttention
    bias, after = attention.relative_attention_bias.weight, model.config.relative_attention_num_buckets // 2
    bias[1, 0] = bias[after + 1, 1] = 4.0
    bias[:5, 2] = bias[after : after + 5, 2] = -4.0
    width = model.config.d_kv
    same = nn.init.orthogonal_(torch.empty(width, DIM)) * 0.4
    attention.q.weight[2 * width : 3 * width] = attention.k.weight[2 * width : 3 * width] = same


def new_reader(worlds: list[list[Encyclopedia]], out: Path) -> None:
    """Save a reader that has learned nothing yet."""
    tokenizer = reader_tokenizer(tokenizer_texts(worlds))
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=DIM,
        d_kv=32,
        d_ff=256,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    model = T5ForConditionalGeneration(config)
    start_heads(model)
    print(f"reader: {count_parameters(model):,} parameters, {len(tokenizer)} tokens", flush=True)
    save(model, tokenizer, out)


def make_reader(worlds: list[list[Encyclopedia]], held_out: list[list[Encyclopedia]], out: Path, start: int) -> None:
    """Train the reader phase by phase; each begins from the folder that the one before has saved."""
    if start == 0:
        new_reader(worlds, out)
    clozes, unseen = cloze_questions(worlds), cloze_questions(held_out)
    unseen_sample, unseen_names = random.Random(SEED).sample(unseen, 100), grouped(unseen, first_name)
    by_name, judge, started = grouped(clozes, first_name), nn.Linear(DIM, 1), time.monotonic()
    for number, phase in enumerate(PHASES[start:], start):
        rng = random.Random(f"{SEED} {number}")
        reader = FusionInDecoder.load(ReaderSettings(model=str(out), max_length_tokens=128, max_answer_tokens=12))
        draw = drawer(worlds, clozes, phase, rng)
        trained = nn.ModuleList([reader, judge])
        optimizer, schedule = make_optimizer(trained, learning_rate=phase.learning_rate, num_steps=phase.num_steps)
        total = 0.0
        for step in range(1, phase.num_steps + 1):
            loss, _ = who_is_meant(reader, judge, rng.sample(clozes, NUM_MEANT), by_name, rng)
            if phase.num_passages:
                reading = reader(draw(reader, step))
                total += reading.item()
                loss = loss + reading
            loss.backward()
            update(trained, optimizer, schedule)
            if step % 50 == 0:
                with torch.no_grad():
                    _, meant = who_is_meant(reader, judge, unseen_sample, unseen_names, random.Random(0))
                exact = measure_reader(reader, unseen_sample, max(phase.num_passages, default=1))
                print(
                    f"reader: phase {number}, step {step}: loss {total / 50:.3f}, held-out EM {exact:.3f}, "
                    f"right person {meant:.3f}, {time.monotonic() - started:.0f} s",
                    flush=True,
                )
                total = 0.0
                save(reader.model, reader.tokenizer, out)


def drawer(
    worlds: list[list[Encyclopedia]], clozes: list[Cloze], phase: Phase, rng: random.Random
) -> Callable[[FusionInDecoder, int], ReaderBatch]:
    """Return what draws the batch of each step of a phase."""
    to_copy = [cloze for cloze in cloze_questions(worlds, distance=0) + clozes if cloze.is_name]
    strangers = grouped(clozes, lambda cloze: cloze.relation)

    def draw(reader: FusionInDecoder, step: int) -> ReaderBatch:
        num_passages = phase.num_passages[step % len(phase.num_passages)]
        num_questions = NUM_PAIRS // num_passages
        num_names = int(num_questions * phase.share_of_names)
        chosen = rng.sample(to_copy, num_names) + rng.sample(clozes, num_questions - num_names)
        num_words = phase.num_words.start + len(phase.num_words) * step // phase.num_steps
        passages = [reader_passages(cloze, strangers, num_passages, num_words, rng) for cloze in chosen]
        questions = [reader_question(cloze, num_words, rng) for cloze in chosen]
        return reader.batch(questions, passages, answers=[cloze.answer for cloze in chosen])

    return draw
