"""Answer questions with what a run has made.

A ``QuestionAnswering`` holds a retriever and the reader that belongs to it, loaded once. A question becomes passages,
an answer, and how relevant the reader found each passage; answer and relevance come from one encoding of the passages.
Any number of threads may ask: the models are used by one at a time.

There is no HTTP here, no argument parsing, no training and no printing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import torch

from dogeared.compute import Precision, autocast
from dogeared.data.corpus import Corpus
from dogeared.distill.relevance import PAPER, Aggregation
from dogeared.distill.teachers import fused_relevance
from dogeared.errors import DataError
from dogeared.pipeline.config import Experiment
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.hybrids import load_hybrid
from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.results import read_experiment, read_results
from dogeared.pipeline.selection import Name
from dogeared.pipeline.starts import load_start
from dogeared.pipeline.steps import load_reader, load_retriever
from dogeared.reader.fid import FusionInDecoder
from dogeared.reader.text_tokens import text_tokens
from dogeared.records import Passage, Question
from dogeared.retrieval.base import Retriever

__all__ = ["Answered", "Found", "QuestionAnswering"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A passage that was retrieved for a question.

    Attributes:
        passage: The passage.
        score: The retriever's; comparable within one question only.
        relevance: The reader's; comparable within one question only. None where no reader was asked.
    """

    passage: Passage
    score: float
    relevance: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """A question with its answer and what it was read from.

    Attributes:
        question: As it was asked, without surrounding space.
        answer: What the reader wrote; may be empty.
        passages: All that the reader read, best first.
    """

    question: str
    answer: str
    passages: tuple[Found, ...]


class QuestionAnswering:
    """A retriever and a reader, ready to answer.

    Args:
        retriever: Finds passages of ``corpus``.
        reader: Reads them.
        corpus: Where the passages are.
        round: What retriever and reader are of: the number of a round, or ``untouched``.
        aggregation: How the reader's attention becomes relevance.
        precision: Of the reader's matrix products.
    """

    def __init__(
        self,
        *,
        retriever: Retriever,
        reader: FusionInDecoder,
        corpus: Corpus,
        round: Name,  # noqa: A002 - the project's word
        aggregation: Aggregation = PAPER,
        precision: Precision = "auto",
    ) -> None:
        self.round: Name = round
        self._retriever = retriever
        self._reader = reader.eval()
        self._corpus = corpus
        self._aggregation = aggregation
        self._precision: Precision = precision
        self._models = Lock()

    @classmethod
    def open(cls, folder: Path, *, hybrid: bool = False) -> "QuestionAnswering":
        """Load the best round of a finished run.

        Where the untouched student is best, it is read by the reader of the first retrieval.

        Args:
            folder: The directory of the run.
            hybrid: Fuse the retriever with BM25; the reader gets what both find.

        Raises:
            ArtifactError: There is no run with results, or its best retriever is a ranking that came with the
                questions and finds nothing for new ones, or is by words already and cannot be made a hybrid.
        """
        run = RunFolder(folder)
        best: Name = read_results(run)["best"]
        experiment = read_experiment(run)
        retriever = _load_retriever(run, best, experiment)
        if hybrid:
            retriever = load_hybrid(run, best, retriever, experiment)
        reader_round = run.round(0 if best == "untouched" else best)
        return cls(
            retriever=retriever,
            reader=load_reader(reader_round.reader, experiment),
            corpus=Dataset.open(run.data).corpus,
            round=best,
            aggregation=experiment.relevance,
            precision=experiment.reader_training.precision,
        )

    @property
    def retriever_name(self) -> str:
        """What reports call the retriever."""
        return self._retriever.name

    def search(self, question: str, *, k: int = 10) -> list[Found]:
        """List passages for a question, best first; the reader is not asked.

        Args:
            question: Any text that is not blank.
            k: How many at most; fewer come where the retriever has no more.

        Raises:
            DataError: The question is blank, or ``k`` is less than 1.
        """
        text = _checked(question, k)
        with self._models:
            return self._search(text, k)

    def ask(self, question: str, *, k: int | None = None, rerank: bool = False) -> Answered:
        """Answer a question from passages.

        Args:
            question: Any text that is not blank.
            k: How many passages to read; as many as the reader was trained with where None. More cost more, linearly.
            rerank: Order the passages by the reader's relevance, not by the retriever's score. The answer is the same.

        Raises:
            DataError: The question is blank, or ``k`` is less than 1.
        """
        text = _checked(question, k)
        k = self._reader.settings.num_passages if k is None else k
        with self._models:
            found = self._search(text, k) if k else []  # a reader trained without passages answers without
            answer, relevance = self._read(text, [one.passage for one in found])
        judged = [replace(one, relevance=value) for one, value in zip(found, relevance, strict=True)]
        if rerank:
            judged = [one for _, one in sorted(zip(relevance, judged, strict=True), key=lambda pair: -pair[0])]
        return Answered(question=text, answer=answer, passages=tuple(judged))

    def _search(self, text: str, k: int) -> list[Found]:
        (ranking,) = self._retriever.retrieve([Question(id="", text=text)], k)
        passages = self._corpus.passages(self._corpus.rows_of(ranking.passage_ids))
        return [Found(passage=passage, score=score) for passage, score in zip(passages, ranking.scores, strict=True)]

    @torch.inference_mode()
    def _read(self, text: str, passages: Sequence[Passage]) -> tuple[str, list[float]]:
        """Encode once; look at the first step of the decoder, then let it write."""
        batch = self._reader.batch([text], [passages])
        text_only = self._aggregation.input_tokens == "passage"
        counted = text_tokens(self._reader, [text], [passages]) if text_only else None
        with autocast(self._precision, self._reader.device):
            fused = self._reader.fuse(batch)
            relevance = fused_relevance(self._reader, fused, self._aggregation, counted=counted)
            ids = self._reader.generate_ids(fused)
        (answer,) = self._reader.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return answer.strip(), relevance[0].tolist()


def _load_retriever(run: RunFolder, best: Name, experiment: Experiment) -> Retriever:
    if best == 0:
        return load_start(run, experiment)
    here = run.untouched if best == "untouched" else run.round(best)
    return load_retriever(data=run.data, retriever=here.retriever, vectors=here.vectors, experiment=experiment)


def _checked(question: str, k: int | None) -> str:
    """Return the question without surrounding space."""
    if not (text := question.strip()):
        raise DataError("expected a question, got blank text; there is nothing to search for", field="question")
    if k is not None and k < 1:
        raise DataError(f"expected at least 1 passage, got {k}; an answer needs something to be read from", field="k")
    return text
