"""What a GPU makes of it: a reader of T5-base's shape with 100 passages of 250 tokens, and a student of real passages.

The bar is how much of the GPU's rate of matrix products is used, counted as in ``floor.py``; the textbook stands beside
the reader, on the same GPU and in a process of its own. From text to relevance, from text to updated weights, from text
to vectors on disk: tokenizing is part of it. Little and much are done, and the difference counts: what comes before
either is named beside it. Measured in bfloat16, the textbook in float32, where there is a GPU with CUDA.
"""

import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice

import torch

from benchmarks.speed.apart import Apart
from benchmarks.speed.encode import LENGTH, encoder_flops, minilm
from benchmarks.speed.floor import matrix_rate, scoring_flops, training_flops
from benchmarks.speed.rows import Options, Row, Seconds, best_seconds, more_and_before
from benchmarks.speed.student import Lesson
from benchmarks.speed.subject import ANSWER_TOKENS, Subject, make_subject
from benchmarks.speed.textbook import make_textbook
from dogeared.data.corpus import build_corpus
from dogeared.data.formats import iter_passages
from dogeared.distill.teachers import CrossAttention
from dogeared.reader.fid import FusionInDecoder, ReaderSettings
from dogeared.retrieval.dense import EncodingSettings, encode_corpus
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.training.train_reader import ReaderTraining, train_reader
from dogeared.training.train_retriever import RetrieverTraining, train_retriever

__all__ = ["measure"]

_T5_BASE = {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12}
_PASSAGES, _TOKENS = 100, 250
_QUESTIONS = 8  # that there are; more are the same over and over
_SCORED, _STEPS, _ENCODED = (40, 160), (4, 12), (3, 13)  # few and many questions, steps, thousands of passages
_OF_A_STEP = 4
_STUDENT_QUESTIONS, _STUDENT_PASSAGES, _STUDENT_STEPS = 64, 20, (4, 24)  # of a step, of a question, few and many
_DROPOUTS = {"gpu_train": 0.1, "gpu_train_no_dropout": 0.0}  # the former is T5's own
_SIZE = 8192  # of the matrices whose product is the rate


def measure(options: Options) -> dict[str, Row]:
    """Time scoring, training and encoding; nothing where there is no GPU."""
    if not torch.cuda.is_available():
        return {}
    rows: dict[str, Row] = {}
    drawn = {
        "quick": options.quick,
        "num_questions": _QUESTIONS,
        "num_passages": _PASSAGES,
        "tokens": (_TOKENS, _TOKENS),
        "padded": _TOKENS,
        "seed": options.seed,
        "sizes": _T5_BASE,
    }
    with ExitStack() as stack:
        if options.wants("gpu_score", *_DROPOUTS):
            subject = make_subject(options.scratch / "gpu", **drawn)
            textbook = stack.enter_context(Apart(make_textbook, options.scratch / "textbook", "cuda", drawn))
        if options.wants("gpu_score"):
            rows["gpu_score"] = _score(subject, textbook, options)
        for name, dropout in _DROPOUTS.items():
            if options.wants(name):
                rows[name] = _train(subject, dropout, textbook, options)
    if (options.data / "wiki_en" / "passages.jsonl").is_file():
        rows |= {
            name: of_student(options)
            for name, of_student in (("gpu_student", _student), ("gpu_encode", _encode))
            if options.wants(name)
        }
    return rows


def _score(subject: Subject, textbook: Apart, options: Options) -> Row:
    settings = ReaderSettings(num_passages=_PASSAGES, max_length_tokens=_TOKENS)
    reader = FusionInDecoder(subject.model().to("cuda"), subject.tokenizer, settings)

    def score(count: int) -> None:
        questions = [*subject.readings.questions] * (count // _QUESTIONS)
        list(CrossAttention(reader).relevance(replace(subject.readings, questions=questions)))

    few = subject.readings.questions[:1]
    fast, exact = (
        list(CrossAttention(reader, precision=name).relevance(replace(subject.readings, questions=few)))
        for name in ("bf16", "fp32")
    )
    difference, to_textbook = (
        (torch.tensor(fast[0].relevance) - torch.tensor(expected)).abs().max().item()
        for expected in (exact[0].relevance, textbook.call("score", 0))
    )
    flops = sum(scoring_flops(subject.shape, lengths) for lengths in subject.lengths) / _QUESTIONS
    figures = {
        "largest_difference_to_fp32": difference,
        "largest_difference_to_textbook": to_textbook,
        "spread_of_relevance": torch.tensor(exact[0].relevance).std().item(),
    }

    def by_textbook() -> Seconds:
        return textbook.seconds(options.clock, "score", 0)

    return _row("question of 100 passages", score, _SCORED, flops, options, figures, by_textbook)


def _train(subject: Subject, dropout: float, textbook: Apart, options: Options) -> Row:
    settings = ReaderSettings(num_passages=_PASSAGES, max_length_tokens=_TOKENS)
    reader = FusionInDecoder(subject.model(), subject.tokenizer, settings)

    def train(steps: int) -> None:
        loop = ReaderTraining(
            steps=steps,
            questions_per_step=_OF_A_STEP,
            learning_rate=1e-5,
            dropout=dropout,
            save_every_seconds=1e9,
        )
        folder = options.scratch / "checkpoint"
        shutil.rmtree(folder, ignore_errors=True)
        train_reader(reader, subject.readings, loop, seed=options.seed, folder=folder)

    def by_textbook() -> Seconds:
        return textbook.seconds(options.clock, "step", range(_OF_A_STEP))

    textbook.call("set_dropout", dropout)
    of_all = sum(training_flops(subject.shape, lengths, output=ANSWER_TOKENS) for lengths in subject.lengths)
    flops = of_all / _QUESTIONS * _OF_A_STEP
    unit = f"step of {_OF_A_STEP} questions of 100 passages"
    return _row(unit, train, _STEPS, flops, options, by_textbook=by_textbook)


def _student(options: Options) -> Row:
    """Time steps of a student that meets its passages again, as from the second epoch on."""
    lesson = Lesson.make(options, several=2 * _STUDENT_QUESTIONS, each=_STUDENT_PASSAGES)
    encoder = DualEncoder.load(RetrieverSettings(model=str(minilm()), max_length_tokens=LENGTH))
    encoder.to("cuda")
    texts = [question.text for question in lesson.questions]
    chunks = [*encoder.passage_chunks(lesson.passages), *encoder.query_chunks(texts)]
    lengths = [int(count) for chunk in chunks for count in chunk.features["attention_mask"].sum(dim=1)]
    of_a_step = min(_STUDENT_QUESTIONS, len(texts))

    def train(steps: int) -> None:
        loop = RetrieverTraining(
            steps=steps, questions_per_step=of_a_step, num_passages=lesson.each, save_every_seconds=1e9
        )
        folder = options.scratch / "student-checkpoint"
        shutil.rmtree(folder, ignore_errors=True)
        train_retriever(
            encoder, lesson.questions, lesson.relevance, lesson.corpus, loop, seed=options.seed, folder=folder
        )

    flops = 3 * encoder_flops(minilm(), lengths) / len(texts) * of_a_step
    unit = f"step of {of_a_step} questions of {lesson.each} passages"
    return _row(
        unit, train, _STUDENT_STEPS, flops, options, {"tokens_of_a_step": sum(lengths) / len(texts) * of_a_step}
    )


def _encode(options: Options) -> Row:
    passages = list(islice(iter_passages(options.data / "wiki_en" / "passages.jsonl"), 1_000 * _ENCODED[1]))
    corpora = {
        count: build_corpus(passages[: 1_000 * count], options.scratch / f"corpus-{count}") for count in _ENCODED
    }
    encoder = DualEncoder.load(RetrieverSettings(model=str(minilm()), max_length_tokens=LENGTH))
    encoder.to("cuda")
    chunks = encoder.passage_chunks(passages[:1_000])
    lengths = [int(count) for chunk in chunks for count in chunk.features["attention_mask"].sum(dim=1)]

    def encode(thousands: int) -> None:
        folder = options.scratch / "vectors"
        folder.mkdir()
        encode_corpus(encoder, corpora[thousands], folder, EncodingSettings())
        shutil.rmtree(folder)

    flops = encoder_flops(minilm(), lengths)
    figures = {"tokens_a_passage": sum(lengths) / len(lengths)}
    return _row("1,000 passages", encode, _ENCODED, flops, options, figures)


def _row(
    unit: str,
    work: Callable[[int], None],
    sizes: tuple[int, int],
    flops: float,
    options: Options,
    figures: Mapping[str, float] | None = None,
    by_textbook: Callable[[], Seconds] | None = None,
) -> Row:
    """Time little and much of a work, and the textbook's: what one more takes, and what all of it takes before."""
    torch.cuda.reset_peak_memory_stats()

    def finished(size: int) -> None:
        work(size)
        torch.cuda.synchronize()

    few, many = sizes
    sides = {"few": lambda: finished(few), "many": lambda: finished(many)}
    sides |= {"textbook": by_textbook} if by_textbook else {}
    best = best_seconds(sides, repeats=options.repeats, clock=options.clock)
    peak = float(torch.cuda.max_memory_allocated())
    seconds, before = more_and_before(best["few"], best["many"], sizes)
    rate = matrix_rate(torch.bfloat16, size=_SIZE, device="cuda")
    return Row(
        unit=unit,
        seconds=seconds,
        textbook_seconds=best.get("textbook"),
        floor_seconds=flops / rate,
        figures={
            "utilisation": flops / seconds / rate,
            "tera_operations_a_second": flops / seconds / 1e12,
            "seconds_before": before,
            "peak_gigabytes": peak / 1e9,
            **(figures or {}),
        },
    )
