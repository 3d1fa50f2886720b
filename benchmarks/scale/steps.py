"""The steps that are measured, each in a process of its own, so that its peak of memory is its own.

    python -m benchmarks.scale.steps STEP FOLDER NUM_PASSAGES DATA

What a step wants from earlier ones lies in FOLDER. It prints one line of JSON.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.process_memory import bytes_held
from dogeared.data.corpus import Corpus, build_corpus
from dogeared.data.formats import iter_passages, iter_questions
from dogeared.records import Passage, Question
from dogeared.retrieval.bm25 import BM25Retriever

DIM = 384
NUM_QUESTIONS = 1_000
K = 100
NUM_EDITED = 1_000
NUM_ANSWERED = 200
_TRAININGS = ("reader_training", "retriever_training")
_WITH_MODELS = ("run", "open_run", "add", "remove")
_WITH_TORCH = ("exact", "opening", *_WITH_MODELS)


def read(folder: Path, num_passages: int, data: Path) -> None:
    """From the packed file to a corpus."""
    build_corpus(islice(_read_passages(data), num_passages), folder / "corpus")


def index(folder: Path, num_passages: int, data: Path) -> None:
    """From a corpus to a BM25 index."""
    (folder / "words").mkdir(exist_ok=True)
    BM25Retriever.build(_passages(folder)).save(folder / "words")


def words(folder: Path, num_passages: int, data: Path) -> None:
    """A thousand questions, a hundred passages each, by BM25."""
    found = BM25Retriever.load(folder / "words").retrieve(_questions(data), K)
    assert len(found) == NUM_QUESTIONS


def exact(folder: Path, num_passages: int, data: Path) -> None:
    """A thousand vectors, a hundred nearest each, exactly; the vectors are random."""
    import torch

    from dogeared.retrieval.index import ExactIndex

    torch.manual_seed(1)
    queries = torch.nn.functional.normalize(torch.randn(NUM_QUESTIONS, DIM), dim=1)
    scores, rows = ExactIndex.open(folder).search(queries, K)
    assert scores.shape == rows.shape == (NUM_QUESTIONS, min(K, num_passages))


def opening(folder: Path, num_passages: int, data: Path) -> None:
    """Everything that a question needs but the models: passages, vectors, index by words."""
    from dogeared.retrieval.index import ExactIndex

    assert len(Corpus.open(folder / "corpus")) == len(ExactIndex.open(folder)) == num_passages
    BM25Retriever.load(folder / "words")


def run(folder: Path, num_passages: int, data: Path) -> None:
    """A whole run: both retrievals of a hybrid start, and one round, of models of a million parameters.

    They read the beginning of each passage and hardly learn: what is measured afterwards is the run's folder.
    """
    import dogeared
    from dogeared.exchange.write_pairs import write_rows

    write_rows(folder / "passages.jsonl", map(asdict, islice(_read_passages(data), num_passages)))
    dogeared.run(
        passages=folder / "passages.jsonl",
        questions=_write_questions(folder / "questions.jsonl", data),
        out=folder / "run",
        preset="tiny",
        overrides=[
            'start="hybrid"',
            "num_passages=20",
            "rounds.max=1",
            "retriever.max_length_tokens=24",
            *(f"{training}.{name}=2" for training in _TRAININGS for name in ("steps", "questions_per_step")),
            "retriever_training.num_passages=5",
        ],
    )


def open_run(folder: Path, num_passages: int, data: Path) -> None:
    """A run's best round, models and all, ready to answer."""
    import dogeared

    assert dogeared.load(folder / "run").search("Who was first?", k=1)


def add(folder: Path, num_passages: int, data: Path) -> None:
    """Passages added to the run: the first thousand of the file, by other ids."""
    from dogeared.exchange.write_pairs import write_rows
    from dogeared.pipeline.editing import add_passages

    new = (replace(passage, id=f"new-{passage.id}") for passage in islice(_read_passages(data), NUM_EDITED))
    write_rows(folder / "new.jsonl", map(asdict, new))
    assert add_passages(folder / "run", folder / "new.jsonl") == num_passages + NUM_EDITED


def remove(folder: Path, num_passages: int, data: Path) -> None:
    """The same passages taken away again."""
    from dogeared.pipeline.editing import remove_passages

    ids = [f"new-{passage.id}" for passage in islice(_read_passages(data), NUM_EDITED)]
    assert remove_passages(folder / "run", ids) == num_passages


STEPS: dict[str, Callable[[Path, int, Path], None]] = {
    "read": read,
    "index": index,
    "words": words,
    "exact": exact,
    "opening": opening,
    "run": run,
    "open_run": open_run,
    "add": add,
    "remove": remove,
}


def write_vectors(folder: Path, num_passages: int) -> None:
    """Write random vectors of length 1, block by block."""
    from dogeared.retrieval.index import VECTORS_FILE

    draw = np.random.default_rng(0)
    out = np.lib.format.open_memmap(folder / VECTORS_FILE, mode="w+", dtype=np.float32, shape=(num_passages, DIM))
    for start in range(0, num_passages, 65_536):
        block = draw.standard_normal((min(65_536, num_passages - start), DIM), dtype=np.float32)
        out[start : start + len(block)] = block / np.linalg.norm(block, axis=1, keepdims=True)
    out.flush()


def _passages(folder: Path) -> Iterator[Passage]:
    return (passage for batch in Corpus.open(folder / "corpus").iter_batches(4096) for passage in batch)


def _read_passages(data: Path) -> Iterator[Passage]:
    return iter_passages(data / "enwiki2015" / "psgs_w100.tsv.xz")


def _write_questions(file: Path, data: Path) -> Path:
    """Copy a few questions: each is answered by the reader of each round."""
    with (data / "open_qa" / "dpr_trivia_dev.jsonl").open(encoding="utf-8") as given:
        file.write_text("".join(islice(given, NUM_ANSWERED)), encoding="utf-8")
    return file


def _questions(data: Path) -> list[Question]:
    given = islice(iter_questions(data / "open_qa" / "dpr_trivia_dev.jsonl"), NUM_QUESTIONS)
    return [one.question for one in given]


def main() -> None:
    """Do one step and say what it took; imports stand before the clock."""
    name, folder, num_passages, data = sys.argv[1:]
    if name in _WITH_TORCH:
        import torch  # noqa: F401

        import dogeared.retrieval.index
    if name in _WITH_MODELS:
        import sentence_transformers  # noqa: F401
        import transformers.models.bert.modeling_bert
        import transformers.models.t5.modeling_t5  # noqa: F401

        import dogeared.service  # noqa: F401
    began, used = time.perf_counter(), time.process_time()
    STEPS[name](Path(folder), int(num_passages), Path(data))
    figures = {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - used,
        "peak_bytes": bytes_held("VmHWM"),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
