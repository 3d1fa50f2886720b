"""What a run will cost, said before it begins: time, disk and memory of each step.

The estimate is measured, not guessed: the models of the experiment are loaded and do a little of each step's work on a
sample of the user's own questions and passages, on this machine; the rest is multiplication. Nothing is written but
into a temporary folder.
"""

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from torch import nn

from dogeared.compute import autocast, default_device
from dogeared.data.corpus import Corpus, build_corpus
from dogeared.data.formats import iter_passages, iter_questions
from dogeared.data.questions import assign_splits, count_by_split
from dogeared.data.readings import Readings
from dogeared.distill.choosing import TeacherSettings, choose_teacher, own_judgement
from dogeared.errors import DataError
from dogeared.pipeline.config import Experiment
from dogeared.pipeline.cost import measured_cost
from dogeared.pipeline.language import settle_language_of
from dogeared.reader.answering import answer_questions
from dogeared.reader.extractive import ExtractiveReader
from dogeared.reader.kinds import Reader, open_reader
from dogeared.records import AnswerLikelihood, PassageRelevance, Question, Ranking
from dogeared.retrieval.dense import encode_corpus, index_files
from dogeared.retrieval.dual_encoder import DualEncoder
from dogeared.retrieval.vectors import StoredVectors
from dogeared.training.train_retriever import Student, distillation_batch

__all__ = ["Plan", "PlannedStep", "make_plan"]

_SAMPLE_PASSAGES = 256
_SAMPLE_QUESTIONS = 32
_FEW_QUESTIONS = 4
_PATIENCE_SECONDS = 10.0
_MB = 2**20


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """What one step will cost.

    Attributes:
        name: The step.
        times: How often it is done if all rounds are.
        seconds: Each time.
        disk_mb: What one of its artifacts takes.
        memory_mb: The most the process was seen to hold, and what grows with the corpus.
    """

    name: str
    times: int
    seconds: float
    disk_mb: float
    memory_mb: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a whole run will cost.

    Attributes:
        num_passages: In the corpus.
        num_questions: By split.
        steps: In the order of a round.
        device: Where the sample was measured.
    """

    num_passages: int
    num_questions: dict[str, int]
    steps: tuple[PlannedStep, ...]
    device: str

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return sum(step.times * step.seconds for step in self.steps)

    @property
    def disk_mb(self) -> float:
        """Of the whole run, if nothing is cleaned up."""
        return sum(step.times * step.disk_mb for step in self.steps)


def make_plan(
    experiment: Experiment, *, questions: Path, passages: Path | None = None, skip_bad_rows: bool = False
) -> Plan:
    """Estimate what a run will cost, by doing a little of each step on a sample.

    Raises:
        DataError: A file cannot be read, or holds nothing to measure on.
        ModelError: A model cannot be loaded.
    """
    on_error = (lambda _: None) if skip_bad_rows else None
    given = list(iter_questions(questions, on_error=on_error))
    dealt, _ = assign_splits(given, experiment.seed)
    experiment = settle_language_of(experiment, dealt)
    sample, num_passages, corpus_mb = [], 0, 0.0
    source = (
        iter_passages(passages, on_error=on_error)
        if passages is not None
        else (passage for one in given for passage in one.passages or ())
    )
    started = time.monotonic()
    seen: set[str] = set()
    for passage in source:
        if passage.id in seen:  # it comes with another question too
            continue
        seen.add(passage.id)
        num_passages += 1
        corpus_mb += (len(passage.id) + len(passage.title) + len(passage.text)) / _MB
        if len(sample) < _SAMPLE_PASSAGES:
            sample.append(passage)
    reading_seconds = time.monotonic() - started
    asked = list(islice((question for question in dealt if question.answers), _SAMPLE_QUESTIONS))
    if not asked or not sample:
        raise DataError("expected passages, and questions with answers, to measure on; found none", file=questions)
    with tempfile.TemporaryDirectory(prefix="dogeared-plan-") as folder:
        probe = _Probe(experiment, build_corpus(sample, Path(folder)), asked, Path(folder))
        steps = probe.steps(count_by_split(dealt), num_passages, corpus_mb=corpus_mb, reading_seconds=reading_seconds)
    return Plan(
        num_passages=num_passages,
        num_questions=count_by_split(dealt),
        steps=tuple(steps),
        device=str(default_device()),
    )


class _Probe:
    """Does a little of each step's work and multiplies."""

    def __init__(self, experiment: Experiment, corpus: Corpus, asked: Sequence[Question], folder: Path) -> None:
        self.experiment = experiment
        self.corpus = corpus
        self.asked = asked
        self.folder = folder
        draw = random.Random(0)
        # Which passages does not matter for the cost; how many and how long does.
        self.rankings = {
            question.id: Ranking(
                question_id=question.id,
                passage_ids=tuple(corpus.ids([draw.randrange(len(corpus)) for _ in range(experiment.num_passages)])),
                scores=tuple(float(-rank) for rank in range(experiment.num_passages)),
            )
            for question in asked
        }

    def steps(
        self, counts: dict[str, int], num_passages: int, *, corpus_mb: float, reading_seconds: float
    ) -> list[PlannedStep]:
        rounds = self.experiment.rounds.max
        num_measured = counts["dev"] + counts["test"]
        return [
            PlannedStep(
                name="prepare_data", times=1, seconds=2 * reading_seconds, disk_mb=1.3 * corpus_mb, memory_mb=0.0
            ),
            self._train_reader(times=rounds + 1),
            *self._rerank(sum(counts.values()), times=rounds + 1),
            *self._use_reader(counts["train"], num_measured, rounds=rounds),
            self._train_retriever(times=rounds),
            self._encode(num_passages, times=self.experiment.num_encodings),
        ]

    def _train_reader(self, *, times: int) -> PlannedStep:
        settings = self.experiment.reader_training
        reader = self._reader().train()

        def train_on(num_passages: int) -> tuple[float, float]:
            def work(asked: Sequence[Question]) -> None:
                readings = self._readings(asked, num_passages)
                passages = [readings.passages(index) for index in range(len(readings))]
                texts = [question.text for question in asked]
                if isinstance(reader, ExtractiveReader):
                    batch = reader.batch(texts, passages, answers=[question.answers for question in asked])
                else:
                    batch = reader.batch(texts, passages, answers=[question.answers[0] for question in asked])
                with autocast(settings.precision, default_device()):
                    reader(batch).backward()

            return self._seconds_a_question(work)

        several, memory = train_on(self.experiment.reader.num_passages)
        one, _ = train_on(1)
        early = min(settings.curriculum_steps, settings.steps)
        seconds = settings.questions_per_step * (early * one + (settings.steps - early) * several)
        weights = _weights_mb(reader)
        return PlannedStep(
            name="train_reader", times=times, seconds=seconds, disk_mb=weights, memory_mb=memory + 2 * weights
        )

    def _use_reader(self, num_train: int, num_measured: int, *, rounds: int) -> list[PlannedStep]:
        reader, most = self._reader().eval(), self.experiment.num_passages
        num_passages = min(self.experiment.reader.num_passages, most)
        num_compared = min(self.experiment.retriever_training.num_passages, most)
        own = own_judgement(self.experiment.reader)
        score, score_mb = look, _ = self._judge(own, reader, num_compared)
        if self.experiment.teacher.kind != own.kind:
            score, score_mb = self._judge(self.experiment.teacher, reader, num_compared)
        answer, answer_mb = self._seconds_a_question(
            lambda asked: answer_questions(reader, self._readings(asked, num_passages))
        )
        return [
            PlannedStep(
                name="score_passages", times=rounds, seconds=num_train * score, disk_mb=0.0, memory_mb=score_mb
            ),
            PlannedStep(
                name="evaluate",
                times=rounds + 1,
                seconds=num_measured * (look * num_passages / num_compared + answer),
                disk_mb=0.0,
                memory_mb=answer_mb,
            ),
        ]

    def _rerank(self, num_questions: int, *, times: int) -> list[PlannedStep]:
        settings = self.experiment.reranker
        if settings.kind == "none":
            return []
        seconds, memory = self._judge(settings.teacher, None, settings.num_passages)
        seconds *= num_questions
        return [PlannedStep(name="rerank", times=times, seconds=seconds, disk_mb=0.0, memory_mb=memory)]

    def _judge(self, settings: TeacherSettings, reader: Reader | None, num_passages: int) -> tuple[float, float]:
        teacher = choose_teacher(
            # Heads are chosen by questions whose passages were retrieved; which they are does not matter for the cost.
            settings.model_copy(update={"num_heads": 0}),
            reader=reader,
            aggregation=self.experiment.relevance,
            language=self.experiment.settled_language,
            precision=self.experiment.reader_training.precision,
        )
        return self._seconds_a_question(lambda asked: list(teacher.relevance(self._readings(asked, num_passages))))

    def _train_retriever(self, *, times: int) -> PlannedStep:
        settings = self.experiment.retriever_training
        encoder = DualEncoder.load(self.experiment.retriever).to(default_device())
        known = encoder.freezes_passages
        vectors = StoredVectors(np.zeros((len(self.corpus), encoder.dim), np.float32)) if known else None
        student = Student(encoder, settings).train()
        relevance = {
            name: PassageRelevance(question_id=name, passage_ids=ranking.passage_ids, relevance=ranking.scores)
            for name, ranking in self.rankings.items()
        }

        likelihoods = {
            name: AnswerLikelihood(
                question_id=name, passage_ids=item.passage_ids, log_likelihood=((-1.0,),) * len(item.passage_ids)
            )
            for name, item in relevance.items()
        }

        def work(asked: Sequence[Question]) -> None:
            batch = distillation_batch(
                encoder, asked, relevance, self.corpus, settings, vectors=vectors, likelihoods=likelihoods
            )
            with autocast(settings.precision, default_device()):
                student(batch.to(encoder.device)).backward()

        seconds, memory = self._seconds_a_question(work)
        weights = _weights_mb(encoder)
        return PlannedStep(
            name="train_retriever",
            times=times,
            seconds=seconds * settings.steps * settings.questions_per_step,
            disk_mb=weights,
            memory_mb=memory + 2 * weights,
        )

    def _encode(self, num_passages: int, *, times: int) -> PlannedStep:
        encoder = DualEncoder.load(self.experiment.retriever).to(default_device())
        with measured_cost() as cost:
            encode_corpus(encoder, self.corpus, self.folder, self.experiment.encoding, self.experiment.index.vectors)
        written = sum(file.stat().st_size for file in index_files(self.folder))
        vectors = num_passages * written / len(self.corpus) / _MB
        return PlannedStep(
            name="encode_corpus",
            times=times,
            seconds=cost["seconds"] / len(self.corpus) * num_passages,
            disk_mb=vectors,
            memory_mb=cost["peak_mb"] + vectors,
        )

    def _reader(self) -> Reader:
        return open_reader(self.experiment.reader, language=self.experiment.settled_language).to(default_device())

    def _readings(self, asked: Sequence[Question], num_passages: int) -> Readings:
        return Readings(questions=asked, rankings=self.rankings, corpus=self.corpus, num_passages=num_passages)

    def _seconds_a_question(self, work: Callable[[Sequence[Question]], object]) -> tuple[float, float]:
        """Time some work, after a first time that warms up; return seconds a question and peak MB.

        A few questions tell enough of a large model. For a small one, what a batch costs whatever its size outweighs
        them, so more are taken at once if that is a matter of seconds.
        """
        few = self.asked[:_FEW_QUESTIONS]
        work(few)
        with measured_cost() as cost:
            work(few)
        each = cost["seconds"] / len(few)
        if len(self.asked) > len(few) and each * len(self.asked) < _PATIENCE_SECONDS:
            with measured_cost() as cost:
                work(self.asked)
            each = cost["seconds"] / len(self.asked)
        return each, cost["peak_mb"]


def _weights_mb(model: nn.Module) -> float:
    return sum(parameter.numel() * 4 for parameter in model.parameters()) / _MB
