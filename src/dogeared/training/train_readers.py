"""Train a reader of whichever kind it is; how is in the module of its kind."""

from pathlib import Path

from dogeared.data.readings import Readings
from dogeared.evaluation.answers import Language
from dogeared.reader.extractive import ExtractiveReader
from dogeared.reader.kinds import Reader
from dogeared.training.checkpoint import TrainingState
from dogeared.training.train_extractive import train_extractive
from dogeared.training.train_reader import ReaderTraining, train_reader

__all__ = ["train_reader_in_place"]


def train_reader_in_place(
    reader: Reader,
    readings: Readings,
    settings: ReaderTraining,
    *,
    seed: int,
    folder: Path,
    language: Language,
    dev_readings: Readings,
) -> TrainingState:
    """Train a reader in place; arguments and errors are those of ``train_reader`` and of ``train_extractive``."""
    if isinstance(reader, ExtractiveReader):
        return train_extractive(reader, readings, settings, seed=seed, folder=folder, dev_readings=dev_readings)
    return train_reader(
        reader, readings, settings, seed=seed, folder=folder, language=language, dev_readings=dev_readings
    )
