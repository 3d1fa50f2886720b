"""Answering: a question asked of loaded models, from text to answer, and asked again a moment later.

The reader has random weights, so that it writes as many tokens as it may: 6. Retrieval is exact over all passages of
``wiki_en``, with vectors of MiniLM's length that are random.
"""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.encode import LENGTH, minilm
from benchmarks.speed.rows import Options, Row
from benchmarks.speed.subject import make_subject
from dogeared.data.corpus import build_corpus
from dogeared.data.formats import iter_passages, iter_questions
from dogeared.reader.fid import FusionInDecoder, ReaderSettings
from dogeared.retrieval.dense import DenseRetriever
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.retrieval.index import ExactIndex
from dogeared.service import QuestionAnswering

__all__ = ["answering", "measure"]


def measure(options: Options) -> dict[str, Row]:
    """Time each part for 5, 20 and 100 passages; the row's seconds are the median of the whole."""
    numbers = (2, 3) if options.quick else (5, 20, 100)
    names = [f"ask_{k}" for k in numbers]
    if not options.wants("ask", *names) or not all(file.is_file() for file in _files(options)):
        return {}
    service, questions = answering(options)
    service().ask(questions[0], k=numbers[0])  # what is done once is done
    rows = {}
    for name, k in zip(names, numbers, strict=True):
        asked = service()
        searching, whole, again = [], [], []
        for question in questions:
            searching.append(_seconds(options, lambda q=question, s=asked, k=k: s.search(q, k=k)))
            whole.append(_seconds(options, lambda q=question, s=asked, k=k: s.ask(q, k=k)))
            again.append(_seconds(options, lambda q=question, s=asked, k=k: s.ask(q, k=k)))
        figures = {}
        reading = [total - search for total, search in zip(whole, searching, strict=True)]
        parts = {"retrieval": searching, "reading": reading, "whole": whole, "asked_again": again}
        for part, times in parts.items():
            p50, p95 = np.percentile(times, [50, 95]) * 1000
            figures |= {f"{part}_p50_milliseconds": float(p50), f"{part}_p95_milliseconds": float(p95)}
        rows[name] = Row(unit=f"question of {k} passages", seconds=float(np.median(whole)), figures=figures)
    return rows


def answering(options: Options) -> tuple[Callable[[], QuestionAnswering], list[str]]:
    """Load models, and return what answers by them, with nothing remembered each time; and questions to ask."""
    passages, asked = _files(options)
    corpus = build_corpus(islice(iter_passages(passages), 50 if options.quick else 13_982), options.scratch / "corpus")
    questions = [one.question.text for one in islice(iter_questions(asked), 3 if options.quick else 20)]
    subject = make_subject(options.scratch / "ask", quick=options.quick, num_questions=1, seed=options.seed)
    settings = ReaderSettings(num_passages=20, max_length_tokens=200, max_answer_tokens=6)
    reader = FusionInDecoder(subject.model(), subject.tokenizer, settings)
    encoder = DualEncoder.load(RetrieverSettings(model=str(minilm()), max_length_tokens=LENGTH))
    vectors = np.random.default_rng(0).standard_normal((len(corpus), encoder.dim), dtype=np.float32)
    retriever = DenseRetriever(encoder, ExactIndex(vectors), corpus, name="random")
    return lambda: QuestionAnswering(retriever=retriever, reader=reader, corpus=corpus, round=0), questions


def _files(options: Options) -> tuple[Path, Path]:
    return options.data / "wiki_en" / "passages.jsonl", options.data / "wiki_en" / "questions.jsonl"


def _seconds(options: Options, work: Callable[[], Any]) -> float:
    began = options.clock()
    work()
    return options.clock() - began
