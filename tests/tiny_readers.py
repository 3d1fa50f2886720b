"""Tiny readers of every kind with random weights, and things to read; what the tests of the method share.

The kinds are those of the library that a reader can be: T5, its version 1.1 (gated, head not tied), mT5, BART, and an
encoder-decoder warm-started from a BERT.
"""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    MT5Config,
    MT5ForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from dogeared.data.corpus import build_corpus
from dogeared.data.readings import Readings
from dogeared.reader.fid import FusionInDecoder, ReaderSettings
from dogeared.records import Passage, Question, Ranking

__all__ = [
    "KINDS",
    "PASSAGES",
    "QUESTIONS",
    "passage",
    "save_cross_encoder",
    "save_tiny",
    "tiny_reader",
    "tiny_readings",
    "tiny_tokenizer",
]

KINDS = ("t5", "t5_v1_1", "mt5", "bart", "bert2bert")

QUESTIONS = ["who wrote the red book ?", "where lies the old tower ?", "what river lies in Ghent ?"]


def passage(number: int, text: str, *, title: str = "the book") -> Passage:
    return Passage(id=str(number), title=title, text=text)


PASSAGES = [
    passage(0, "the red book . Anna wrote the red book in Paris"),
    passage(1, "Cora sang", title="song"),
    passage(2, "the old tower lies in Rome . the tower is tall . Emil built the tower by the river in the north"),
    passage(3, "the long river lies by Ghent", title="river"),
    passage(4, "Bert painted a blue river in Oslo . Dora lived there"),
]

WORDS = sorted({"question", "title", "context", ":"}.union(*(t.split() for p in PASSAGES for t in (p.title, p.text))))
WORDS += sorted(set(" ".join(QUESTIONS).split()) - set(WORDS))


def tiny_tokenizer(kind: str) -> PreTrainedTokenizerBase:
    """One token a word, with the special tokens of the kind where the kind puts them."""
    roles, around = {
        "t5": ({"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}, "$A </s>"),
        "bart": (
            {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
            "<s> $A </s>",
        ),
        "bert": (
            {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"},
            "[CLS] $A [SEP]",
        ),
    }[_tokenizer_kind(kind)]
    special = list(roles.values())
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate([*special, *WORDS])}, unk_token=roles["unk_token"])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=around, special_tokens=[(token, special.index(token)) for token in around.split() if token in special]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **roles)


def save_tiny(kind: str, folder: Path, *, seed: int = 0) -> Path:
    """Write a random model of the kind with its tokenizer, as someone else would have; an encoder for bert2bert."""
    tokenizer = tiny_tokenizer(kind)
    torch.manual_seed(seed)
    _random_model(kind, len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_cross_encoder(folder: Path, *, num_labels: int = 1) -> str:
    """Write a random cross-encoder with its tokenizer; return its name."""
    tokenizer = tiny_tokenizer("bert")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(tokenizer), **sizes, initializer_range=0.4, num_labels=num_labels)
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def tiny_reader(kind: str, folder: Path, *, seed: int = 0, **settings: int) -> FusionInDecoder:
    """Save a random model of the kind in ``folder``, load it the way any reader is loaded, in evaluation mode."""
    saved = save_tiny(kind, folder / kind, seed=seed)
    torch.manual_seed(seed)  # a warm start draws its cross-attention
    lengths = {"max_length_tokens": 64, "max_answer_tokens": 6} | settings
    return FusionInDecoder.load(ReaderSettings(model=str(saved), **lengths)).eval()


def tiny_readings(folder: Path, *, num_passages: int = 4) -> Readings:
    """Seven questions without answers; they have 0, 1, 2, ... passages to read, and the last has no ranking at all."""
    questions = [Question(id=f"q{i}", text=QUESTIONS[i % len(QUESTIONS)]) for i in range(7)]
    rankings = {}
    for i, question in enumerate(questions[:-1]):
        found = [PASSAGES[(2 * i + place) % len(PASSAGES)] for place in range(min(i, len(PASSAGES)))]
        rankings[question.id] = Ranking(
            question_id=question.id,
            passage_ids=tuple(p.id for p in found),
            scores=tuple(float(-place) for place in range(len(found))),
        )
    corpus = build_corpus(reversed(PASSAGES), folder / "corpus")
    return Readings(questions=questions, rankings=rankings, corpus=corpus, num_passages=num_passages)


def _tokenizer_kind(kind: str) -> str:
    return {"bart": "bart", "bert2bert": "bert", "bert": "bert"}.get(kind, "t5")


def _random_model(kind: str, vocab_size: int) -> PreTrainedModel:
    of_t5 = {"vocab_size": vocab_size, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    if kind == "t5":
        model = T5ForConditionalGeneration(T5Config(**of_t5, decoder_start_token_id=0))
        # With a tied head it would repeat its start token for ever, and each step would look like the first.
        model.shared.weight.data[0] *= 0.05
        return model
    if kind == "t5_v1_1":
        model = T5ForConditionalGeneration(
            T5Config(**of_t5, feed_forward_proj="gated-gelu", tie_word_embeddings=False, decoder_start_token_id=0)
        )
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight) * 0.3)
        return model
    if kind == "mt5":
        return MT5ForConditionalGeneration(MT5Config(**of_t5))
    if kind == "bart":
        sizes = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "max_position_embeddings": 128}
        heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32}
        special = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
        config = BartConfig(vocab_size=vocab_size, **sizes, **heads, **special, decoder_ffn_dim=32, init_std=0.2)
        return BartForConditionalGeneration(config)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    return BertModel(BertConfig(vocab_size=vocab_size, **sizes, initializer_range=0.2))
