"""What one of two compared systems did on each question: a run, one of its rounds, or a TREC run from anywhere.

A run was measured already, and its numbers are taken as they stand. A TREC run is measured here against a file of
questions: by gold passages where a question has them, else by answer string where the passages are given too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dogeared.data.formats import iter_passages, iter_questions
from dogeared.data.language import detect_language
from dogeared.data.trec import iter_trec_run
from dogeared.errors import DataError
from dogeared.evaluation.answers import Language
from dogeared.evaluation.ranking import gold_judgments, measure_each_question, retrieval_by_question
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.layout import RoundFolder, RunFolder
from dogeared.pipeline.measure import PREDICTIONS_FILE, read_predictions
from dogeared.pipeline.results import read_results
from dogeared.records import Question, Ranking

__all__ = ["Measured", "Side", "read_side"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One question as a system met it.

    Attributes:
        question: The question, with what it was judged by.
        split: ``train``, ``dev`` or ``test``; None where nothing says so.
        values: Measures by name.
        prediction: What was answered; None where no reader was asked.
    """

    question: Question
    split: str | None
    values: Mapping[str, float]
    prediction: str | None = None


@dataclass(frozen=True, kw_only=True)
class Side:
    """A system and what was measured of it.

    Attributes:
        title: What to call it.
        measured: By question id.
    """

    title: str
    measured: Mapping[str, Measured]


def read_side(
    path: Path, *, questions: Path | None = None, passages: Path | None = None, language: Language | None = None
) -> Side:
    """Read one of two systems to compare.

    Args:
        path: A run's directory, of which the best round is taken; the folder of one of its rounds, or of its untouched
            student; or a TREC run.
        questions: What a TREC run is of; not looked at for others.
        passages: Where a TREC run is judged by answer string.
        language: How a TREC run's passages are searched for answers; found out from the questions where None.

    Raises:
        DataError: It is none of these, or cannot be measured.
        ArtifactError: The run has no results yet.
    """
    if (path / "measures" / PREDICTIONS_FILE).is_file():
        return _read_round(RoundFolder(path), _run_above(path), f"{path.parent.name}/{path.name}")
    if path.is_dir():
        run = RunFolder(path)
        best = read_results(run)["best"]
        folder = run.untouched if best == "untouched" else run.round(best)
        return _read_round(folder, run, f"{path.name}/{folder.path.name}")
    if not path.is_file():
        raise DataError(
            "expected a run's directory, the folder of one of its rounds, or a TREC run, found nothing", file=path
        )
    if questions is None:
        raise DataError("a TREC run says nothing of right passages; give the questions it is of", file=path)
    return _measure_trec_run(path, questions, passages, language)


def _run_above(folder: Path) -> RunFolder:
    """Find the run of a round; what is fused with BM25 stands one folder deeper."""
    above = folder.absolute().parent
    return RunFolder(above if RunFolder(above).data.is_dir() else above.parent)


def _read_round(folder: RoundFolder, run: RunFolder, title: str) -> Side:
    questions = {question.id: question for question in Dataset.open(run.data).questions}
    measured = {}
    for row in read_predictions(folder.measures):
        values = {**row.get("retriever", {}), **{key: row[key] for key in ("em", "f1") if key in row}}
        measured[row["id"]] = Measured(
            question=questions[row["id"]], split=row["split"], values=values, prediction=row.get("prediction")
        )
    return Side(title=title, measured=measured)


def _measure_trec_run(path: Path, questions: Path, passages: Path | None, language: Language | None) -> Side:
    given = list(iter_questions(questions))
    asked, rankings = [one.question for one in given], list(iter_trec_run(path))
    if passages is None:
        values = measure_each_question(rankings, gold_judgments(asked))
    else:
        texts = _texts(rankings, passages)
        if language is None:
            language = detect_language(text for one in asked for text in (one.text, *one.answers)).language
        values = retrieval_by_question(asked, rankings, lambda ids: [texts[one] for one in ids], language)
    if not values:
        raise DataError(
            "expected questions with gold passages, found none; give the passages too, to judge by answer string, or "
            "questions with gold",
            file=questions,
        )
    if not values.keys() & {ranking.question_id for ranking in rankings}:
        raise DataError(f"none of the questions of {questions} that can be judged is in this TREC run", file=path)
    measured = {
        one.question.id: Measured(
            question=one.question, split=one.question.split if one.split_given else None, values=values[one.question.id]
        )
        for one in given
        if one.question.id in values
    }
    return Side(title=path.name, measured=measured)


def _texts(rankings: Sequence[Ranking], passages: Path) -> dict[str, str]:
    """Read the texts of retrieved passages, and of no others."""
    wanted = {passage_id for ranking in rankings for passage_id in ranking.passage_ids}
    texts = {passage.id: passage.text for passage in iter_passages(passages) if passage.id in wanted}
    if missing := wanted - texts.keys():
        raise DataError(
            f"expected all passages that were retrieved, found none for {len(missing)} ids, such as "
            f"{min(missing)!r}; do ranking and passages belong together?",
            file=passages,
        )
    return texts
