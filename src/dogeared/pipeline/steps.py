"""The steps of the method, each from finished artifacts to a finished artifact.

Every function here makes one artifact at ``out``, or does nothing where it stands already, made with the same settings
from the same inputs; where it was made with others it refuses and names them. What it cost is noted in the manifest.
Nothing passes from step to step but what is on disk.

The order of steps is not here; that is ``rounds.py``.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dogeared.artifacts import read_manifest
from dogeared.compute import default_device
from dogeared.data.rankings import read_rankings, read_relevance, write_rankings, write_relevance
from dogeared.data.readings import Readings
from dogeared.distill.teachers import CrossAttention
from dogeared.pipeline.config import Experiment
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.making import Facts, make_artifact, work_folder
from dogeared.pipeline.measure import measure
from dogeared.reader.fid import FusionInDecoder
from dogeared.retrieval.bm25 import BM25Retriever
from dogeared.retrieval.dense import DenseRetriever, encode_corpus
from dogeared.retrieval.dual_encoder import DualEncoder
from dogeared.retrieval.given import GivenRetriever
from dogeared.retrieval.index import VECTORS_FILE, ExactIndex
from dogeared.training.checkpoint import TrainingState
from dogeared.training.loop import seed_of
from dogeared.training.train_reader import train_reader as train_reader_in_place
from dogeared.training.train_retriever import train_retriever as train_retriever_in_place

__all__ = [
    "RANKINGS_FILE",
    "RELEVANCE_FILE",
    "encode",
    "evaluate",
    "index_words",
    "load_reader",
    "load_retriever",
    "retrieve",
    "retrieve_first",
    "score_passages",
    "train_reader",
    "train_retriever",
    "untouched_retriever",
]

RANKINGS_FILE = "rankings.parquet"
RELEVANCE_FILE = "relevance.parquet"


def index_words(out: Path, *, data: Path, experiment: Experiment) -> None:
    """Make the lexical index of the corpus."""

    def work(folder: Path, facts: Facts) -> None:
        corpus = Dataset.open(data).corpus
        BM25Retriever.build((p for batch in corpus.iter_batches(4096) for p in batch), experiment.bm25).save(folder)

    _make(out, "index_words", {"bm25": experiment.bm25.model_dump()}, {"data": data}, work)


def retrieve_first(out: Path, *, data: Path, words: Path | None, experiment: Experiment) -> None:
    """Rank passages for all questions without any training: by words, or as given with the questions.

    Args:
        out: The artifact to make.
        data: The dataset.
        words: The lexical index; None to take the ranking that came with the questions.
        experiment: For the number of passages.
    """

    def work(folder: Path, facts: Facts) -> None:
        dataset = Dataset.open(data)
        retriever = GivenRetriever(dataset.given_rankings()) if words is None else BM25Retriever.load(words)
        facts["retriever"] = retriever.name
        write_rankings(retriever.retrieve(dataset.questions, experiment.num_passages), folder / RANKINGS_FILE)

    inputs = {"data": data} if words is None else {"data": data, "words": words}
    _make(out, "retrieve", {"num_passages": experiment.num_passages}, inputs, work)


def train_reader(out: Path, *, data: Path, ranking: Path, experiment: Experiment, round_number: int) -> None:
    """Train a fresh reader, from its pretrained start, on the passages of a ranking."""
    seed = seed_of(experiment.seed, "reader", round_number)

    def work(folder: Path, facts: Facts) -> None:
        dataset, rankings = Dataset.open(data), read_rankings(ranking / RANKINGS_FILE)
        torch.manual_seed(seed)  # for weights that have no pretrained start, such as fresh cross-attention
        reader = FusionInDecoder.load(experiment.reader).to(default_device())
        state = train_reader_in_place(
            reader,
            _readings(dataset, rankings, "train", experiment.reader.num_passages),
            experiment.reader_training,
            seed=seed,
            folder=work_folder(out),
            language=experiment.language,
            dev_readings=_readings(dataset, rankings, "dev", experiment.reader.num_passages),
        )
        _note_training(facts, state)
        reader.save(folder)

    settings = {
        "reader": experiment.reader.model_dump(),
        "reader_training": experiment.reader_training.model_dump(exclude={"save_every_seconds"}),
        "language": experiment.language,
        "seed": seed,
    }
    _make(out, "train_reader", settings, {"data": data, "ranking": ranking}, work)


def score_passages(
    out: Path, *, data: Path, ranking: Path, reader: Path, experiment: Experiment, splits: Sequence[str]
) -> None:
    """Write down how relevant a reader finds the passages of each question; answers are not looked at.

    Of training questions it scores as many passages as the student will compare, which may be more than it reads to
    answer; of others, where it is the reader that is measured, as many as it reads.
    """
    num_passages = {
        split: experiment.retriever_training.num_passages if split == "train" else experiment.reader.num_passages
        for split in splits
    }

    def work(folder: Path, facts: Facts) -> None:
        dataset, rankings = Dataset.open(data), read_rankings(ranking / RANKINGS_FILE)
        teacher = CrossAttention(
            load_reader(reader, experiment), experiment.relevance, precision=experiment.reader_training.precision
        )
        relevance = [
            item
            for split, number in num_passages.items()
            for item in teacher.relevance(_readings(dataset, rankings, split, number))
        ]
        facts["num_questions"] = len(relevance)
        write_relevance(relevance, folder / RELEVANCE_FILE)

    settings = {
        "num_passages": num_passages,
        "relevance": experiment.relevance.model_dump(),
    }
    _make(out, "score_passages", settings, {"data": data, "ranking": ranking, "reader": reader}, work)


def untouched_retriever(out: Path, *, experiment: Experiment) -> None:
    """Save the student as it is before any distillation."""

    def work(folder: Path, facts: Facts) -> None:
        torch.manual_seed(experiment.seed)
        DualEncoder.load(experiment.retriever).save(folder)

    _make(out, "untouched_retriever", {"retriever": experiment.retriever.model_dump()}, {}, work)


def train_retriever(
    out: Path, *, data: Path, relevance: Path, start: Path, experiment: Experiment, round_number: int
) -> None:
    """Distil a reader's relevance into the student, which goes on from where it stands."""
    seed = seed_of(experiment.seed, "retriever", round_number)

    def work(folder: Path, facts: Facts) -> None:
        dataset = Dataset.open(data)
        encoder = _load_encoder(start, experiment).to(default_device())
        state = train_retriever_in_place(
            encoder,
            dataset.split("train"),
            read_relevance(relevance / RELEVANCE_FILE),
            dataset.corpus,
            experiment.retriever_training,
            seed=seed,
            folder=work_folder(out),
        )
        _note_training(facts, state)
        encoder.save(folder)

    settings = {
        "retriever": experiment.retriever.model_dump(exclude={"model"}),
        "retriever_training": experiment.retriever_training.model_dump(exclude={"save_every_seconds"}),
        "seed": seed,
    }
    _make(out, "train_retriever", settings, {"data": data, "relevance": relevance, "start": start}, work)


def encode(out: Path, *, data: Path, retriever: Path, experiment: Experiment) -> None:
    """Encode all passages."""

    def work(folder: Path, facts: Facts) -> None:
        corpus = Dataset.open(data).corpus
        encoder = _load_encoder(retriever, experiment).to(default_device())
        shards = work_folder(out)
        encode_corpus(encoder, corpus, shards, experiment.encoding)
        (shards / VECTORS_FILE).rename(folder / VECTORS_FILE)

    settings = {"precision": experiment.encoding.precision}
    _make(out, "encode", settings, {"data": data, "retriever": retriever}, work)


def retrieve(out: Path, *, data: Path, retriever: Path, vectors: Path, experiment: Experiment) -> None:
    """Rank passages for all questions by a student's vectors."""

    def work(folder: Path, facts: Facts) -> None:
        dataset = Dataset.open(data)
        dense = load_retriever(data=data, retriever=retriever, vectors=vectors, experiment=experiment)
        facts["retriever"] = dense.name
        write_rankings(dense.retrieve(dataset.questions, experiment.num_passages), folder / RANKINGS_FILE)

    inputs = {"data": data, "retriever": retriever, "vectors": vectors}
    _make(out, "retrieve", {"num_passages": experiment.num_passages}, inputs, work)


def evaluate(
    out: Path, *, data: Path, ranking: Path, reader: Path | None, relevance: Path | None, experiment: Experiment
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
    """

    def work(folder: Path, facts: Facts) -> None:
        dataset, rankings = Dataset.open(data), read_rankings(ranking / RANKINGS_FILE)
        judged = read_relevance(relevance / RELEVANCE_FILE) if relevance is not None else {}
        loaded = load_reader(reader, experiment) if reader is not None else None
        measure(folder, dataset=dataset, rankings=rankings, reader=loaded, relevance=judged, experiment=experiment)

    settings = {
        "language": experiment.language,
        "reader": experiment.reader.model_dump(exclude={"model"}),
        "teacher_temperature": experiment.retriever_training.teacher_temperature,
    }
    inputs = {"data": data, "ranking": ranking}
    inputs |= {"reader": reader} if reader is not None else {}
    inputs |= {"relevance": relevance} if relevance is not None else {}
    _make(out, "evaluate", settings, inputs, work)


def load_reader(folder: Path, experiment: Experiment) -> FusionInDecoder:
    """Load a trained reader onto the device."""
    settings = experiment.reader.model_copy(update={"model": str(folder.absolute())})
    return FusionInDecoder.load(settings).to(default_device()).eval()


def load_retriever(*, data: Path, retriever: Path, vectors: Path, experiment: Experiment) -> DenseRetriever:
    """Load a student onto the device, with the vectors that it made."""
    return DenseRetriever(
        _load_encoder(retriever, experiment).to(default_device()).eval(),
        ExactIndex.open(vectors),
        Dataset.open(data).corpus,
        name=experiment.retriever.model,
        precision=experiment.encoding.precision,
    )


def _load_encoder(folder: Path, experiment: Experiment) -> DualEncoder:
    return DualEncoder.load(experiment.retriever.model_copy(update={"model": str(folder.absolute())}))


def _readings(dataset: Dataset, rankings: Mapping[str, Any], split: str, num_passages: int) -> Readings:
    return Readings(questions=dataset.split(split), rankings=rankings, corpus=dataset.corpus, num_passages=num_passages)


def _make(
    out: Path,
    kind: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, Path],
    work: Callable[[Path, Facts], None],
) -> None:
    """Make an artifact from others."""
    fingerprints = {role: read_manifest(path).fingerprint for role, path in inputs.items()}
    make_artifact(out, kind=kind, settings=settings, inputs=fingerprints, work=work)


def _note_training(facts: Facts, state: TrainingState) -> None:
    facts |= {
        "losses": [round(loss, 5) for loss in state.losses],
        "evaluations": state.evaluations,
        "best_step": state.best_step,
    }
