"""The reader and the questions that scoring and training are measured on.

T5-small's shape with random weights; 20 passages a question, each of 90 to 180 real tokens with its question and title.
The tokenizer has one token a word, so that lengths are exact; ours and the textbook's both start from text.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from benchmarks.speed.floor import ReaderShape
from dogeared.data.corpus import build_corpus
from dogeared.data.readings import Readings
from dogeared.records import Passage, Question, Ranking

__all__ = ["ANSWER_TOKENS", "Subject", "make_subject"]

ANSWER_TOKENS = 6
_QUESTION_WORDS, _TITLE_WORDS = 10, 3
_AROUND = 4  # "question:", "title:", "context:" and the end token
_SPECIAL = ["<pad>", "</s>", "<unk>", "question:", "title:", "context:"]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A reader's parts and what it reads.

    Attributes:
        config: Of the model; its weights are random, in evaluation mode.
        tokenizer: One token a word.
        readings: The questions, each with its passages.
        lengths: For each question the tokens of each of its pairs.
        padded: To how many tokens the textbook pads a pair.
    """

    config: T5Config
    tokenizer: PreTrainedTokenizerFast
    readings: Readings
    lengths: list[list[int]]
    padded: int
    seed: int

    def model(self) -> T5ForConditionalGeneration:
        """Return the model, the same weights each time, without dropout."""
        torch.manual_seed(self.seed)
        config = T5Config(**{**self.config.to_diff_dict(), "dropout_rate": 0.0})
        return T5ForConditionalGeneration(config).eval()

    @property
    def shape(self) -> ReaderShape:
        """The sizes that operations are counted from."""
        config = self.config
        return ReaderShape(
            dim=config.d_model,
            heads=config.num_heads,
            inner=config.d_kv * config.num_heads,
            feed_forward=config.d_ff,
            layers=config.num_layers,
            decoder_layers=config.num_decoder_layers or config.num_layers,
            vocabulary=config.vocab_size,
        )


def make_subject(
    folder: Path,
    *,
    quick: bool,
    num_questions: int,
    num_passages: int = 20,
    tokens: tuple[int, int] = (90, 180),
    padded: int = 200,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
) -> Subject:
    """Make questions with passages of random words, and say of which shape their reader is.

    Args:
        folder: For the corpus; must not exist.
        quick: A tiny reader instead of T5-small's shape.
        num_questions: How many.
        num_passages: Of each question.
        tokens: The shortest and the longest pair; every length between is as likely.
        padded: To how many tokens the textbook pads a pair.
        seed: Of words, lengths and weights.
        sizes: Of the reader where it is not T5-small's.
    """
    tiny = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 512}
    config = T5Config(**(tiny if quick else sizes or {}), decoder_start_token_id=0)  # the library's defaults: T5-small
    draw = random.Random(seed)
    words = [*_SPECIAL, *(f"w{i}" for i in range(config.vocab_size - len(_SPECIAL)))]

    def some(count: int) -> str:
        return " ".join(draw.choices(words[len(_SPECIAL) :], k=count))

    questions, rankings, passages, lengths = [], {}, [], []
    for number in range(num_questions):
        question = Question(id=f"q{number}", text=some(_QUESTION_WORDS), answers=(some(ANSWER_TOKENS - 1),))
        of_question = [draw.randint(*tokens) for _ in range(num_passages)]
        found = [
            Passage(
                id=f"{number}-{place}",
                title=some(_TITLE_WORDS),
                text=some(length - _AROUND - _QUESTION_WORDS - _TITLE_WORDS),
            )
            for place, length in enumerate(of_question)
        ]
        questions.append(question)
        passages += found
        lengths.append(of_question)
        rankings[question.id] = Ranking(
            question_id=question.id,
            passage_ids=tuple(passage.id for passage in found),
            scores=tuple(float(-place) for place in range(num_passages)),
        )
    return Subject(
        config=config,
        tokenizer=_tokenizer(words),
        readings=Readings(
            questions=questions,
            rankings=rankings,
            corpus=build_corpus(passages, folder),
            num_passages=num_passages,
        ),
        lengths=lengths,
        padded=padded,
        seed=seed,
    )


def _tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )
