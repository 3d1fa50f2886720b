"""Tokens that are put together are those of the whole text, whatever the tokenizer, and passages are tokenized once."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from dogeared import pairs, token_memory
from dogeared.pairs import PASSAGE_TEMPLATE, QUESTION_TEMPLATE, pair_tokens
from dogeared.records import Passage
from tiny_readers import PASSAGES, QUESTIONS, tiny_tokenizer

TEXTS = [
    "question: who wrote the red book? title: Rivers context: The river runs, slowly, to the sea; it's 1,200 km long.",
    "question: wann wurde sie gegründet title: 東京 context: 東京は日本の首都です。 naïve façade — 'quoted'  text",
]


def special(*names: str) -> dict[str, str]:
    return dict(zip(("eos_token", "pad_token", "unk_token"), names, strict=True))


def byte_level() -> PreTrainedTokenizerFast:
    """As BART and RoBERTa have it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>", "<pad>", "<unk>"], initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special("</s>", "<pad>", "<unk>"))


def unigram() -> PreTrainedTokenizerFast:
    """As T5 has it."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>")
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special("</s>", "<pad>", "<unk>"))


def word_piece() -> PreTrainedTokenizerFast:
    """As BERT has it."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special("[SEP]", "[PAD]", "[UNK]"))


def joining() -> PreTrainedTokenizerFast:
    """One that joins what a space parts: "? title:" is one token."""
    tokenizer = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<pad>", "</s>", "<unk>"])
    tokenizer.train_from_iterator(
        [f"question: {a}? title: {b} context: {a}{b}" for a in "abcde" for b in "vwxyz"] * 20, trainer
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special("</s>", "<pad>", "<unk>"))


KINDS = {one.__name__: one for one in (byte_level, unigram, word_piece, joining)}
MADE: dict[str, PreTrainedTokenizerFast] = {}


def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    if kind not in MADE:
        MADE[kind] = KINDS[kind]()
    return MADE[kind]


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pairs, "_memories", {})


def whole(tokenizer, questions, passages, most) -> list[list[int]]:
    texts = []
    for question, found in zip(questions, passages, strict=True):
        texts += [PASSAGE_TEMPLATE.format(question=question, title=p.title, text=p.text) for p in found]
        texts += [] if found else [QUESTION_TEMPLATE.format(question=question)]
    return tokenizer(texts, truncation=True, max_length=most)["input_ids"]


def lists(rows) -> list[list[int]]:
    return [list(map(int, row)) for row in rows]


def calls_of(tokenizer, monkeypatch) -> list[list[str]]:
    """What the tokenizer is asked from now on."""
    asked: list[list[str]] = []
    ask: Callable[..., object] = type(tokenizer).__call__

    def asking(self, texts, **options):
        asked.append(list(texts) if not isinstance(texts, str) else [texts])
        return ask(self, texts, **options)

    monkeypatch.setattr(type(tokenizer), "__call__", asking)
    return asked


@pytest.mark.parametrize("kind", [*KINDS])
@pytest.mark.parametrize("most", [8, 20, 200])
def test_they_are_those_of_the_whole_text(kind, most):
    tokenizer = tokenizer_of(kind)
    questions = ["who wrote it?", "何年 に", "it's 5 o'clock", "a", "who wrote " * 30 + "it"]
    found = [PASSAGES[:3], PASSAGES[1:4], [], PASSAGES[:1], PASSAGES[2:]]
    for _ in range(3):  # nothing known, some known, all known
        rows = pair_tokens(tokenizer, questions, found, max_length_tokens=most)
        assert lists(rows) == whole(tokenizer, questions, found, most)
        found = [PASSAGES, PASSAGES[:1], PASSAGES[1:], [], PASSAGES[:2]]


words = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["</s>", "[SEP]", "<pad>", "  ", "?", "it's", "\u200d"]
)
texts = st.lists(words, min_size=1, max_size=5).map(" ".join)


@pytest.mark.parametrize("kind", ["byte_level", "unigram", "word_piece"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(questions=st.lists(texts, min_size=1, max_size=3), titles=st.lists(texts, min_size=2, max_size=3))
def test_they_are_those_of_the_whole_text_whatever_it_is(kind, questions, titles):
    tokenizer = tokenizer_of(kind)
    passages = [Passage(id=str(n), title=title, text=titles[n - 1]) for n, title in enumerate(titles)]
    for asked in (questions, ["plain"], questions[::-1]):
        found = [passages] * len(asked)
        rows = pair_tokens(tokenizer, asked, found, max_length_tokens=24)
        assert lists(rows) == whole(tokenizer, asked, found, 24)


def test_a_passage_is_tokenized_once_also_for_the_reader_of_another_round(monkeypatch):
    monkeypatch.setattr(pairs, "_NUM_CHECKED", 0)
    first, second = (tiny_tokenizer("t5") for _ in range(2))
    asked = calls_of(first, monkeypatch)
    pair_tokens(first, QUESTIONS[:2], [PASSAGES[:2], PASSAGES[1:3]], max_length_tokens=50)
    known = [text for call in asked for text in call if "context:" in text]
    assert len(known) == 3, "three passages, one of them with both questions"
    asked.clear()
    rows = pair_tokens(second, QUESTIONS[:2], [PASSAGES[1:3], PASSAGES[:1]], max_length_tokens=50)
    assert not [text for call in asked for text in call if "context:" in text]
    assert lists(rows) == whole(second, QUESTIONS[:2], [PASSAGES[1:3], PASSAGES[:1]], 50)


def test_lengths_and_tokenizers_are_not_mistaken_for_each_other():
    for kind in ("t5", "bart", "bert"):
        for most in (6, 9, 50):
            tokenizer = tiny_tokenizer(kind)
            rows = pair_tokens(tokenizer, QUESTIONS[:1], [PASSAGES], max_length_tokens=most)
            assert lists(rows) == whole(tokenizer, QUESTIONS[:1], [PASSAGES], most)


def test_the_first_pairs_are_checked_and_no_others(monkeypatch):
    tokenizer = tiny_tokenizer("t5")
    monkeypatch.setattr(pairs, "_NUM_CHECKED", 3)
    pair_tokens(tokenizer, QUESTIONS[:1], [PASSAGES], max_length_tokens=50)
    asked = calls_of(tokenizer, monkeypatch)
    for question, expected in zip(QUESTIONS[1:3], (3, 0), strict=True):
        pair_tokens(tokenizer, [question], [PASSAGES], max_length_tokens=50)
        assert len([text for call in asked for text in call if "context:" in text]) == expected
        asked.clear()


def test_one_that_joins_what_a_space_parts_is_found_out(caplog):
    tokenizer = tokenizer_of("joining")
    passages = [Passage(id=name, title=name, text=name * 2) for name in "vwxyz"]
    with caplog.at_level("INFO", logger="dogeared"):
        for question in ("a?", "b?", "c"):
            rows = pair_tokens(tokenizer, [question], [passages], max_length_tokens=50)
            assert lists(rows) == whole(tokenizer, [question], [passages], 50)
    assert sum("tokenized whole" in record.message for record in caplog.records) == 1
    assert not next(iter(pairs._memories.values())).fits


def test_one_that_is_found_out_late_is_used_on(monkeypatch):
    tokenizer = tiny_tokenizer("t5")
    pair_tokens(tokenizer, QUESTIONS[:1], [PASSAGES], max_length_tokens=50)
    (memory,) = pairs._memories.values()
    memory._give_up(tokenizer)
    monkeypatch.setattr(token_memory, "_MOST_TOKENS", 3)
    rows = pair_tokens(tokenizer, QUESTIONS[:1], [PASSAGES], max_length_tokens=50)
    assert lists(rows) == whole(tokenizer, QUESTIONS[:1], [PASSAGES], 50)
    assert len(memory.passages) == 0


def test_the_oldest_passages_are_forgotten(monkeypatch):
    monkeypatch.setattr(token_memory, "_MOST_TOKENS", 30)
    tokenizer = tiny_tokenizer("t5")
    for place in range(len(PASSAGES)):
        pair_tokens(tokenizer, QUESTIONS[:1], [PASSAGES[place : place + 1]], max_length_tokens=50)
    pair_tokens(tokenizer, QUESTIONS[:1], [[]], max_length_tokens=50)
    (memory,) = pairs._memories.values()
    assert 0 < memory.passages.num_tokens == sum(map(len, memory.passages._rows.values())) <= 30
    assert pairs._key(PASSAGES[-1]) in memory.passages
    assert pairs._key(PASSAGES[0]) not in memory.passages
    for most in range(51, 51 + pairs._MOST_MEMORIES):
        pair_tokens(tokenizer, QUESTIONS[:1], [PASSAGES[:1]], max_length_tokens=most)
    assert [length for _, length in pairs._memories] == [51, 52, 53, 54]


def test_passages_that_are_used_again_are_not_the_oldest(monkeypatch):
    monkeypatch.setattr(token_memory, "_MOST_TOKENS", 30)
    tokenizer = tiny_tokenizer("t5")
    for place in range(1, len(PASSAGES)):
        pair_tokens(tokenizer, QUESTIONS[:1], [[PASSAGES[place], PASSAGES[0]]], max_length_tokens=50)
    pair_tokens(tokenizer, QUESTIONS[:1], [[]], max_length_tokens=50)
    (memory,) = pairs._memories.values()
    assert memory.passages.num_tokens <= 30
    assert pairs._key(PASSAGES[0]) in memory.passages
    assert pairs._key(PASSAGES[2]) not in memory.passages


def test_what_is_returned_may_be_changed():
    tokenizer = tiny_tokenizer("t5")
    expected = lists(pair_tokens(tokenizer, QUESTIONS[:1], [PASSAGES[:2]], max_length_tokens=50))
    for row in pair_tokens(tokenizer, QUESTIONS[:1], [PASSAGES[:2]], max_length_tokens=50):
        assert isinstance(row, np.ndarray)
        row[:] = 0
    assert lists(pair_tokens(tokenizer, QUESTIONS[:1], [PASSAGES[:2]], max_length_tokens=50)) == expected
