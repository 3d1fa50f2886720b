"""Retrieval by words: BM25, the start that needs no model.

bm25s keeps the index and computes the scores; what is ours is how text becomes terms, and which passages come back.
Text in Chinese, Japanese or Korean has no spaces to cut at, and a sentence taken as one term would never be found
again, so each character and each pair of neighbours is a term there. That holds within any text: mixed ones work.

Source: Robertson and Zaragoza 2009; variants as in Kamphuis et al. 2020; bm25s by Lù 2024.
"""

import json
import logging
import re
import sys
import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, pairwise
from pathlib import Path
from typing import Any, Final, Literal, Self, cast

import numpy as np
import regex
import Stemmer
from pydantic import Field, ValidationError

from dogeared.errors import ArtifactError, DataError
from dogeared.records import Passage, Question, Ranking
from dogeared.settings import Settings


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Let a library look as if it were not installed for the time of the block; not one that is in use already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = cast(Any, None)
    try:
        yield
    finally:
        del sys.modules[name]


# Where jax is installed bm25s imports it, for something that is not used here, and jax then keeps three quarters of a
# GPU's memory for itself.
with _hidden("jax"):
    import bm25s
    from bm25s.stopwords import STOPWORDS_EN

__all__ = ["STOP_WORDS", "BM25Retriever", "BM25Settings", "best_rows", "check_indexed"]

_LOG = logging.getLogger(__name__)

STOP_WORDS: Final = frozenset(STOPWORDS_EN)
"""English words that stand everywhere and tell nothing apart."""

_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}ー]"
_RUN = regex.compile(rf"[[\p{{L}}\p{{N}}\p{{M}}]--{_UNSPACED}]+|{_UNSPACED}+", regex.V1)
_STARTS_UNSPACED = regex.compile(_UNSPACED)
# European letters without marks of their own, and punctuation: there \w is what _RUN takes, and much quicker to find.
_PLAIN = re.compile(r"[\0-\u02ff\u2000-\u2069]*")
_PLAIN_RUN = re.compile(r"[^\W_]+")
_POSSESSIVE = regex.compile(r"['\u2019]s\b")

_NUM_REMEMBERED = 1 << 16

_SETTINGS_FILE = "settings.json"
_PASSAGES_FILE = "passage_ids.json"


class BM25Settings(Settings):
    """How text becomes terms and terms become scores; an index is made with these and keeps them."""

    language: Literal["en", "zh", "ja", "none"] = "en"
    """``en`` leaves out English stop words and stems the others, so that "capitals" finds "capital". All others take
    words as they stand. Han, Kana and Hangul become characters and pairs of them in every language. In a run it
    follows ``language`` where nothing is said."""

    variant: Literal["lucene", "robertson", "atire"] = "lucene"
    """The formula: Lucene's, with a weight of rare terms that is never 0; the original one; or ATIRE's."""

    k1: float = Field(default=1.2, ge=0)
    """How much a term counts for standing in a passage again; 0 asks only whether it does. Lucene's default."""

    b: float = Field(default=0.75, ge=0, le=1)
    """How much long passages are held back; 0 ignores length. Lucene's default; 0.4 with k1 0.9 is Anserini's."""


class BM25Retriever:
    """Finds the passages that share rare words with a question.

    The index is read-only and independent of the passages' texts. Made by `build` or `load`.
    """

    name = "bm25"

    def __init__(self, settings: BM25Settings, index: bm25s.BM25, passage_ids: list[str]) -> None:
        self.settings = settings
        self._index = index
        self._passage_ids = passage_ids
        self._analyzer = _Analyzer(settings.language)

    @classmethod
    def build(cls, passages: Iterable[Passage], settings: BM25Settings | None = None) -> Self:
        """Index titles and texts, as one text each.

        Passages are read once and not kept; what is held is four bytes a term, and some forty a different term of a
        passage while the index is made.

        Raises:
            DataError: Two passages have one id, or no passage holds a word.
        """
        settings = settings or BM25Settings()
        analyzer = _Analyzer(settings.language)
        passage_ids: list[str] = []
        vocabulary = defaultdict[str, int](count().__next__)  # a new term gets the next number
        terms = _TermLists()
        for passage in passages:
            passage_ids.append(passage.id)
            terms.append(map(vocabulary.__getitem__, analyzer.terms(_text(passage))))
        check_indexed(passage_ids, num_terms=len(vocabulary))
        index = bm25s.BM25(k1=settings.k1, b=settings.b, method=settings.variant)
        # The empty term that bm25s would add has no column of its own in the index, and looking it up fails.
        tokenized = cast(Any, bm25s.tokenization.Tokenized(ids=cast(Any, terms), vocab=dict(vocabulary)))
        index.index(tokenized, create_empty_token=False, show_progress=False)
        _LOG.info("indexed %d passages with %d different terms", len(passage_ids), len(vocabulary))
        return cls(settings, index, passage_ids)

    @classmethod
    def count_entries(cls, passages: Iterable[Passage], settings: BM25Settings) -> int:
        """Count the weights that an index of these passages would hold: one a different term of each."""
        analyzer = _Analyzer(settings.language)
        return sum(len(set(analyzer.terms(_text(passage)))) for passage in passages)

    def retrieve(self, questions: Sequence[Question], k: int) -> list[Ranking]:
        """Return a ranking for each question, in the order of the questions.

        A passage that shares no word with the question scores 0 and is not returned, so that a ranking may be shorter
        than ``k``, or empty. Passages with equal scores stand in the order in which they were indexed.
        """
        assert k >= 1, k
        return [self._ranking(question, k) for question in questions]

    def save(self, folder: Path) -> None:
        """Write the index into a folder, as arrays and JSON."""
        self._index.save(folder, show_progress=False)
        (folder / _SETTINGS_FILE).write_text(self.settings.model_dump_json(), encoding="utf-8")
        (folder / _PASSAGES_FILE).write_text(json.dumps(self._passage_ids), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Open a saved index; its arrays are mapped, not read, and processes on one machine share them.

        Raises:
            ArtifactError: The folder holds no index, or one that cannot be read.
        """
        try:
            settings = BM25Settings.model_validate_json((folder / _SETTINGS_FILE).read_text(encoding="utf-8"))
            passage_ids = json.loads((folder / _PASSAGES_FILE).read_text(encoding="utf-8"))
            index = bm25s.BM25.load(folder, mmap=True, show_progress=False)
        except (OSError, EOFError, ValueError, ValidationError) as error:
            raise ArtifactError(
                f"{folder}: expected a saved BM25 index: {error}; delete the folder to have it made again"
            ) from error
        return cls(settings, index, passage_ids)

    def _ranking(self, question: Question, k: int) -> Ranking:
        terms = self._analyzer.terms(question.text)
        scores = self._index.get_scores(terms) if terms else np.zeros(len(self._passage_ids), dtype=np.float32)
        rows = best_rows(scores, k)
        return Ranking(
            question_id=question.id,
            passage_ids=tuple(self._passage_ids[row] for row in rows),
            scores=tuple(scores[rows].tolist()),
        )


class _Analyzer:
    """Turns text into terms, the same way for passages and questions."""

    def __init__(self, language: str) -> None:
        self._english = language == "en"
        self._stems = _Stems()

    def terms(self, text: str) -> list[str]:
        """List the terms of a text, as often as they stand in it."""
        # Full-width letters and half-width Kana become the usual ones, by which they are asked for.
        text = unicodedata.normalize("NFKC", text).lower()
        if self._english:
            text = _POSSESSIVE.sub("", text)
        words: list[str] = []
        pieces: list[str] = []
        if _PLAIN.fullmatch(text):
            words = _PLAIN_RUN.findall(text)
        else:
            for run in _RUN.findall(text):
                if run.isascii() or not _STARTS_UNSPACED.match(run):
                    words.append(run)
                else:
                    pieces += run
                    pieces += (left + right for left, right in pairwise(run))
        if self._english:
            stems = self._stems
            words = [stem for word in words if (stem := stems[word])]
        return words + pieces


class _Stems(dict[str, str]):
    """The stem of an English word, empty of a stop word. Those asked for first, common ones mostly, are remembered."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(STOP_WORDS, ""))
        self._stem = Stemmer.Stemmer("english").stemWord

    def __missing__(self, word: str) -> str:
        stem = self._stem(word)
        if len(self) < _NUM_REMEMBERED:
            self[word] = stem
        return stem


class _TermLists:
    """The term numbers of all passages, in one array: lists of Python's would take ten times the memory.

    bm25s asks for the length and goes through it a few times, and needs nothing else of a list.
    """

    def __init__(self) -> None:
        self._numbers = array("i")
        self._ends = array("q", [0])

    def append(self, numbers: Iterable[int]) -> None:
        self._numbers.extend(numbers)
        self._ends.append(len(self._numbers))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[Sequence[int]]:
        return (self._numbers[start:end] for start, end in pairwise(self._ends))


def _text(passage: Passage) -> str:
    return f"{passage.title}\n{passage.text}"


def best_rows(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the rows of the ``k`` best positive scores, best first; equal ones by row."""
    least = np.partition(scores, -k)[-k] if k < len(scores) else 0.0
    rows = np.flatnonzero((scores >= least) & (scores > 0))
    return rows[np.argsort(-scores[rows], kind="stable")[:k]]


def check_indexed(passage_ids: Sequence[str], *, num_terms: int) -> None:
    """Refuse passages of which no index by words can be made.

    Raises:
        DataError: Two have one id, or none holds a word.
    """
    if not num_terms:
        raise DataError(
            f"expected passages with words, found none in {len(passage_ids)} passages; nothing could be retrieved. "
            "Check the file that the passages come from"
        )
    seen: set[str] = set()
    for passage_id in passage_ids:
        if passage_id in seen:
            raise DataError(
                f"expected passages with different ids, found two with {passage_id!r}; a ranking names passages by "
                "their ids. Give each its own"
            )
        seen.add(passage_id)
