"""Retrieval by TF-IDF over hashed words and pairs of words: the start of DrQA.

A term is a word or a pair of neighbours; its bucket is its hash, so there is no vocabulary to keep. A passage weighs a
term by ``log(1 + count) * log((N - n + 0.5) / (n + 0.5))``, n of N passages holding it and the second factor at least
0; a question weighs it alike, and the score is the product of the two vectors. scikit-learn hashes and scipy
multiplies.

Differs from DrQA: Han, Kana and Hangul are cut into characters, so that their pairs are terms; the list of stop words
is the one of our BM25; only buckets that some passage fills are stored.

Source: Chen et al. 2017, section 3.1; hashing of features by Weinberger et al. 2009.
"""

import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
import regex
from pydantic import Field, ValidationError
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer

from dogeared.errors import ArtifactError
from dogeared.records import Passage, Question, Ranking
from dogeared.retrieval.bm25 import STOP_WORDS, best_rows, check_indexed
from dogeared.settings import Settings

__all__ = ["TfidfRetriever", "TfidfSettings"]

_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}ー]"
_WORD_OR_SIGN = regex.compile(rf"{_UNSPACED}|[[\p{{L}}\p{{N}}\p{{M}}]--{_UNSPACED}]+|\S", regex.V1)
_POSSESSIVE = regex.compile(r"['\u2019]s\b")

_PASSAGES_AT_ONCE = 4096

_SETTINGS_FILE = "settings.json"
_PASSAGES_FILE = "passage_ids.json"
_ARRAYS = ("buckets", "rarity", "weights", "columns", "row_ends")


class TfidfSettings(Settings):
    """How text becomes hashed terms; an index is made with these and keeps them."""

    language: Literal["en", "none"] = "en"
    """``en`` leaves out English stop words, and pairs that hold one; ``none`` takes all words. Nothing is stemmed. In
    a run it follows ``language`` where nothing is said."""

    num_bucket_bits: int = Field(default=24, ge=1, le=30)
    """The terms share two to the power of this many buckets; with fewer, different terms are taken for one."""


class TfidfRetriever:
    """Finds the passages that share rare words and pairs of words with a question.

    The index is read-only and independent of the passages' texts. Made by `build` or `load`.
    """

    name = "tfidf"

    def __init__(self, settings: TfidfSettings, passage_ids: list[str], arrays: dict[str, np.ndarray]) -> None:
        self.settings = settings
        self._passage_ids = passage_ids
        self._arrays = arrays
        self._vectorizer = _vectorizer(settings)
        shape = (len(arrays["buckets"]), len(passage_ids))
        parts = (arrays["weights"], arrays["columns"], arrays["row_ends"])
        self._weights = sparse.csr_array(parts, shape=shape, copy=False)

    @classmethod
    def build(cls, passages: Iterable[Passage], settings: TfidfSettings | None = None) -> Self:
        """Index titles and texts; no pair of words is made of both.

        Raises:
            DataError: Two passages have one id, or no passage holds a word.
        """
        settings = settings or TfidfSettings()
        vectorizer, source = _vectorizer(settings), iter(passages)
        passage_ids: list[str] = []
        parts = []
        while batch := list(islice(source, _PASSAGES_AT_ONCE)):
            passage_ids += [passage.id for passage in batch]
            parts.append(vectorizer.transform(map(_text, batch)))
        counts: Any = sparse.vstack(parts, format="csr") if parts else sparse.csr_array((0, 1))
        check_indexed(passage_ids, num_terms=counts.nnz)
        buckets, columns = np.unique(counts.indices, return_inverse=True)
        num_holding = np.bincount(columns)
        rarity = np.log((len(passage_ids) - num_holding + 0.5) / (num_holding + 0.5)).clip(min=0).astype(np.float32)
        weights = np.log1p(counts.data) * rarity[columns]
        by_passage = sparse.csr_array((weights, columns, counts.indptr), shape=(len(passage_ids), len(buckets)))
        by_passage.eliminate_zeros()
        by_bucket: Any = by_passage.T.tocsr()
        arrays = (buckets, rarity, by_bucket.data, by_bucket.indices, by_bucket.indptr)
        return cls(settings, passage_ids, dict(zip(_ARRAYS, arrays, strict=True)))

    @classmethod
    def count_entries(cls, passages: Iterable[Passage], settings: TfidfSettings) -> int:
        """Count the weights that an index of these passages would hold at the most: one a different term of each."""
        return cast(Any, _vectorizer(settings).transform(map(_text, passages))).nnz

    def retrieve(self, questions: Sequence[Question], k: int) -> list[Ranking]:
        """Return a ranking for each question, in the order of the questions.

        A passage that scores 0, because it shares no word with the question or only common ones, is not returned.
        Passages with equal scores stand in the order in which they were indexed.
        """
        assert k >= 1, k
        return [self._ranking(question, k) for question in questions]

    def save(self, folder: Path) -> None:
        """Write the index into a folder, as arrays and JSON."""
        for name, array in self._arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        (folder / _SETTINGS_FILE).write_text(self.settings.model_dump_json(), encoding="utf-8")
        (folder / _PASSAGES_FILE).write_text(json.dumps(self._passage_ids), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Open a saved index; its arrays are mapped, not read, and processes on one machine share them.

        Raises:
            ArtifactError: The folder holds no index, or one that cannot be read.
        """
        try:
            settings = TfidfSettings.model_validate_json((folder / _SETTINGS_FILE).read_text(encoding="utf-8"))
            passage_ids = json.loads((folder / _PASSAGES_FILE).read_text(encoding="utf-8"))
            arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS}
            return cls(settings, passage_ids, arrays)
        except (OSError, ValueError, ValidationError) as error:
            raise ArtifactError(
                f"{folder}: expected a saved TF-IDF index: {error}; delete the folder to have it made again"
            ) from error

    def _ranking(self, question: Question, k: int) -> Ranking:
        asked: Any = self._vectorizer.transform([question.text])
        buckets = self._arrays["buckets"]
        rows = np.searchsorted(buckets, asked.indices).clip(max=len(buckets) - 1)
        known = buckets[rows] == asked.indices
        rows, counts = rows[known], asked.data[known]
        weights = np.log1p(counts) * self._arrays["rarity"][rows]
        scores = self._weights[rows].T @ weights if len(rows) else np.zeros(len(self._passage_ids), dtype=np.float32)
        best = best_rows(scores, k)
        return Ranking(
            question_id=question.id,
            passage_ids=tuple(self._passage_ids[row] for row in best),
            scores=tuple(scores[best].tolist()),
        )


def _text(passage: Passage) -> str:
    return f"{passage.title}\n{passage.text}"


def _vectorizer(settings: TfidfSettings) -> HashingVectorizer:
    stop_words = STOP_WORDS if settings.language == "en" else frozenset[str]()

    def terms(text: str) -> Iterator[str]:
        for line in text.splitlines():
            tokens = _tokens(line)
            telling = [token[0].isalnum() and token not in stop_words for token in tokens]
            yield from (token for token, tells in zip(tokens, telling, strict=True) if tells)
            for (left, right), both in zip(pairwise(tokens), pairwise(telling), strict=True):
                if all(both):
                    yield f"{left} {right}"

    # Its stubs know the defaults only.
    return cast(Any, HashingVectorizer)(
        analyzer=terms, n_features=2**settings.num_bucket_bits, norm=None, alternate_sign=False, dtype=np.float32
    )


def _tokens(text: str) -> list[str]:
    """List words and signs; a sign, also the one that a possessive leaves, stands between words that are no pair."""
    return _WORD_OR_SIGN.findall(_POSSESSIVE.sub("'", unicodedata.normalize("NFKC", text).lower()))
