"""Add passages to a finished run, or remove some: nothing is trained again, and only new passages are encoded.

What was measured stays as it was measured. Beside the run a new state is made, whole or not at all: the corpus, the
index by words, which is made anew because the weight of a word depends on all passages, and the vectors of every
retriever that is still there. A run that is trained further afterwards encodes the changed passages with what it made
since. ``ask``, ``search`` and ``serve`` use the newest state; the one before it is then
removed. New passages come after the old ones, which keep their order.

The retriever and the reader have not seen new passages in training; many of another kind want a new run.
"""

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from dogeared.artifacts import MANIFEST, file_fingerprint, is_discarded, read_manifest, write_artifact
from dogeared.compute import default_device
from dogeared.data.corpus import Corpus, build_corpus
from dogeared.data.formats import iter_passages
from dogeared.errors import DataError
from dogeared.locks import hold
from dogeared.pipeline.config import Experiment
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.lexical import load_words
from dogeared.pipeline.results import read_experiment, read_results
from dogeared.pipeline.starts import start_experiment
from dogeared.pipeline.steps import load_encoder
from dogeared.records import Passage
from dogeared.retrieval.approximate import build_approximate
from dogeared.retrieval.dense import carry_vectors
from dogeared.retrieval.words import index_corpus

__all__ = ["add_passages", "complete_edited", "remove_passages"]


def add_passages(folder: Path, file: Path) -> int:
    """Add all passages of a file to a finished run, and return how many it then has.

    Args:
        folder: The directory of a run.
        file: Passages in any format that ``run`` reads.

    Raises:
        DataError: A row is bad, or an id is taken.
        ArtifactError: There is no finished run, or another process works in its directory.
    """

    def new(corpus: Corpus) -> Iterator[Passage]:
        for passage in iter_passages(file):
            if passage.id in corpus:
                raise DataError(
                    f"expected ids that no passage has yet, found {passage.id!r}, which is taken; to change a passage, "
                    "remove it first",
                    file=file,
                    field="id",
                )
            yield passage

    with hold(folder):
        run = _finished(folder)
        corpus = Dataset.open(run.data).corpus
        return _edit(run, corpus, range(len(corpus)), new(corpus), {"added": file_fingerprint(file)})


def remove_passages(folder: Path, passage_ids: Iterable[str]) -> int:
    """Remove passages from a finished run by their ids, and return how many it has left.

    Raises:
        DataError: No passage has one of the ids, or none would be left.
        ArtifactError: There is no finished run, or another process works in its directory.
    """
    ids = sorted(set(passage_ids))
    with hold(folder):
        run = _finished(folder)
        corpus = Dataset.open(run.data).corpus
        gone = set(corpus.rows_of(ids))
        if len(gone) == len(corpus):
            raise DataError(f"expected to keep at least one passage, got the ids of all {len(corpus)}")
        kept = [row for row in range(len(corpus)) if row not in gone]
        digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]
        return _edit(run, corpus, kept, (), {"removed": digest})


def complete_edited(run: RunFolder) -> None:
    """Encode the passages as they were changed with retrievers made since, when a run is trained further.

    Where passages were never changed, or all is there, nothing is done. The run's directory is held by the caller.
    """
    newest = run.as_edited()
    if newest.edited is None:
        return
    missing = [
        name
        for name in _retrievers(run)
        if _are_there(run.folder(name).vectors) and not (newest.folder(name).vectors / MANIFEST).is_file()
    ]
    if missing:
        corpus = Dataset.open(newest.data).corpus
        _edit(newest, corpus, range(len(corpus)), (), {"encoded": ", ".join(missing)})


def _finished(folder: Path) -> RunFolder:
    run = RunFolder(folder)
    read_results(run)
    return run.as_edited()


def _edit(run: RunFolder, corpus: Corpus, kept: Sequence[int], new: Iterable[Passage], change: dict[str, str]) -> int:
    """Make the next state from the newest."""
    experiment = read_experiment(run)
    number = 1 if run.edited is None else int(run.edited.name) + 1
    out = run.edits / f"{number:06d}"
    before = read_manifest(run.edited or run.data).fingerprint
    with write_artifact(out, kind="edit_passages", settings=change, inputs={}) as (folder, facts):
        after = RunFolder(run.path, folder)
        edited = _edit_corpus(run.data, after.data, corpus, kept, new)
        for old, made in ((run.words, after.words), (run.hybrid_words, after.hybrid_words)):
            if (old / MANIFEST).is_file():
                _index_words(old, made, edited)
        for name in _retrievers(run):
            _carry(run, after, name, edited, kept, experiment)
        facts |= {"before": before, "num_passages": len(edited), "num_new": len(edited) - len(kept)}
    for older in run.edits.iterdir():  # the state before, and what a killed process left
        if older != out:
            stale = older.with_suffix(".stale")
            older.rename(stale)
            shutil.rmtree(stale)
    return len(edited)


def _edit_corpus(old: Path, made: Path, corpus: Corpus, kept: Sequence[int], new: Iterable[Passage]) -> Corpus:
    manifest = read_manifest(old)
    with write_artifact(made, kind=manifest.kind, settings=manifest.settings, inputs={}) as (folder, _):
        shutil.copyfile(old / "questions.jsonl", folder / "questions.jsonl")
        build_corpus(chain((corpus.passage(row) for row in kept), new), folder / "corpus")
    return Dataset.open(made).corpus


def _index_words(old: Path, made: Path, corpus: Corpus) -> None:
    manifest, before = read_manifest(old), load_words(old)
    kind, settings = type(before), before.settings
    del before  # it need not be held while the next one is made
    with write_artifact(made, kind=manifest.kind, settings=manifest.settings, inputs={}) as (folder, _):
        index_corpus(kind, corpus, settings).save(folder)


def _carry(
    run: RunFolder, after: RunFolder, name: str, corpus: Corpus, kept: Sequence[int], experiment: Experiment
) -> None:
    """Carry the vectors of one retriever over, if it still has its own and them."""
    old, made = run.folder(name), after.folder(name).vectors
    vectors = old.vectors
    if run.edited is not None and not (vectors / MANIFEST).is_file():
        # It was made after the passages were changed, and has encoded them as they were before.
        first = RunFolder(run.path)
        vectors = first.folder(name).vectors
        kept = _rows_before(Dataset.open(first.data).corpus, corpus) if _are_there(vectors) else ()
    if not _are_there(vectors) or is_discarded(old.retriever):
        return
    manifest = read_manifest(vectors)
    with write_artifact(made, kind=manifest.kind, settings=manifest.settings, inputs={}) as (folder, _):
        encoder = load_encoder(old.retriever, start_experiment(experiment) if name == "start" else experiment)
        encoder.to(default_device())
        carry_vectors(encoder, corpus, vectors, folder, experiment.encoding, kept=kept)
        build_approximate(folder, experiment.index)


def _retrievers(run: RunFolder) -> list[str]:
    """Name the folders of a run in which a retriever stands."""
    return sorted(path.parent.parent.name for path in run.path.glob(f"*/retriever/{MANIFEST}"))


def _are_there(vectors: Path) -> bool:
    return (vectors / MANIFEST).is_file() and not is_discarded(vectors)


def _rows_before(was: Corpus, now: Corpus) -> list[int]:
    """Return where the passages with which a changed corpus begins stand in the one that it was made of."""
    rows: list[int] = []
    for batch in now.iter_batches(4096):
        for passage in batch:
            row = was.row_of(passage.id) if passage.id in was else -1
            if row <= (rows[-1] if rows else -1) or was.passage(row) != passage:
                return rows
            rows.append(row)
    return rows
