"""What a finished run searches in: its passages as they were last changed, and the retrievers over them.

Loaded apart from the reader, so that a running service can load it anew beside the old when passages were added or
removed. The reader and what it learned stay.
"""

from dataclasses import dataclass
from pathlib import Path

from dogeared.data.corpus import Corpus
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.hybrids import load_hybrid
from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.results import read_experiment
from dogeared.pipeline.selection import Name
from dogeared.pipeline.starts import load_start
from dogeared.pipeline.steps import load_retriever
from dogeared.retrieval.base import Retriever

__all__ = ["Searched", "load_searched"]


@dataclass(frozen=True, kw_only=True)
class Searched:
    """Passages with what finds them.

    Attributes:
        corpus: Where the passages are.
        retriever: Finds them.
        before: What the run started from; None where nobody asked for it, or it finds nothing for new questions.
        edited: Where the state of the passages stands; None where none was added to the run's own or removed.
    """

    corpus: Corpus
    retriever: Retriever
    before: Retriever | None
    edited: Path | None


def load_searched(run: RunFolder, name: Name, *, hybrid: bool, both: bool) -> Searched:
    """Load the retriever of one round.

    Args:
        run: The directory; passages that were added or removed since are taken into account.
        name: Which round.
        hybrid: Fuse the retriever with BM25.
        both: Load what the run started from as well, if it can find anything for new questions.

    Raises:
        ArtifactError: The retriever is a ranking that came with the questions, or is by words already and cannot be
            made a hybrid, or something is not there.
    """
    run, experiment = run.as_edited(), read_experiment(run)
    if name == 0:
        retriever = load_start(run, experiment)
    else:
        here = run.untouched if name == "untouched" else run.round(name)
        retriever = load_retriever(data=run.data, retriever=here.retriever, vectors=here.vectors, experiment=experiment)
    if hybrid:
        retriever = load_hybrid(run, name, retriever, experiment)
    before = load_start(run, experiment) if both and experiment.start != "given" else None
    return Searched(corpus=Dataset.open(run.data).corpus, retriever=retriever, before=before, edited=run.edited)
