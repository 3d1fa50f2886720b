"""Where things stand in a run's directory; the only place that spells their names.

::

    DIR/
        data/                     the dataset
        words/                    the lexical index (start = "bm25" or "tfidf")
        start/                    the first retrieval by vectors: its ranking in a hybrid, maybe its encoder
        hybrid/                   untouched student and best round fused with BM25: measures
        untouched/                the student before any distillation: retriever, vectors, ranking, measures
        round-0/                  ranking, maybe reranker-relevance and reranked, reader, relevance-eval, measures
        round-1/, round-2/, ...   the same, and relevance (by the reader of the round before), retriever, vectors
        edited/000001/            passages as they were changed after the run: data, words, vectors of each retriever
        experiment.json           the settings in full
        results.json              for a program
        report.html               for a person
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dogeared.artifacts import MANIFEST

__all__ = ["RoundFolder", "RunFolder"]


@dataclass(frozen=True)
class RoundFolder:
    """The artifacts of one round, or of the untouched student.

    Attributes:
        path: Where they stand.
        edited: Where the vectors stand since passages were added or removed.
    """

    path: Path
    edited: Path | None = None

    @property
    def relevance(self) -> Path:
        """What the reader of the round before said of its passages of training questions."""
        return self.path / "relevance"

    @property
    def retriever(self) -> Path:
        """The student."""
        return self.path / "retriever"

    @property
    def vectors(self) -> Path:
        """The corpus as the student encoded it."""
        return (self.edited or self.path) / "vectors"

    @property
    def ranking(self) -> Path:
        """What was retrieved for all questions."""
        return self.path / "ranking"

    @property
    def reranker_relevance(self) -> Path:
        """What the re-ranker says of the passages of this ranking, where there is one."""
        return self.path / "reranker-relevance"

    @property
    def reranked(self) -> Path:
        """The ranking in the re-ranker's order, where there is one."""
        return self.path / "reranked"

    @property
    def reader(self) -> Path:
        """The reader trained on this ranking."""
        return self.path / "reader"

    @property
    def relevance_eval(self) -> Path:
        """What this reader says of the passages of dev and test questions."""
        return self.path / "relevance-eval"

    @property
    def teacher_eval(self) -> Path:
        """What the teacher says of the passages of dev questions, where it is not the reader's attention."""
        return self.path / "teacher-eval"

    @property
    def measures(self) -> Path:
        """The round in numbers, and its predictions."""
        return self.path / "measures"

    def artifacts(self) -> list[Path]:
        """List the finished artifacts of this round."""
        return sorted(path.parent for path in self.path.glob(f"*/{MANIFEST}") if path.parent.suffix == "")


@dataclass(frozen=True)
class RunFolder:
    """A run's directory.

    Attributes:
        path: Where it is.
        edited: What to search in instead of what the run was made with, if passages were added or removed since.
    """

    path: Path
    edited: Path | None = None

    @property
    def edits(self) -> Path:
        """What ``add-passages`` and ``remove-passages`` made."""
        return self.path / "edited"

    def as_edited(self) -> "RunFolder":
        """Return the run with its passages, index and vectors as they were last changed; itself if they never were."""
        made = sorted(path.parent for path in self.edits.glob(f"*/{MANIFEST}") if path.parent.suffix == "")
        return RunFolder(self.path, made[-1]) if made else self

    @property
    def data(self) -> Path:
        """The dataset."""
        return (self.edited or self.path) / "data"

    @property
    def words(self) -> Path:
        """The lexical index that the run starts from."""
        return (self.edited or self.path) / "words"

    @property
    def start(self) -> RoundFolder:
        """The encoder of a first retrieval that is not the student, and the ranking that goes into a hybrid."""
        return self.folder("start")

    @property
    def hybrid_words(self) -> Path:
        """The BM25 index, where the run does not start from it."""
        return (self.edited or self.path) / "hybrid" / "words"

    @property
    def hybrid_ranking(self) -> Path:
        """What BM25 retrieves, where the run does not start from it."""
        return self.path / "hybrid" / "ranking"

    def hybrid(self, name: int | Literal["untouched"]) -> RoundFolder:
        """The measures of a round, or of the untouched student, fused with BM25."""
        return RoundFolder(self.path / "hybrid" / (name if isinstance(name, str) else f"round-{name}"))

    @property
    def untouched(self) -> RoundFolder:
        """The student before any distillation."""
        return self.folder("untouched")

    def round(self, number: int) -> RoundFolder:
        """The artifacts of a round."""
        return self.folder(f"round-{number}")

    @property
    def experiment(self) -> Path:
        """All settings."""
        return self.path / "experiment.json"

    @property
    def results(self) -> Path:
        """The run in numbers, for a program."""
        return self.path / "results.json"

    @property
    def report(self) -> Path:
        """The run for a person."""
        return self.path / "report.html"

    def folder(self, name: str) -> RoundFolder:
        """Return the artifacts of a round by the name of its folder."""
        return RoundFolder(self.path / name, None if self.edited is None else self.edited / name)
