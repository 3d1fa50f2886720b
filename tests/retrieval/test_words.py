"""What an index of words takes is foretold from some passages, and one that would not fit is not begun."""

import random
import tracemalloc

import pytest

from dogeared import memory
from dogeared.data.corpus import Corpus, build_corpus
from dogeared.errors import ResourceError
from dogeared.records import Passage
from dogeared.retrieval import words
from dogeared.retrieval.bm25 import BM25Retriever, BM25Settings
from dogeared.retrieval.tfidf import TfidfRetriever, TfidfSettings
from dogeared.retrieval.words import index_corpus, index_mb

KINDS = [(BM25Retriever, BM25Settings(language="none")), (TfidfRetriever, TfidfSettings(language="none"))]
each_kind = pytest.mark.parametrize(("kind", "settings"), KINDS, ids=["bm25", "tfidf"])

PASSAGES = [
    Passage(id="a", title="lake", text="deep lake, deep sea"),
    Passage(id="b", title="", text="deep"),
    Passage(id="c", title="", text="?!"),
]


@pytest.fixture(scope="module")
def sorted_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Four thousand passages of one word to forty, the shortest first."""
    draw = random.Random(0)
    texts = [" ".join(f"w{int(draw.paretovariate(0.4))}" for _ in range(1 + row // 100)) for row in range(4000)]
    passages = [Passage(id=str(row), title="", text=text) for row, text in enumerate(texts)]
    return build_corpus(passages, tmp_path_factory.mktemp("corpus"))


def test_entries_are_the_different_terms_of_each_passage():
    assert BM25Retriever.count_entries(PASSAGES, KINDS[0][1]) == 3 + 1 + 0
    # Pairs are terms too: "deep lake" and "deep sea"; none crosses a sign or the end of a title.
    assert TfidfRetriever.count_entries(PASSAGES, KINDS[1][1]) == 3 + 2 + 1 + 0


@each_kind
def test_a_sample_foretells_what_indexing_takes(kind, settings, sorted_corpus: Corpus):
    entries = kind.count_entries(sorted_corpus.passages(range(4000)), settings)
    foretold = index_mb(kind, sorted_corpus, settings)
    assert foretold == pytest.approx(entries * words._BYTES_AN_ENTRY[kind.name] / 2**20, rel=0.02)
    tracemalloc.start()
    index_corpus(kind, sorted_corpus, settings)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    assert foretold <= peak <= 3 * foretold


@each_kind
def test_an_index_that_would_not_fit_is_not_begun(kind, settings, sorted_corpus: Corpus, monkeypatch):
    monkeypatch.setattr(words, "_LARGE", 4000)
    needed = index_mb(kind, sorted_corpus, settings)
    monkeypatch.setattr(memory, "free_mb", lambda device: needed + 0.01)
    assert len(index_corpus(kind, sorted_corpus, settings)._passage_ids) == 4000
    monkeypatch.setattr(memory, "free_mb", lambda device: needed - 0.01)
    monkeypatch.setattr(kind, "build", lambda *given: pytest.fail("it was begun"))
    with pytest.raises(ResourceError, match=rf"{kind.name}: the index of 4,000 passages needs .* Index fewer passages"):
        index_corpus(kind, sorted_corpus, settings)


@each_kind
def test_a_small_corpus_is_not_asked_about(kind, settings, sorted_corpus: Corpus, monkeypatch):
    monkeypatch.setattr(kind, "count_entries", lambda *given: pytest.fail("it was asked"))
    assert len(index_corpus(kind, sorted_corpus, settings)._passage_ids) == 4000
