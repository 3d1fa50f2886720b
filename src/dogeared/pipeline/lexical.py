"""The steps that make an index of words, BM25's or one of TF-IDF.

An index says itself of which kind it is, so that whatever retrieves by words takes either.
"""

from pathlib import Path

from dogeared.artifacts import read_manifest
from dogeared.pipeline.config import Experiment
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.language import settle_language
from dogeared.pipeline.making import Facts, make_from
from dogeared.retrieval.bm25 import BM25Retriever
from dogeared.retrieval.tfidf import TfidfRetriever
from dogeared.retrieval.words import index_corpus

__all__ = ["index_tfidf", "index_words", "load_words"]

_KIND = "index_tfidf"


def index_words(out: Path, *, data: Path, experiment: Experiment) -> None:
    """Make the lexical index of the corpus."""
    experiment = settle_language(experiment, data)

    def work(folder: Path, facts: Facts) -> None:
        index_corpus(BM25Retriever, Dataset.open(data).corpus, experiment.bm25).save(folder)

    make_from(out, "index_words", {"bm25": experiment.bm25.model_dump()}, {"data": data}, work)


def index_tfidf(out: Path, *, data: Path, experiment: Experiment) -> None:
    """Make the TF-IDF index of the corpus."""
    experiment = settle_language(experiment, data)

    def work(folder: Path, facts: Facts) -> None:
        index_corpus(TfidfRetriever, Dataset.open(data).corpus, experiment.tfidf).save(folder)

    make_from(out, _KIND, {"tfidf": experiment.tfidf.model_dump()}, {"data": data}, work)


def load_words(folder: Path) -> BM25Retriever | TfidfRetriever:
    """Open a lexical index, of BM25 or of TF-IDF.

    Raises:
        ArtifactError: There is none.
    """
    return TfidfRetriever.load(folder) if read_manifest(folder).kind == _KIND else BM25Retriever.load(folder)
