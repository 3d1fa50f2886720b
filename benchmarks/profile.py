"""Where the time of a hot step goes: its operations by torch's profiler, gathered into kinds.

    python -m benchmarks.profile [STEP ...]

Each step runs until it is warm, then once under the profiler. What is printed are shares of the step's time on the
wall, by operations' own time; ``outside`` is what no operation of torch took: tokenizing, Python, reading files. The
steps are those of ``benchmarks.speed``, made of the same parts. Ratios are measured there, as a profile slows down.
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.profiler import ProfilerActivity, profile

from benchmarks.speed.__main__ import ROOT, machine
from benchmarks.speed.ask import answering
from benchmarks.speed.encode import LENGTH, minilm
from benchmarks.speed.rows import Options, multiplies_bfloat16
from benchmarks.speed.search import DIM, K, clustered
from benchmarks.speed.student import Lesson
from benchmarks.speed.subject import make_subject
from dogeared.data.corpus import build_corpus
from dogeared.data.formats import iter_passages
from dogeared.distill.teachers import CrossAttention
from dogeared.reader.fid import FusionInDecoder, ReaderSettings
from dogeared.retrieval.dense import EncodingSettings, encode_corpus
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.retrieval.index import ExactIndex
from dogeared.training.train_reader import ReaderTraining, train_reader

__all__ = ["KINDS", "STEPS", "kind", "main", "table"]

KINDS = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm", "addmv_", "_addmm_activation", "_linear_pointwise"),
    "attention beside products": ("_scaled_dot_product", "_softmax", "_BackByProducts", "_BackInFloat32"),
    "norms": ("layer_norm", "native_layer_norm", "linalg_vector_norm", "_RootMeanSquare", "rsqrt"),
    "dropout": ("_Dropped", "_RectifiedAndDropped", "random_", "ge", "addcmul"),
    "copies and casts": ("copy_", "cat", "index_select", "gather", "scatter", "embedding", "index"),
    "additions into gradients": ("add_", "AccumulateGrad"),
    "other arithmetic": (
        "add",
        "sub",
        "mul",
        "mul_",
        "div",
        "threshold_backward",
        "clamp_min_",
        "gelu",
        "where",
        "sum",
    ),
    "zeros": ("fill_", "zero_"),
    "optimizer": ("_fused_adamw_",),
    "top-k": ("topk", "sort"),
}
"""Operations by the beginnings of their names. The longest beginning decides; what has none is called the rest."""
_SHOWN = 12


Profiled = tuple[profile, float]
"""What was seen of a warm step, and how many seconds it took."""


def _warm(make: Callable[[Options], Callable[[], Any]]) -> Callable[[Options], Profiled]:
    """Turn what makes a step into what profiles it."""

    def profiled(options: Options) -> Profiled:
        step = make(options)
        for _ in range(2):
            step()
        began = time.perf_counter()
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            step()
            took = time.perf_counter() - began
        return seen, took

    return profiled


def _training(precision: Any, dropout: float) -> Callable[[Options], Profiled]:
    """Profile the third step of a training, from update to update: memory is at hand by then."""

    def profiled(options: Options) -> Profiled:
        number = 2 if options.quick else 8
        subject = make_subject(options.scratch / "train", quick=options.quick, num_questions=number)
        settings = ReaderSettings(num_passages=20, max_length_tokens=subject.padded)
        reader = FusionInDecoder(subject.model(), subject.tokenizer, settings)
        loop = ReaderTraining(
            steps=3,
            questions_per_step=number,
            learning_rate=1e-5,
            dropout=dropout,
            precision=precision,
            save_every_seconds=1e9,
        )
        seen = profile(activities=[ProfilerActivity.CPU])
        updates: list[float] = []

        def updated(*_: Any) -> None:
            updates.append(time.perf_counter())
            if len(updates) == 2:
                seen.start()
            elif len(updates) == 3:
                seen.stop()

        hook = register_optimizer_step_post_hook(updated)
        try:
            train_reader(reader, subject.readings, loop, seed=0, folder=options.scratch / "checkpoint")
        finally:
            hook.remove()
        return seen, updates[2] - updates[1]

    return profiled


def _scoring(precision: Any) -> Callable[[Options], Callable[[], Any]]:
    def make(options: Options) -> Callable[[], Any]:
        subject = make_subject(options.scratch / "score", quick=options.quick, num_questions=4 if options.quick else 8)
        settings = ReaderSettings(num_passages=20, max_length_tokens=subject.padded)
        teacher = CrossAttention(FusionInDecoder(subject.model(), subject.tokenizer, settings), precision=precision)
        return lambda: list(teacher.relevance(subject.readings))

    return make


def _learning(options: Options) -> Callable[[], Any]:
    return Lesson.make(options).step(0.1)


def _encoding(options: Options) -> Callable[[], Any]:
    passages = islice(iter_passages(options.data / "wiki_en" / "passages.jsonl"), 24 if options.quick else 512)
    corpus = build_corpus(passages, options.scratch / "corpus")
    encoder = DualEncoder.load(RetrieverSettings(model=str(minilm()), max_length_tokens=LENGTH))
    folder = options.scratch / "vectors"
    folder.mkdir()
    return lambda: encode_corpus(encoder, corpus, folder, EncodingSettings())


def _searching(options: Options) -> Callable[[], Any]:
    index = ExactIndex(clustered(3_000 if options.quick else 131_072, DIM, seed=0))
    asked = torch.from_numpy(clustered(256, DIM, seed=1))
    return lambda: index.search(asked, K)


def _answering(options: Options) -> Callable[[], Any]:
    service, questions = answering(options)
    return lambda: service().ask(questions[0], k=3 if options.quick else 20)


STEPS: dict[str, Callable[[Options], Profiled]] = {
    "score_bf16": _warm(_scoring("bf16")),
    "score_fp32": _warm(_scoring("fp32")),
    "train_bf16": _training("bf16", 0.1),
    "train_fp32": _training("fp32", 0.1),
    "train_bf16_no_dropout": _training("bf16", 0.0),
    "train_fp32_no_dropout": _training("fp32", 0.0),
    "student": _warm(_learning),
    "encode": _warm(_encoding),
    "search": _warm(_searching),
    "ask_20": _warm(_answering),
}
"""By the names of their rows in ``benchmarks.speed``."""
_READ = {"student": "passages", "encode": "passages", "ask_20": "questions"}
"""Which file of ``wiki_en`` a step reads."""


def main() -> None:
    """Profile and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"Of {', '.join(STEPS)}; all if none.")
    parser.add_argument("--quick", action="store_true", help="Show that everything runs; the shares mean nothing.")
    parser.add_argument("--threads", type=int, default=0, help="Of the computation; the machine's cores where 0.")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="The folder of data sets.")
    given = parser.parse_args()
    if unknown := [name for name in given.steps if name not in STEPS]:
        parser.error(f"no step is called {', '.join(unknown)}; there are {', '.join(STEPS)}")
    if given.threads:
        torch.set_num_threads(given.threads)
    print(machine())
    for name in given.steps or STEPS:
        file = given.data / "wiki_en" / f"{_READ.get(name)}.jsonl"
        if "bf16" in name and not multiplies_bfloat16():
            print(f"\n{name} is left out: this processor multiplies no matrices in bfloat16")
        elif name in _READ and not file.is_file():
            print(f"\n{name} is left out: there is no {file}; --data names another folder")
        else:
            with tempfile.TemporaryDirectory() as scratch:
                seen, took = STEPS[name](Options(scratch=Path(scratch), data=given.data, quick=given.quick))
            print(f"\n{name}\n{table(seen, took)}", flush=True)


def kind(operation: str) -> str:
    """Return the kind of an operation by its name.

    >>> kind("aten::mm"), kind("aten::mul_"), kind("aten::softplus")
    ('matrix products', 'other arithmetic', 'the rest')
    """
    bare = operation.rsplit("::", 1)[-1]
    begun = [(len(start), name) for name, starts in KINDS.items() for start in starts if bare.startswith(start)]
    return max(begun)[1] if begun else "the rest"


def table(seen: profile, took: float) -> str:
    """Lay out the shares of a step's seconds by kinds, and its longest operations.

    Args:
        seen: The profile.
        took: Seconds on the wall.
    """
    own = Counter({event.key: event.self_cpu_time_total / 1e6 for event in seen.key_averages()})
    kinds: Counter[str] = Counter()
    for operation, seconds in own.items():
        kinds[kind(operation)] += seconds
    kinds["outside"] = max(0.0, took - own.total())
    lines = [f"{1000 * took:10.1f} ms on the wall"]
    lines += [f"{100 * seconds / took:8.1f} %  {name}" for name, seconds in kinds.most_common() if seconds]
    lines += ["  of these:"]
    lines += [f"{100 * seconds / took:8.1f} %  {name}" for name, seconds in own.most_common(_SHOWN)]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
