"""Which language a run is in: as its settings say, or as its questions were found to be.

``language = "auto"`` becomes a language before anything is compared, and so do the settings of retrieval by words,
unless they were given themselves. What was found is said, and so is where it contradicts the settings.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

from dogeared.data.language import LANGUAGE_NAMES, DetectedLanguage, detect_language
from dogeared.pipeline.config import Experiment
from dogeared.pipeline.dataset import Dataset
from dogeared.records import Question

__all__ = ["say_language", "settle_language", "settle_language_of"]

logger = logging.getLogger(__name__)


def settle_language(experiment: Experiment, data: Path) -> Experiment:
    """Return the settings with a language in the place of ``auto``, found in the questions of a dataset."""
    if experiment.language == "auto":
        return settle_language_of(experiment, Dataset.open(data).questions)
    return _with_words(experiment)


def settle_language_of(experiment: Experiment, questions: Iterable[Question]) -> Experiment:
    """Return the settings with a language in the place of ``auto``, found in these questions and their answers."""
    if experiment.language == "auto":
        experiment = experiment.model_copy(update={"language": _detect(questions).language})
    return _with_words(experiment)


def say_language(experiment: Experiment, data: Path) -> None:
    """Say aloud what was found, where it is not what is taken for granted, and where the settings say otherwise.

    Args:
        experiment: The settings as they were given.
        data: The dataset.
    """
    found = _detect(Dataset.open(data).questions)
    if experiment.language == "auto":
        level = logging.INFO if found.language == "en" else logging.WARNING
        logger.log(
            level,
            'language: found %s in the questions (Han and Kana are %.0f %% of their words), so language = "%s"',
            LANGUAGE_NAMES[found.language],
            100 * found.share,
            found.language,
        )
    elif (experiment.language == "en") != (found.language == "en"):
        logger.warning(
            'language: the settings say "%s", but the questions are in %s (Han and Kana are %.0f %% of their words): '
            'answers may not be found in the passages that hold them. Set language = "%s", or leave it out',
            experiment.language,
            LANGUAGE_NAMES[found.language],
            100 * found.share,
            found.language,
        )


def _detect(questions: Iterable[Question]) -> DetectedLanguage:
    return detect_language(text for question in questions for text in (question.text, *question.answers))


def _with_words(experiment: Experiment) -> Experiment:
    """Let BM25 and TF-IDF follow the language, where nobody said what they should do."""
    language = experiment.settled_language
    if language == "en":
        return experiment
    update = {}
    if "language" not in experiment.bm25.model_fields_set:
        update["bm25"] = experiment.bm25.model_copy(update={"language": language})
    if "language" not in experiment.tfidf.model_fields_set:
        update["tfidf"] = experiment.tfidf.model_copy(update={"language": "none"})
    return experiment.model_copy(update=update)
