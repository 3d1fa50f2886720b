"""What a GPU makes of it: a reader of T5-base's shape with 100 passages of 250 tokens, and the encoding of passages.

There is no textbook beside it: the bar is how much of the GPU's rate of matrix products is used, counted as in
``floor.py``. From text to relevance, from text to updated weights, from text to vectors on disk: tokenizing is part of
it. Measured in bfloat16, where there is a GPU with CUDA.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import torch

from benchmarks.speed.encode import LENGTH, encoder_flops, minilm
from benchmarks.speed.floor import matrix_rate, scoring_flops, training_flops
from benchmarks.speed.rows import Options, Row, best_seconds
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
_QUESTIONS, _STEPS, _SCORED = 4, 8, 120  # of a step, steps, and questions that are scored: eight, over and over
_DISTINCT = 8
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
            num_questions=_DISTINCT,
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
    times = 1 if options.quick else _SCORED // _DISTINCT
    many = replace(subject.readings, questions=[*subject.readings.questions] * times)
    seconds, peak = _timed(lambda: list(CrossAttention(reader).relevance(many)), options)
    few = subject.readings.questions[:1]
    fast, exact = (
        list(CrossAttention(reader, precision=name).relevance(replace(subject.readings, questions=few)))
        for name in ("bf16", "fp32")
    )
    difference = torch.tensor(fast[0].relevance) - torch.tensor(exact[0].relevance)
    flops = times * sum(scoring_flops(subject.shape, lengths) for lengths in subject.lengths)
    figures = {
        "largest_difference_to_fp32": difference.abs().max().item(),
        "spread_of_relevance": torch.tensor(exact[0].relevance).std().item(),
    }
    return _row("question of 100 passages", len(many), seconds, peak, flops, figures)


def _train(subject: Subject, options: Options) -> Row:
    settings = ReaderSettings(num_passages=_PASSAGES, max_length_tokens=_TOKENS)
    reader = FusionInDecoder(subject.model(), subject.tokenizer, settings)
    loop = ReaderTraining(
        steps=_STEPS,
        questions_per_step=_QUESTIONS,
        learning_rate=1e-5,
        dropout=0.0,
        save_every_seconds=1e9,
    )

    def train() -> None:
        folder = options.scratch / "checkpoint"
        shutil.rmtree(folder, ignore_errors=True)
        train_reader(reader, subject.readings, loop, seed=options.seed, folder=folder)

    seconds, peak = _timed(train, options)
    flops = sum(training_flops(subject.shape, lengths, output=ANSWER_TOKENS) for lengths in subject.lengths)
    trained = _STEPS * _QUESTIONS
    return _row("question of 100 passages", trained, seconds, peak, flops * trained / _DISTINCT, {})


def _encode(options: Options) -> Row:
    num = 64 if options.quick else 13_000
    corpus = build_corpus(
        islice(iter_passages(options.data / "wiki_en" / "passages.jsonl"), num), options.scratch / "corpus"
    )
    encoder = DualEncoder.load(RetrieverSettings(model=str(minilm()), max_length_tokens=LENGTH))
    encoder.to("cuda")
    some = encoder.passage_chunks(corpus.passages(range(min(num, 512))))
    lengths = [int(count) for chunk in some for count in chunk.features["attention_mask"].sum(dim=1)]
    folder = options.scratch / "vectors"
    folder.mkdir()
    seconds, peak = _timed(lambda: encode_corpus(encoder, corpus, folder, EncodingSettings()), options)
    flops = encoder_flops(minilm(), lengths) * num / len(lengths)
    return _row("1,000 passages", num / 1000, seconds, peak, flops, {"tokens_a_passage": sum(lengths) / len(lengths)})


def _timed(work: Callable[[], object], options: Options) -> tuple[float, float]:
    """Return the best time, and the most memory that tensors took."""
    torch.cuda.reset_peak_memory_stats()

    def finished() -> None:
        work()
        torch.cuda.synchronize()

    seconds = best_seconds({"": finished}, repeats=options.repeats, clock=options.clock)[""]
    return seconds, float(torch.cuda.max_memory_allocated())


def _row(unit: str, count: float, seconds: float, peak: float, flops: float, figures: dict[str, float]) -> Row:
    rate = matrix_rate(torch.bfloat16, size=_SIZE, device="cuda")
    return Row(
        unit=unit,
        seconds=seconds / count,
        floor_seconds=flops / rate / count,
        figures={
            "utilisation": flops / seconds / rate,
            "tera_operations_a_second": flops / seconds / 1e12,
            "peak_gigabytes": peak / 1e9,
            **figures,
        },
    )
