"""The steps of the method, each from finished artifacts to a finished artifact.

Every function here makes one artifact at ``out``, or does nothing where it stands already, made with the same settings
from the same inputs; where it was made with others it refuses and names them. What it cost is noted in the manifest.
Nothing passes from step to step but what is on disk.

The order of steps is not here; that is ``rounds.py``.
"""

from pathlib import Path
from typing import Any

import torch

from dogeared.artifacts import check_sizes
from dogeared.compute import default_device
from dogeared.data.rankings import read_rankings, read_relevance, write_rankings
from dogeared.errors import ConfigError
from dogeared.pipeline.config import Experiment
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.language import settle_language
from dogeared.pipeline.lexical import index_words, load_words
from dogeared.pipeline.making import Facts, make_from, work_folder
from dogeared.pipeline.measure import measure
from dogeared.pipeline.scoring import (
    RANKINGS_FILE,
    RELEVANCE_FILE,
    load_reader,
    noted_length,
    noted_source,
    readings_of,
    score_passages,
    token_likelihoods,
)
from dogeared.pipeline.together import joined
from dogeared.reader.kinds import open_reader
from dogeared.retrieval.approximate import build_approximate
from dogeared.retrieval.dense import DenseRetriever, encode_corpus, index_files, open_index, reuse_vectors
from dogeared.retrieval.dual_encoder import DualEncoder
from dogeared.retrieval.given import GivenRetriever
from dogeared.retrieval.vectors import StoredVectors
from dogeared.training.checkpoint import TrainingState
from dogeared.training.loop import seed_of
from dogeared.training.train_readers import train_reader_in_place
from dogeared.training.train_retriever import train_retriever as train_retriever_in_place

__all__ = [
    "RANKINGS_FILE",
    "RELEVANCE_FILE",
    "encode",
    "evaluate",
    "index_words",
    "load_encoder",
    "load_reader",
    "load_retriever",
    "retrieve",
    "retrieve_first",
    "score_passages",
    "train_reader",
    "train_retriever",
    "untouched_retriever",
]


_SEARCH = {"probes", "breadth", "proposals"}
"""Settings of an index that bear on what is found in it, and not on what it is."""


def retrieve_first(out: Path, *, data: Path, words: Path | None, experiment: Experiment) -> None:
    """Rank passages for all questions without any training: by words, or as given with the questions.

    Args:
        out: The artifact to make.
        data: The dataset.
        words: A lexical index, of either kind; None to take the ranking that came with the questions.
        experiment: For the number of passages.
    """

    def work(folder: Path, facts: Facts) -> None:
        dataset = Dataset.open(data)
        retriever = GivenRetriever(dataset.given_rankings()) if words is None else load_words(words)
        facts["retriever"] = retriever.name
        write_rankings(retriever.retrieve(dataset.questions, experiment.num_passages), folder / RANKINGS_FILE)

    inputs = {"data": data} if words is None else {"data": data, "words": words}
    make_from(out, "retrieve", {"num_passages": experiment.num_passages}, inputs, work)


@joined
def train_reader(
    out: Path, *, data: Path, ranking: Path, experiment: Experiment, round_number: int, start: Path | None = None
) -> None:
    """Train a reader on the passages of a ranking.

    Args:
        out: The artifact to make.
        data: The dataset.
        ranking: What the reader reads.
        experiment: For what the reader is and how it is trained.
        round_number: Only the seed depends on it.
        start: The reader to go on from, which needs no curriculum any more; None for a fresh one, from its pretrained
            start.
    """
    experiment = settle_language(experiment, data)
    seed = seed_of(experiment.seed, "reader", round_number)
    begun = experiment.reader.model_copy(update={} if start is None else {"model": str(start.absolute())})
    training = experiment.reader_training.model_copy(update={} if start is None else {"curriculum_steps": 0})

    def work(folder: Path, facts: Facts) -> None:
        dataset, rankings = Dataset.open(data), read_rankings(ranking / RANKINGS_FILE)
        torch.manual_seed(seed)  # for weights that have no pretrained start, such as fresh cross-attention
        reader = open_reader(begun, language=experiment.settled_language).to(default_device())
        several = experiment.reader.num_passages
        state = train_reader_in_place(
            reader,
            readings_of(dataset, rankings, "train", several, experiment),
            training,
            seed=seed,
            folder=work_folder(out),
            language=experiment.settled_language,
            dev_readings=readings_of(dataset, rankings, "dev", several, experiment),
        )
        _note_training(facts, state)
        reader.save(folder)

    settings = {
        "reader": experiment.reader.model_dump(),
        "reader_training": training.model_dump(exclude={"save_every_seconds"}),
        "language": experiment.settled_language,
        "seed": seed,
        **noted_source(experiment),
    }
    inputs = {"data": data, "ranking": ranking} | ({"start": start} if start is not None else {})
    make_from(out, "train_reader", settings, inputs, work, tracking=experiment.tracking)


def untouched_retriever(out: Path, *, experiment: Experiment) -> None:
    """Save the student as it is before any distillation."""

    def work(folder: Path, facts: Facts) -> None:
        torch.manual_seed(experiment.seed)
        DualEncoder.load(experiment.retriever).save(folder)

    settings: dict[str, Any] = {"retriever": experiment.retriever.model_dump()}
    if experiment.retriever.vectors != "dense":  # a start without a projection of its own gets one drawn at random
        settings["seed"] = experiment.seed
    make_from(out, "untouched_retriever", settings, {}, work)


@joined
def train_retriever(
    out: Path,
    *,
    data: Path,
    relevance: Path,
    start: Path,
    experiment: Experiment,
    round_number: int,
    vectors: Path | None = None,
    ranking: Path | None = None,
) -> None:
    """Distil a reader's relevance into the student, which goes on from where it stands.

    Its passages need not be encoded where their vectors are given, which a student whose passages keep theirs allows.
    The ranking that was judged tells a contrastive loss what was retrieved for a question besides what was judged, and
    is no negative of it; no other loss looks at it.
    """
    ranking = ranking if experiment.retriever_training.contrastive_weight else None
    seed = seed_of(experiment.seed, "retriever", round_number)

    def work(folder: Path, facts: Facts) -> None:
        dataset = Dataset.open(data)
        encoder = load_encoder(start, experiment).to(default_device())
        state = train_retriever_in_place(
            encoder,
            dataset.split("train"),
            read_relevance(relevance / RELEVANCE_FILE),
            dataset.corpus,
            experiment.retriever_training,
            seed=seed,
            folder=work_folder(out),
            vectors=None if vectors is None else StoredVectors.open(vectors),
            retrieved=_retrieved(dataset, ranking, experiment),
            likelihoods=token_likelihoods(relevance, experiment),
        )
        _note_training(facts, state)
        encoder.save(folder)

    settings = {
        "retriever": experiment.retriever.model_dump(exclude={"model"}),
        "retriever_training": experiment.retriever_training.model_dump(exclude={"save_every_seconds"}),
        "seed": seed,
    }
    inputs = {"data": data, "relevance": relevance, "start": start, **_kept(vectors, experiment)}
    inputs |= {"ranking": ranking} if ranking is not None else {}
    make_from(out, "train_retriever", settings, inputs, work, tracking=experiment.tracking)


def encode(out: Path, *, data: Path, retriever: Path, experiment: Experiment, vectors: Path | None = None) -> None:
    """Encode all passages, or take the vectors of the student that this one was, if its passages kept theirs."""

    def work(folder: Path, facts: Facts) -> None:
        if vectors is not None:
            reuse_vectors(vectors, folder)
            return
        encoder, work = load_encoder(retriever, experiment).to(default_device()), work_folder(out)
        whole = work / "whole"
        if not whole.is_dir():
            encode_corpus(encoder, Dataset.open(data).corpus, work, experiment.encoding, experiment.index.vectors)
            partial = whole.with_suffix(".partial")
            partial.mkdir(exist_ok=True)
            for file in index_files(work):
                file.rename(partial / file.name)
            partial.rename(whole)
        build_approximate(whole, experiment.index)
        reuse_vectors(whole, folder)

    settings: dict[str, Any] = {
        "precision": experiment.encoding.precision,
        **noted_length(retriever, experiment.retriever),
    }
    # Only what differs from the default is noted, so that vectors made before there was a choice are what they were.
    if chosen := experiment.index.model_dump(exclude_defaults=True, exclude=_SEARCH):
        settings["index"] = chosen
    inputs = {"data": data, "retriever": retriever, **_kept(vectors, experiment)}
    make_from(out, "encode", settings, inputs, work)


def retrieve(out: Path, *, data: Path, retriever: Path, vectors: Path, experiment: Experiment) -> None:
    """Rank passages for all questions by a student's vectors."""

    def work(folder: Path, facts: Facts) -> None:
        dataset = Dataset.open(data)
        dense = load_retriever(data=data, retriever=retriever, vectors=vectors, experiment=experiment)
        facts["retriever"] = dense.name
        write_rankings(dense.retrieve(dataset.questions, experiment.num_passages), folder / RANKINGS_FILE)

    settings: dict[str, Any] = {
        "num_passages": experiment.num_passages,
        **noted_length(retriever, experiment.retriever),
    }
    # An exact search has no settings; of another only what differs from the default is noted, as by ``encode``.
    if experiment.index.kind != "exact" and (
        chosen := experiment.index.model_dump(exclude_defaults=True, include=_SEARCH)
    ):
        settings["index"] = chosen
    make_from(out, "retrieve", settings, {"data": data, "retriever": retriever, "vectors": vectors}, work)


def evaluate(
    out: Path,
    *,
    data: Path,
    ranking: Path,
    reader: Path | None,
    relevance: Path | None,
    experiment: Experiment,
    teacher: Path | None = None,
    read: Path | None = None,
) -> None:
    """Measure a ranking on dev and test, and with it the reader that belongs to it, where there is one.

    Args:
        out: The artifact to make.
        data: The dataset.
        ranking: What to measure.
        reader: Answers from these passages; None to measure the ranking alone.
        relevance: What that reader said of the passages of dev questions, to check it as a teacher and to compare its
            order with the retriever's.
        experiment: For language, lengths and temperatures.
        teacher: What the teacher said of dev passages where it is another; it is checked in the reader's place.
        read: The ranking that the reader reads, where it is another.
    """
    experiment = settle_language(experiment, data)

    def work(folder: Path, facts: Facts) -> None:
        dataset, rankings = Dataset.open(data), read_rankings(ranking / RANKINGS_FILE)
        judged = read_relevance(relevance / RELEVANCE_FILE) if relevance is not None else {}
        other = read_relevance(teacher / RELEVANCE_FILE) if teacher is not None else None
        measure(
            folder,
            dataset=dataset,
            rankings=rankings,
            reader=load_reader(reader, experiment) if reader is not None else None,
            relevance=judged,
            experiment=experiment,
            teacher=other,
            read=read_rankings(read / RANKINGS_FILE) if read is not None else None,
        )

    settings = {
        "language": experiment.settled_language,
        "reader": experiment.reader.model_dump(exclude={"model"}),
        **experiment.retriever_training.model_dump(include={"teacher_temperature", "teacher_entropy"}),
    }
    maybe = {"reader": reader, "relevance": relevance, "teacher": teacher, "read": read}
    inputs = {"data": data, "ranking": ranking} | {role: path for role, path in maybe.items() if path is not None}
    make_from(out, "evaluate", settings, inputs, work)


def load_retriever(*, data: Path, retriever: Path, vectors: Path, experiment: Experiment) -> DenseRetriever:
    """Load a student onto the device, with the vectors that it made; what is missing or cut is an ``ArtifactError``."""
    for path in (retriever, vectors):
        check_sizes(path)
    return DenseRetriever(
        load_encoder(retriever, experiment).to(default_device()).eval(),
        open_index(vectors, experiment.index),
        Dataset.open(data).corpus,
        name=experiment.retriever.model,
        precision=experiment.encoding.precision,
    )


def load_encoder(folder: Path, experiment: Experiment) -> DualEncoder:
    """Load a student from its artifact."""
    return DualEncoder.load(experiment.retriever.model_copy(update={"model": str(folder.absolute())}))


def _kept(vectors: Path | None, experiment: Experiment) -> dict[str, Path]:
    """Return the vectors of passages as an input, if the student keeps them."""
    if vectors is None:
        return {}
    if experiment.retriever.encoders != "query_only":
        raise ConfigError(
            f"vectors: expected none for retriever.encoders = {experiment.retriever.encoders}, got {vectors}; training "
            "changes how such a student encodes passages. Leave them out, or set retriever.encoders = query_only"
        )
    return {"vectors": vectors}


def _retrieved(dataset: Dataset, ranking: Path | None, experiment: Experiment) -> dict[str, tuple[str, ...]]:
    """Name what was retrieved for training questions, and what they were made from, where that is left out."""
    rankings = read_rankings(ranking / RANKINGS_FILE) if ranking is not None else {}
    named: dict[str, tuple[str, ...]] = {}
    for question in dataset.split("train"):
        found = rankings[question.id].passage_ids if question.id in rankings else ()
        named[question.id] = (*found, *question.gold) if experiment.leave_out_source else found
    return named


def _note_training(facts: Facts, state: TrainingState) -> None:
    facts |= {
        "losses": [round(loss, 5) for loss in state.losses],
        "evaluations": state.evaluations,
        "best_step": state.best_step,
    }
