"""An index of words over a whole corpus, not begun where it would not fit.

An index of words is made in memory. What it takes goes by its entries, one a different term of a passage, and those are
foretold by some of the passages: they stand evenly spread over the corpus, which may be sorted.

How terms are made and weighed is in ``bm25.py`` and ``tfidf.py``.
"""

from typing import Any, Final

import torch

from dogeared.data.corpus import Corpus
from dogeared.memory import require_mb
from dogeared.retrieval.bm25 import BM25Retriever
from dogeared.retrieval.tfidf import TfidfRetriever

__all__ = ["index_corpus", "index_mb"]

Words = BM25Retriever | TfidfRetriever

_BYTES_AN_ENTRY: Final = {"bm25": 40, "tfidf": 45}  # measured while an index is made; docs/reliability.md
_NUM_ASKED = 1_000
_LARGE = 20 * _NUM_ASKED  # below, an index takes less than some ten megabytes, and asking would take a while beside it


def index_corpus(kind: type[Words], corpus: Corpus, settings: Any) -> Words:
    """Index all passages of a corpus.

    Args:
        kind: Of the index.
        corpus: Its passages are read once and not kept.
        settings: Those of the kind.

    Raises:
        ResourceError: The index would not fit into what is free; it was not begun.
        DataError: No passage holds a word.
    """
    if len(corpus) >= _LARGE:
        require_mb(
            f"{kind.name}: the index of {len(corpus):,} passages",
            index_mb(kind, corpus, settings),
            torch.device("cpu"),
            advice='Index fewer passages, or start from vectors (start = "dense"), which are made piece by piece',
        )
    return kind.build((passage for batch in corpus.iter_batches(4096) for passage in batch), settings)


def index_mb(kind: type[Words], corpus: Corpus, settings: Any) -> float:
    """Foretell the MB that an index takes while it is made, from a thousand passages of the corpus."""
    rows = range(0, len(corpus), max(1, len(corpus) // _NUM_ASKED))
    entries = kind.count_entries(corpus.passages(rows), settings) * len(corpus) / len(rows)
    return entries * _BYTES_AN_ENTRY[kind.name] / 2**20
