"""Answer questions with what a run has made.

A ``QuestionAnswering`` holds a retriever and the reader that belongs to it, loaded once. A question becomes passages,
an answer, and how relevant the reader found each passage; answer and relevance come from one encoding of the passages,
which is remembered for a while.
Questions that are asked together are encoded and read together. Any number of threads may ask: the models are used by
one at a time.

There is no HTTP here, no argument parsing, no training and no printing.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock

import torch

from dogeared.compute import Precision, autocast, keep_freed_memory
from dogeared.data.corpus import Corpus
from dogeared.distill.relevance import PAPER, Aggregation
from dogeared.errors import ArtifactError, DataError
from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.reranking import Reranking, load_reranker
from dogeared.pipeline.results import read_experiment, read_results
from dogeared.pipeline.selection import Name
from dogeared.pipeline.steps import load_reader
from dogeared.reader.answering import questions_per_batch
from dogeared.reader.kinds import Reader
from dogeared.records import Passage, Question
from dogeared.retrieval.base import Retriever
from dogeared.retrieval.dense import DenseRetriever
from dogeared.serving.answered import Answered, Asked, Found, Side
from dogeared.serving.choices import choice_likelihoods
from dogeared.serving.reading import judge, read
from dogeared.serving.recent import RecentStates
from dogeared.serving.searched import Searched, load_searched

__all__ = ["Answered", "Asked", "Found", "QuestionAnswering", "Side"]


class QuestionAnswering:
    """A retriever and a reader, ready to answer.

    Args:
        retriever: Finds passages of ``corpus``.
        reader: Reads them.
        corpus: Where the passages are.
        round: What retriever and reader are of: the number of a round, or ``untouched``.
        aggregation: How the reader's attention becomes relevance; an extractive reader does not ask.
        precision: Of the reader's matrix products.
        before: What the run started from, to compare with; None where nobody will, or there is none.
        reranker: Puts passages in order before the reader reads; None where the reader was trained without.

    Attributes:
        edited: Which change of the passages, by ``add-passages`` or ``remove-passages``, is searched in; None for none.
    """

    def __init__(
        self,
        *,
        retriever: Retriever,
        reader: Reader,
        corpus: Corpus,
        round: Name,  # noqa: A002 - the project's word
        aggregation: Aggregation = PAPER,
        precision: Precision = "auto",
        before: Retriever | None = None,
        reranker: Reranking | None = None,
    ) -> None:
        self.round: Name = round
        self.edited: Path | None = None
        self._retriever = retriever
        self._before = before
        self._reranker = reranker
        self._reader = reader.eval()
        self._corpus = corpus
        self._aggregation = aggregation
        self._precision: Precision = precision
        self._recent = RecentStates()
        self._models = Lock()

    @classmethod
    def open(cls, folder: Path, *, hybrid: bool = False, both: bool = False) -> "QuestionAnswering":
        """Load the best round of a finished run.

        Where the untouched student is best, it is read by the reader of the first retrieval.

        Args:
            folder: The directory of the run.
            hybrid: Fuse the retriever with BM25; the reader gets what both find.
            both: Load the retriever that the run started from as well, if it can find anything for new questions.

        Raises:
            ArtifactError: There is no run with results, or its best retriever is a ranking that came with the
                questions and finds nothing for new ones, or is by words already and cannot be made a hybrid.
        """
        keep_freed_memory()
        run = RunFolder(folder)
        best: Name = read_results(run)["best"]
        experiment = read_experiment(run)
        searched = load_searched(run, best, hybrid=hybrid, both=both)
        reader_round = run.round(0 if best == "untouched" else best)
        opened = cls(
            retriever=searched.retriever,
            before=searched.before,
            reader=load_reader(reader_round.reader, experiment),
            corpus=searched.corpus,
            round=best,
            aggregation=experiment.relevance,
            precision=experiment.reader_training.precision,
            reranker=load_reranker(experiment),
        )
        opened.edited = searched.edited
        return opened

    def search_in(self, searched: Searched) -> None:
        """Search in other passages from now on; the reader stays.

        Questions that are being answered are answered from the old ones, those that come after from the new.
        """
        with self._models:
            self._retriever, self._before, self._corpus = searched.retriever, searched.before, searched.corpus
            self.edited = searched.edited

    @property
    def retriever_name(self) -> str:
        """What reports call the retriever."""
        return self._retriever.name

    @property
    def sides(self) -> dict[Side, str]:
        """Which retrievers there are, and what reports call them."""
        before: dict[Side, str] = {} if self._before is None else {"before": self._before.name}
        return {**before, "after": self._retriever.name}

    def search(self, question: str, *, k: int = 10, side: Side = "after") -> list[Found]:
        """List passages for a question, best first; the reader is not asked.

        Args:
            question: Any text that is not blank.
            k: How many at most; fewer come where the retriever has no more.
            side: Which retriever.

        Raises:
            DataError: The question is blank, or ``k`` is less than 1.
            ArtifactError: There is no such retriever.
        """
        return self.search_many([Asked(question=question, k=k, side=side)])[0]

    def search_reranked(self, question: str, *, k: int = 10, side: Side = "after") -> list[Found]:
        """List passages in the order of the run's re-ranker, or of the reader's relevance where it has none.

        The reader judges the ``k`` passages that were retrieved; the re-ranker, as many as it does in the run.

        Raises:
            DataError: The question is blank, or ``k`` is less than 1.
            ArtifactError: There is no such retriever.
        """
        asked = Asked(question=question, k=k, side=side)
        if self._reranker is not None:
            with self._models:
                return self._search([_checked(question, k)], [asked], rerank=True)[0]
        found = self.search_many([asked])[0]
        judged = self.judge(question, [one.passage for one in found])
        pairs = [replace(one, score=value, relevance=value) for one, value in zip(found, judged, strict=True)]
        return sorted(pairs, key=lambda one: -one.score)

    def search_many(self, asked: Sequence[Asked]) -> list[list[Found]]:
        """List passages for several questions at once, as ``search`` does for one."""
        texts = [_checked(one.question, one.k) for one in asked]
        with self._models:
            return self._search(texts, asked)

    def ask(self, question: str, *, k: int | None = None, rerank: bool = False) -> Answered:
        """Answer a question from passages.

        Args:
            question: Any text that is not blank.
            k: How many passages to read; as many as the reader was trained with where None. More cost more, linearly.
            rerank: Order the passages by the reader's relevance, not by the retriever's score. The answer is the same.

        Raises:
            DataError: The question is blank, or ``k`` is less than 1.
        """
        (answered,) = self.ask_many([Asked(question=question, k=k)])
        if not rerank:
            return answered
        return replace(answered, passages=tuple(sorted(answered.passages, key=lambda one: -(one.relevance or 0.0))))

    def ask_many(self, asked: Sequence[Asked]) -> list[Answered]:
        """Answer several questions at once, each as if it were asked alone, up to rounding.

        Raises:
            DataError: A question is blank, or its ``k`` is less than 1.
            ArtifactError: There is no such retriever.
        """
        texts = [_checked(one.question, one.k) for one in asked]
        with self._models:
            found = self._search(texts, asked, rerank=True)
            most = max((len(passages) for passages in found), default=0)
            size = questions_per_batch(self._reader.settings, self._reader.device, num_passages=most)
            answered: list[Answered] = []
            for start in range(0, len(texts), size):
                part = slice(start, start + size)
                answered += self._read(texts[part], found[part], asked[part])
        return answered

    def choose(
        self, question: str, choices: Sequence[str], *, k: int | None = None, side: Side = "after"
    ) -> dict[str, float]:
        """Say how likely each of several answers is among them, after reading passages; the likeliest first.

        Args:
            question: Any text that is not blank.
            choices: Two or more different answers; nothing else comes out.
            k: How many passages to read, as ``ask`` does.
            side: Which retriever finds them.

        Raises:
            ConfigError: The reader marks spans, and can say only what a passage says.
            DataError: The question is blank, or the choices cannot be told apart.
            ArtifactError: There is no such retriever.
        """
        text = _checked(question, k)
        with self._models:
            (found,) = self._search([text], [Asked(question=question, k=k, side=side)], rerank=True)
            passages = [one.passage for one in found]
            likely = choice_likelihoods(self._reader, text, passages, choices, precision=self._precision)
        shares = dict(zip(choices, likely.softmax(dim=0).tolist(), strict=True))
        return dict(sorted(shares.items(), key=lambda pair: -pair[1]))

    def judge(self, question: str, passages: Sequence[Passage]) -> list[float]:
        """Return the reader's relevance of given passages, which need not be of the corpus.

        Raises:
            DataError: The question is blank.
        """
        text = _checked(question, None)
        with self._models:
            return judge(
                self._reader,
                text,
                passages,
                aggregation=self._aggregation,
                precision=self._precision,
                recent=self._recent,
            )

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], *, as_passages: bool = False) -> list[list[float]]:
        """Return the vectors of the best retriever.

        Raises:
            ArtifactError: It searches by words and has none.
        """
        found = self._retriever
        if not isinstance(found, DenseRetriever) or found.encoder.is_sparse or found.encoder.is_multi:
            raise ArtifactError(
                f"expected a retriever with one dense vector a text, got {found.name}, which searches by words or by "
                "tokens; the best round of this run is no dense one, or the run was opened as a hybrid"
            )
        encoder = found.encoder.eval()
        passages = [Passage(id="", title="", text=text) for text in texts]
        with self._models, autocast(found.precision, encoder.device):
            chunks = encoder.passage_chunks(passages) if as_passages else encoder.query_chunks(texts)
            return encoder.embed([chunk.to(encoder.device) for chunk in chunks]).tolist()

    def _search(self, texts: Sequence[str], asked: Sequence[Asked], *, rerank: bool = False) -> list[list[Found]]:
        """Retrieve for all questions that want as many passages of the same retriever at once, maybe re-ranked."""
        default = self._reader.settings.num_passages
        alike: dict[tuple[Side, int], list[int]] = {}
        for number, one in enumerate(asked):
            alike.setdefault((one.side, default if one.k is None else one.k), []).append(number)
        found: list[list[Found]] = [[] for _ in asked]
        for (side, k), numbers in alike.items():
            if k == 0:  # a reader trained without passages answers without
                continue
            questions = [Question(id=str(number), text=texts[number]) for number in numbers]
            retriever = self._side(side)
            if rerank and self._reranker is not None:
                rankings = self._reranker.retrieve(retriever, questions, k, self._corpus)
            else:
                rankings = retriever.retrieve(questions, k)
            for number, ranking in zip(numbers, rankings, strict=True):
                passages = self._corpus.passages(self._corpus.rows_of(ranking.passage_ids))
                pairs = zip(passages, ranking.scores, strict=True)
                found[number] = [Found(passage=passage, score=score) for passage, score in pairs]
        return found

    def _side(self, side: Side) -> Retriever:
        retriever = self._retriever if side == "after" else self._before
        if retriever is None:
            raise ArtifactError(
                "retriever: expected a retriever that the run started from, but it was not loaded, or the run started "
                'from a given ranking, which finds nothing for new questions; ask for "after"'
            )
        return retriever

    def _read(self, texts: Sequence[str], found: Sequence[Sequence[Found]], asked: Sequence[Asked]) -> list[Answered]:
        readings = read(
            self._reader,
            texts,
            [[one.passage for one in passages] for passages in found],
            aggregation=self._aggregation,
            precision=self._precision,
            attention=[one.attention for one in asked],
            recent=self._recent,
        )
        answered = []
        for text, passages, one, reading in zip(texts, found, asked, readings, strict=True):
            seen = reading.attention or (None,) * len(passages)
            judged = zip(passages, reading.relevance, seen, strict=True)
            answered.append(
                Answered(
                    question=text,
                    answer=reading.answer,
                    passages=tuple(replace(p, relevance=value, attention=saw) for p, value, saw in judged),
                    confidence=reading.confidence,
                    side=one.side,
                    answer_tokens=reading.answer_tokens,
                )
            )
        return answered


def _checked(question: str, k: int | None) -> str:
    """Return the question without surrounding space."""
    if not (text := question.strip()):
        raise DataError("expected a question, got blank text; there is nothing to search for", field="question")
    try:
        text.encode()
    except UnicodeEncodeError:
        reason = "expected a question in UTF-8, got bytes or half characters that are none"
        raise DataError(reason, field="question") from None
    if k is not None and k < 1:
        raise DataError(f"expected at least 1 passage, got {k}; an answer needs something to be read from", field="k")
    return text
