"""The first retrieval of a run: by words, by vectors, by both, or as given with the questions.

Whatever it is, it leaves the ranking of round 0, and can be asked new questions where there is something to ask. The
rounds after it do not know how it was made.
"""

from pathlib import Path

from dogeared.artifacts import read_manifest
from dogeared.data.rankings import read_rankings, write_rankings
from dogeared.errors import ArtifactError
from dogeared.pipeline import steps
from dogeared.pipeline.config import Experiment
from dogeared.pipeline.layout import RoundFolder, RunFolder
from dogeared.pipeline.lexical import index_tfidf, load_words
from dogeared.pipeline.making import Facts, make_from
from dogeared.records import Ranking
from dogeared.retrieval.base import Retriever
from dogeared.retrieval.dense import DenseRetriever
from dogeared.retrieval.hybrid import HybridRetriever, HybridSettings, fuse

__all__ = [
    "bm25_ranking",
    "first_retrieval",
    "fuse_all",
    "fuse_rankings",
    "load_bm25",
    "load_start",
    "start_experiment",
]


def first_retrieval(run: RunFolder, experiment: Experiment) -> None:
    """Make the ranking of round 0; the untouched student has been measured already."""
    out, data = run.round(0).ranking, run.data
    if experiment.start == "given":
        steps.retrieve_first(out, data=data, words=None, experiment=experiment)
    elif experiment.start == "tfidf":
        index_tfidf(run.words, data=data, experiment=experiment)
        steps.retrieve_first(out, data=data, words=run.words, experiment=experiment)
    elif experiment.start == "bm25":
        bm25_ranking(run, experiment)
    else:
        here, dense = _dense_start(run, experiment)
        ranking = out if experiment.start == "dense" else run.start.ranking
        steps.retrieve(ranking, data=data, retriever=here.retriever, vectors=here.vectors, experiment=dense)
        if experiment.start == "hybrid":
            fuse_rankings(out, lexical=bm25_ranking(run, experiment), dense=ranking, experiment=experiment)


def bm25_ranking(run: RunFolder, experiment: Experiment) -> Path:
    """Make the ranking by BM25, with its index, unless they are there; return where it is."""
    is_start = experiment.start == "bm25"
    words, ranking = _bm25_index(run, experiment), run.round(0).ranking if is_start else run.hybrid_ranking
    steps.index_words(words, data=run.data, experiment=experiment)
    steps.retrieve_first(ranking, data=run.data, words=words, experiment=experiment)
    return ranking


def fuse_rankings(out: Path, *, lexical: Path, dense: Path, experiment: Experiment) -> None:
    """Make one ranking of two, by words and by vectors.

    Args:
        out: The artifact to make.
        lexical: A ranking by words.
        dense: A ranking of the same questions by vectors.
        experiment: For how the two count, and the number of passages.
    """

    def work(folder: Path, facts: Facts) -> None:
        facts["retriever"] = " + ".join(read_manifest(one).facts["retriever"] for one in (dense, lexical))
        fused = fuse_all(lexical, dense, experiment.num_passages, experiment.hybrid)
        write_rankings(list(fused.values()), folder / steps.RANKINGS_FILE)

    settings = {"num_passages": experiment.num_passages, "hybrid": experiment.hybrid.model_dump()}
    make_from(out, "fuse_rankings", settings, {"lexical": lexical, "dense": dense}, work)


def fuse_all(lexical: Path, dense: Path, k: int, settings: HybridSettings) -> dict[str, Ranking]:
    """Fuse two artifacts of rankings, question by question; one that only one of them holds keeps that ranking."""
    by_words, by_vectors = (read_rankings(one / steps.RANKINGS_FILE) for one in (lexical, dense))
    fused = {}
    for question_id in by_vectors | by_words:
        nothing = Ranking(question_id=question_id, passage_ids=(), scores=())
        found = by_words.get(question_id, nothing), by_vectors.get(question_id, nothing)
        fused[question_id] = fuse(*found, k, settings)
    return fused


def load_start(run: RunFolder, experiment: Experiment) -> Retriever:
    """Open the first retrieval of a run, ready for new questions.

    Raises:
        ArtifactError: It is a ranking that came with the questions, or its models are not there.
    """
    if experiment.start == "given":
        raise ArtifactError(
            f"{run.path}: expected a retriever to search with, but no round of this run beat the ranking that came "
            'with its questions, and that ranking holds nothing for new ones; run it with start = "bm25", or train '
            "for longer"
        )
    if experiment.start in ("bm25", "tfidf"):
        return load_words(run.words)
    dense = _load_dense_start(run, experiment)
    if experiment.start == "dense":
        return dense
    words = load_bm25(run, experiment)
    return HybridRetriever(words, dense, experiment.hybrid, depth=experiment.num_passages)


def _load_dense_start(run: RunFolder, experiment: Experiment) -> DenseRetriever:
    """Open the encoder of a first retrieval by vectors, with what it made of the corpus."""
    here, dense = _start_folder(run, experiment), start_experiment(experiment)
    return steps.load_retriever(data=run.data, retriever=here.retriever, vectors=here.vectors, experiment=dense)


def load_bm25(run: RunFolder, experiment: Experiment) -> Retriever:
    """Open the BM25 index that ``bm25_ranking`` made.

    Raises:
        ArtifactError: It was not made.
    """
    return load_words(_bm25_index(run, experiment))


def _bm25_index(run: RunFolder, experiment: Experiment) -> Path:
    return run.words if experiment.start == "bm25" else run.hybrid_words


def _dense_start(run: RunFolder, experiment: Experiment) -> tuple[RoundFolder, Experiment]:
    """Make the encoder and the vectors of a first retrieval by vectors; the student's are there already."""
    here, dense = _start_folder(run, experiment), start_experiment(experiment)
    if not experiment.starts_untouched:
        steps.untouched_retriever(here.retriever, experiment=dense)
        steps.encode(here.vectors, data=run.data, retriever=here.retriever, experiment=dense)
    return here, dense


def _start_folder(run: RunFolder, experiment: Experiment) -> RoundFolder:
    return run.untouched if experiment.starts_untouched else run.start


def start_experiment(experiment: Experiment) -> Experiment:
    """Return the settings with the model of the first retrieval in the place of the student.

    What it is, it says itself: how many encoders the student has, and what its vectors are and how they are compared,
    is of the student alone.
    """
    if experiment.start_model is None:
        return experiment
    model = experiment.retriever.model_copy(
        update={"model": experiment.start_model, "similarity": "auto", "encoders": "shared", "vectors": "dense"}
    )
    return experiment.model_copy(update={"retriever": model})
