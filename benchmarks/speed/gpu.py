"""What a GPU makes of it: a reader of T5-base's shape with 100 passages of 250 tokens, and the encoding of passages.

There is no textbook beside it: the bar is how much of the GPU's rate of matrix products is used, counted as in
``floor.py``. From text to relevance, from text to updated weights, from text to vectors on disk: tokenizing is part of
it. Little and much are done, and the difference counts: what comes before either is named beside it. Measured in
bfloat16, where there is a GPU with CUDA.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice

import torch

from benchmarks.speed.encode import LENGTH, encoder_flops, minilm
from benchmarks.speed.floor import matrix_rate, scoring_flops, training_flops
from benchmarks.speed.rows import Options, Row, best_seconds, more_and_before
from benchmarks.speed.subject import ANSWER_TOKENS, Subject, make_subject
from dogeared.data.corpus import build_corpus
from dogeared.data.formats import iter_passages
from dogeared.distill.teachers import CrossAttention
from dogeared.reader.fid import FusionInDecoder, ReaderSettings
from dogeared.retrieval.dense import EncodingSettings, encode_corpus
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.training.train_reader import ReaderTraining, train_reader

__all__ = ["measure"]

_T5_BASE = {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12}
_PASSAGES, _TOKENS = 100, 250
_QUESTIONS = 8  # that there are; more are the same over and over
_SCORED, _STEPS, _ENCODED = (40, 160), (4, 12), (3, 13)  # few and many questions, steps, thousands of passages
_OF_A_STEP = 4
_SIZE = 8192  # of the matrices whose product is the rate


def measure(options: Options) -> dict[str, Row]:
    """Time scoring, training and encoding; nothing where there is no GPU."""
    if not torch.cuda.is_available():
        return {}
    rows: dict[str, Row] = {}
    if options.wants("gpu_score", "gpu_train"):
        subject = make_subject(
            options.scratch / "gpu",
            quick=options.quick,
            num_questions=_QUESTIONS,
            num_passages=_PASSAGES,
            tokens=(_TOKENS, _TOKENS),
            padded=_TOKENS,
            seed=options.seed,
            sizes=_T5_BASE,
        )
        if options.wants("gpu_score"):
            rows["gpu_score"] = _score(subject, options)
        if options.wants("gpu_train"):
            rows["gpu_train"] = _train(subject, options)
    if options.wants("gpu_encode") and (options.data / "wiki_en" / "passages.jsonl").is_file():
        rows["gpu_encode"] = _encode(options)
    return rows


def _score(subject: Subject, options: Options) -> Row:
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
    difference = torch.tensor(fast[0].relevance) - torch.tensor(exact[0].relevance)
    flops = sum(scoring_flops(subject.shape, lengths) for lengths in subject.lengths) / _QUESTIONS
    figures = {
        "largest_difference_to_fp32": difference.abs().max().item(),
        "spread_of_relevance": torch.tensor(exact[0].relevance).std().item(),
    }
    return _row("question of 100 passages", score, _SCORED, flops, options, figures)


def _train(subject: Subject, options: Options) -> Row:
    settings = ReaderSettings(num_passages=_PASSAGES, max_length_tokens=_TOKENS)
    reader = FusionInDecoder(subject.model(), subject.tokenizer, settings)

    def train(steps: int) -> None:
        loop = ReaderTraining(
            steps=steps,
            questions_per_step=_OF_A_STEP,
            learning_rate=1e-5,
            dropout=0.0,
            save_every_seconds=1e9,
        )
        folder = options.scratch / "checkpoint"
        shutil.rmtree(folder, ignore_errors=True)
        train_reader(reader, subject.readings, loop, seed=options.seed, folder=folder)

    of_all = sum(training_flops(subject.shape, lengths, output=ANSWER_TOKENS) for lengths in subject.lengths)
    return _row(
        f"step of {_OF_A_STEP} questions of 100 passages", train, _STEPS, of_all / _QUESTIONS * _OF_A_STEP, options
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
) -> Row:
    """Time little and much of a work: what one more of it takes, and what all of it takes before."""
    torch.cuda.reset_peak_memory_stats()

    def finished(size: int) -> None:
        work(size)
        torch.cuda.synchronize()

    few, many = sizes
    best = best_seconds(
        {"few": lambda: finished(few), "many": lambda: finished(many)}, repeats=options.repeats, clock=options.clock
    )
    peak = float(torch.cuda.max_memory_allocated())
    seconds, before = more_and_before(best["few"], best["many"], sizes)
    rate = matrix_rate(torch.bfloat16, size=_SIZE, device="cuda")
    return Row(
        unit=unit,
        seconds=seconds,
        floor_seconds=flops / rate,
        figures={
            "utilisation": flops / seconds / rate,
            "tera_operations_a_second": flops / seconds / 1e12,
            "seconds_before": before,
            "peak_gigabytes": peak / 1e9,
            **(figures or {}),
        },
    )
