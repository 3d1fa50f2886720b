"""The paper's algorithm on one screen.

Round 0 is the first retrieval and a reader trained on it. In every further round the reader of the round before says
which of its passages it used, the retriever learns to fetch such passages, fetches anew, and a fresh reader is trained
on what it fetched. Reader and retriever of a round belong together, and each is measured on its own round's passages.

A step that was done before is skipped; one that was interrupted goes on. The untouched student is measured too, and the
result is the best of all on dev questions, so a run never ends below where it began. No work and no file name is here.

Source: Izacard and Grave 2021, section 3.3.
"""

import logging
from typing import Any

from dogeared.artifacts import MANIFEST
from dogeared.distill.choosing import own_judgement
from dogeared.errors import TrainingError
from dogeared.models import resolve_model
from dogeared.pipeline import steps
from dogeared.pipeline.config import Experiment
from dogeared.pipeline.hybrids import measure_hybrid, measure_hybrids
from dogeared.pipeline.language import say_language, settle_language
from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.reranking import ranking_to_read
from dogeared.pipeline.results import candidate, clean_up, collect, read_measures
from dogeared.pipeline.selection import reason_to_stop
from dogeared.pipeline.starts import first_retrieval

__all__ = ["measure_untouched", "run_rounds"]

logger = logging.getLogger(__name__)


def run_rounds(run: RunFolder, experiment: Experiment, *, strict: bool = False) -> dict[str, Any]:
    """Do all rounds in a run's directory whose data are prepared, and return the results.

    Args:
        run: The directory; may hold the work of an interrupted run with the same settings.
        experiment: All settings.
        strict: Stop where a reader is not worth learning from, instead of saying so and going on.

    Raises:
        ArtifactError: A step was done with other settings; or by these settings a round is best whose models were
            removed. What the run had come to is not changed.
        ModelError: There is no such reader or retriever.
        TrainingError: The teacher check failed and ``strict`` is set.
    """
    say_language(experiment, run.data)
    experiment = settle_language(experiment, run.data)
    _check_names(run, experiment)
    done = _rounds_done(run, most=experiment.rounds.max)
    measure_untouched(run, experiment)
    _first_round(run, experiment)
    for number in range(1, experiment.rounds.max + 1):
        _check_teacher(run, number - 1, strict=strict)
        _distilled_round(run, experiment, number)
        if number >= done:  # what the rounds before it came to was said when they were done
            collect(run, experiment, last_round=number, stopped=None)
            clean_up(run, experiment, last_round=number)
        distilled = [candidate(run, experiment, done) for done in range(1, number + 1)]
        reason = reason_to_stop(
            distilled, patience=experiment.rounds.patience, enough_overlap=experiment.rounds.enough_overlap
        )
        if reason is not None:
            logger.info("stopped after round %d: %s", number, reason)
            break
    else:
        number, reason = experiment.rounds.max, "all rounds asked for are done"
    results = collect(run, experiment, last_round=number, stopped=reason)
    return measure_hybrids(run, experiment, results)


def _check_names(run: RunFolder, experiment: Experiment) -> None:
    """Find out that a model's name leads nowhere before any work is done, and not when its turn comes."""
    if not (run.untouched.retriever / MANIFEST).is_file():
        resolve_model(experiment.retriever.model)
    if not (run.round(0).reader / MANIFEST).is_file():
        resolve_model(experiment.reader.model)


def _rounds_done(run: RunFolder, *, most: int) -> int:
    """Return the last distilled round, of as many as are asked for, that was measured before; 0 where none was."""
    measured = (number for number in range(1, most + 1) if (run.round(number).measures / MANIFEST).is_file())
    return max(measured, default=0)


def measure_untouched(run: RunFolder, experiment: Experiment) -> None:
    """Encode and retrieve with the student as it stands before any distillation, and measure what it finds."""
    here, data = run.untouched, run.data
    steps.untouched_retriever(here.retriever, experiment=experiment)
    steps.encode(here.vectors, data=data, retriever=here.retriever, experiment=experiment)
    steps.retrieve(here.ranking, data=data, retriever=here.retriever, vectors=here.vectors, experiment=experiment)
    steps.evaluate(here.measures, data=data, ranking=here.ranking, reader=None, relevance=None, experiment=experiment)


def _first_round(run: RunFolder, experiment: Experiment) -> None:
    first_retrieval(run, experiment)
    measure_hybrid(run, "untouched", experiment)
    _read_and_measure(run, experiment, 0)


def _distilled_round(run: RunFolder, experiment: Experiment, number: int) -> None:
    here, before, data = run.round(number), run.round(number - 1), run.data
    start = run.untouched if number == 1 else before
    vectors = start.vectors if experiment.retriever.encoders == "query_only" else None
    steps.score_passages(
        here.relevance,
        data=data,
        ranking=before.ranking,
        reader=before.reader,
        experiment=experiment,
        splits=["train"],
    )
    steps.train_retriever(
        here.retriever,
        data=data,
        relevance=here.relevance,
        start=start.retriever,
        experiment=experiment,
        round_number=number,
        vectors=vectors,
        ranking=before.ranking,
    )
    steps.encode(here.vectors, data=data, retriever=here.retriever, experiment=experiment, vectors=vectors)
    steps.retrieve(here.ranking, data=data, retriever=here.retriever, vectors=here.vectors, experiment=experiment)
    _read_and_measure(run, experiment, number)


def _read_and_measure(run: RunFolder, experiment: Experiment, number: int) -> None:
    here, data = run.round(number), run.data
    own = own_judgement(experiment.reader)
    kept = run.round(number - 1).reader if number and experiment.rounds.reader == "kept" else None
    read = ranking_to_read(here, data=data, experiment=experiment)
    steps.train_reader(here.reader, data=data, ranking=read, experiment=experiment, round_number=number, start=kept)
    steps.score_passages(
        here.relevance_eval,
        data=data,
        ranking=read,
        reader=here.reader,
        experiment=experiment,
        splits=["dev", "test"],
        teacher=own,
    )
    teacher = None if experiment.teacher.kind == own.kind else here.teacher_eval
    if teacher is not None:
        steps.score_passages(
            teacher, data=data, ranking=read, reader=here.reader, experiment=experiment, splits=["dev"]
        )
    steps.evaluate(
        here.measures,
        data=data,
        ranking=here.ranking,
        reader=here.reader,
        relevance=here.relevance_eval,
        experiment=experiment,
        teacher=teacher,
        read=None if read == here.ranking else read,
    )


def _check_teacher(run: RunFolder, number: int, *, strict: bool) -> None:
    """Say aloud where the teacher of a round is not worth learning from."""
    warnings = read_measures(run.round(number))["teacher_check"]["warnings"]
    for warning in warnings:
        logger.warning("teacher check of round %d: %s", number, warning)
    if warnings and strict:
        raise TrainingError(f"the teacher check of round {number} failed: {'; '.join(warnings)}")
