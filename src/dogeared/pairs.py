"""How a question is written with a passage for a reader, and the tokens of that; each passage becomes tokens once.

A reader meets the same passages in every epoch, in every step of a round and in the rounds to come, with one question
after the other. Most tokenizers join nothing that a space parts: then the tokens of a pair are those of the question
and those of the passage, one behind the other, and a passage's are remembered as long as the process lives. Whether a
tokenizer is one of those is looked at, not believed: the first pairs that are put together are tokenized whole as well,
and where one differs, that tokenizer's pairs are tokenized whole from then on.

This module knows templates and tokenizers. It does not know tensors.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np
from transformers import PreTrainedTokenizerBase

from dogeared.records import Passage
from dogeared.token_memory import TokenMemory, text_key

__all__ = ["PASSAGE_TEMPLATE", "QUESTION_TEMPLATE", "TokenIds", "pair_tokens"]

logger = logging.getLogger(__name__)

QUESTION_TEMPLATE = "question: {question}"
PASSAGE_TEMPLATE = "question: {question} title: {title} context: {text}"

TokenIds = Sequence[int] | np.ndarray
"""The tokens of one text."""

_MOST_MEMORIES = 4  # of tokenizers, and of lengths to which they cut
_NUM_CHECKED = 64


def pair_tokens(
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str],
    passages: Sequence[Sequence[Passage]],
    *,
    max_length_tokens: int,
) -> list[TokenIds]:
    """Return the tokens of each question with each of its passages, cut at their end, special tokens included.

    Args:
        tokenizer: The reader's.
        questions: As text.
        passages: Of each question; one without any is written alone.
        max_length_tokens: The most tokens of a pair.
    """
    pairs = [
        (number, passage)
        for number, (_, found) in enumerate(zip(questions, passages, strict=True))
        for passage in (found or (None,))
    ]
    with _lock:
        memory = _memory_of(tokenizer, max_length_tokens)
        rows = None if memory is None else memory.rows(tokenizer, questions, pairs)
    if rows is not None:
        return rows
    texts = [_written(questions[number], passage) for number, passage in pairs]
    return tokenizer(texts, truncation=True, max_length=max_length_tokens)["input_ids"]


@dataclass
class _Memory:
    """What is known of one tokenizer that cuts pairs to one length.

    Attributes:
        most: That length.
        after: The tokens that it puts behind a text.
        num_checks: How many more pairs that were put together are tokenized whole as well.
        fits: Whether the tokens of a pair are those of its parts, as far as was seen.
        passages: The tokens of passages, from the title on; no more than a pair can have.
    """

    most: int
    after: np.ndarray
    num_checks: int
    fits: bool = True
    passages: TokenMemory = field(default_factory=TokenMemory)

    def rows(
        self, tokenizer: PreTrainedTokenizerBase, questions: Sequence[str], pairs: Sequence[tuple[int, Passage | None]]
    ) -> list[TokenIds] | None:
        """Return the tokens of pairs; None where they must be tokenized whole."""
        if not self.fits or not all(map(_ends_plainly, questions)):
            return None
        texts = [QUESTION_TEMPLATE.format(question=question) for question in questions]
        alone = [_array(row) for row in tokenizer(texts, truncation=True, max_length=self.most)["input_ids"]]
        if any(len(row) >= self.most for row in alone):  # cut, so that there is no telling where it would have ended
            return None
        begins = [row[: len(row) - len(self.after)] for row in alone]
        keys = [None if passage is None else _key(passage) for _, passage in pairs]
        new = {key: place for place, key in enumerate(keys) if key is not None and key not in self.passages}
        if not self._learn(tokenizer, questions, begins, pairs, new):
            return None
        rows: list[TokenIds] = []
        for (number, _), key in zip(pairs, keys, strict=True):
            rows.append(alone[number] if key is None else self._joined(begins[number], self.passages.take(key)))
        return rows if self._is_confirmed(tokenizer, questions, pairs, rows, set(new.values())) else None

    def _learn(
        self,
        tokenizer: PreTrainedTokenizerBase,
        questions: Sequence[str],
        begins: Sequence[np.ndarray],
        pairs: Sequence[tuple[int, Passage | None]],
        new: dict[bytes, int],
    ) -> bool:
        """Remember new passages as they stand behind a question; tell whether all did stand there."""
        if not new:
            return True
        texts = [_written(questions[number], passage) for number, passage in (pairs[place] for place in new.values())]
        # Twice the length leaves room for any question, and for as much of the passage as a pair can have.
        whole = tokenizer(texts, truncation=True, max_length=2 * self.most)["input_ids"]
        for (key, place), row in zip(new.items(), whole, strict=True):
            begin, tokens = begins[pairs[place][0]], _array(row)
            if not np.array_equal(tokens[: len(begin)], begin):
                return self._give_up(tokenizer)
            self.passages.put(key, tokens[len(begin) : len(tokens) - len(self.after)][: self.most].copy())
        return True

    def _is_confirmed(
        self,
        tokenizer: PreTrainedTokenizerBase,
        questions: Sequence[str],
        pairs: Sequence[tuple[int, Passage | None]],
        rows: Sequence[TokenIds],
        known: set[int],
    ) -> bool:
        """Tokenize some pairs whole, as long as few were, and tell whether they are the same."""
        places = [place for place in range(len(pairs)) if place not in known][: self.num_checks]
        if not places:
            return True
        texts = [_written(questions[number], passage) for number, passage in (pairs[place] for place in places)]
        whole = tokenizer(texts, truncation=True, max_length=self.most)["input_ids"]
        self.num_checks -= len(places)
        if all(np.array_equal(rows[place], row) for place, row in zip(places, whole, strict=True)):
            return True
        return self._give_up(tokenizer)

    def _give_up(self, tokenizer: PreTrainedTokenizerBase) -> bool:
        logger.info("%s joins what a space parts; pairs are tokenized whole", type(tokenizer).__name__)
        self.fits = False
        self.passages.clear()
        return False

    def _joined(self, begin: np.ndarray, passage: np.ndarray) -> np.ndarray:
        return np.concatenate([np.concatenate([begin, passage])[: self.most - len(self.after)], self.after])


_lock = Lock()  # a thread may tokenize ahead of the one that computes
_memories: dict[tuple[str, int], _Memory] = {}
_names: WeakKeyDictionary[PreTrainedTokenizerBase, str] = WeakKeyDictionary()


def _memory_of(tokenizer: PreTrainedTokenizerBase, most: int) -> _Memory | None:
    """Return what is known of a tokenizer; None of one that cannot be told from others, or cuts elsewhere."""
    if not tokenizer.is_fast or tokenizer.truncation_side != "right":
        return None
    name = _names.get(tokenizer)
    if name is None:
        written = json.loads(tokenizer.backend_tokenizer.to_str())  # type: ignore[attr-defined]
        for of_the_last_call in ("truncation", "padding"):
            written.pop(of_the_last_call, None)
        _names[tokenizer] = name = hashlib.sha256(json.dumps(written).encode()).hexdigest()
    memory = _memories.pop((name, most), None)
    if memory is None:
        memory = _Memory(most=most, after=_behind(tokenizer), num_checks=_NUM_CHECKED)
        while len(_memories) >= _MOST_MEMORIES:
            del _memories[next(iter(_memories))]
    memory.passages.forget_the_oldest()
    _memories[name, most] = memory
    return memory


def _behind(tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """Return the special tokens that stand behind a text."""
    text = QUESTION_TEMPLATE.format(question="a")
    alone, whole = (tokenizer(text, add_special_tokens=special)["input_ids"] for special in (False, True))
    start = next((place for place in range(len(whole)) if whole[place : place + len(alone)] == alone), 0)
    return _array(whole[start + len(alone) :])


def _ends_plainly(question: str) -> bool:
    """Say whether a question ends in nothing that may swallow the space behind it, as some special tokens do."""
    return question != "" and question == question.strip() and not question.endswith((">", "]"))


def _written(question: str, passage: Passage | None) -> str:
    if passage is None:
        return QUESTION_TEMPLATE.format(question=question)
    return PASSAGE_TEMPLATE.format(question=question, title=passage.title, text=passage.text)


def _key(passage: Passage) -> bytes:
    return text_key(passage.title, passage.text)


def _array(tokens: Sequence[int]) -> np.ndarray:
    return np.asarray(tokens, dtype=np.int32)
