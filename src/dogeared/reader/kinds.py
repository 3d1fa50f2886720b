"""Which kind of reader the settings name, loaded. What a reader of each kind is stands in its own module."""

from dogeared.evaluation.answers import Language
from dogeared.reader.extractive import ExtractiveReader
from dogeared.reader.fid import FusionInDecoder, ReaderSettings

__all__ = ["Reader", "open_reader"]

Reader = FusionInDecoder | ExtractiveReader


def open_reader(settings: ReaderSettings, *, language: Language = "en") -> Reader:
    """Load the reader that the settings name.

    Args:
        settings: Its kind, its model, its lengths.
        language: How an extractive reader finds answers in texts to learn from.

    Raises:
        ModelError: There is no such model, or it is not of this kind.
    """
    if settings.kind == "extractive":
        return ExtractiveReader.load(settings, language=language)
    return FusionInDecoder.load(settings)
