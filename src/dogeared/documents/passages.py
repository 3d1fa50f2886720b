"""Cut documents into passages of whole sentences that overlap by some.

Passages end where sentences end, in English and its kin at a full stop before a blank, in Chinese and Japanese at their
own marks. The next passage begins with the last sentences of the one before, so that a fact told in two sentences
stands whole in one of them. A sentence longer than a passage is cut between words. No passage goes over a heading.

A passage's id is the document's path in its folder, ``#`` and a number; blanks in it are written as ``%20``.
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, model_validator

from dogeared.data.files import Reject
from dogeared.documents.sections import SUFFIXES, read_sections
from dogeared.errors import DataError
from dogeared.records import Passage
from dogeared.settings import Settings
from dogeared.storage import replacing, told

__all__ = [
    "CutSettings",
    "cut_sentences",
    "cut_text",
    "find_documents",
    "iter_document_passages",
    "write_document_passages",
]

logger = logging.getLogger(__name__)

_WIDE = "\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\u0e00-\u0e7f\U00020000-\U0003ffff"
"""Characters and signs of scripts that put no blanks between words."""
_CLOSING = "\"'\\)\\]\u2019\u201d\u300b\u300d\u300f\u3011\uff09"
_END = re.compile(
    rf"[\u3002\uff01\uff1f\uff1b\u2026]+[{_CLOSING}]*"  # the full-width stop, !, ?, ; and dots need no blank after them
    rf"|[.!?]+[{_CLOSING}]*(?=\s)"
)
_NO_END = re.compile(
    r"(?:^|[\s(\"'])(?:[^\W\d_]|Mrs?|Ms|Dr|Prof|St|Sr|Jr|Mt|No|Nos|vs|cf|etc|ca|al|Fig|Eq|Vol|pp?|ed|eds|approx|e\.g"
    r"|i\.e|U\.S|Inc|Ltd|Co|Gen|Col|Capt|Lt|Sgt|Rev|Hon)\.$"
)
_WORD = re.compile(rf"[{_WIDE}]|[^\s{_WIDE}]+\s*|\s+")
_WIDE_ONE = re.compile(rf"[{_WIDE}]")
# Curved quotes and dots are of every script: they go with the character behind or before them.
_ENDS_WIDE = re.compile(rf"[{_WIDE}][\u2019\u201d\u2026]*$")
_BEGINS_WIDE = re.compile(rf"[\u2018\u201c\u2026]*[{_WIDE}]")


class CutSettings(Settings):
    """How long passages are."""

    max_words: int = Field(default=100, ge=10)
    """The most words of a passage; a Chinese, Japanese or Thai character counts as half a word."""
    overlap_words: int = Field(default=20, ge=0)
    """So many words of the end of a passage, at most, begin the next one again, in whole sentences."""

    @model_validator(mode="after")
    def _overlap_leaves_room(self) -> "CutSettings":
        if 2 * self.overlap_words > self.max_words:
            raise ValueError(
                f"expected overlap_words to be at most half of max_words ({self.max_words}), got {self.overlap_words}; "
                "passages would say little but what the one before said"
            )
        return self


def cut_sentences(text: str) -> list[str]:
    """Cut a text into sentences, which together are the text; blanks belong to the sentence before them.

    >>> cut_sentences("Dr. Wu left. Who saw her? 没有人。也许有。")
    ['Dr. Wu left. ', 'Who saw her? ', '没有人。', '也许有。']
    """
    sentences, start = [], 0
    for match in _END.finditer(text):
        end = match.end()
        while end < len(text) and text[end].isspace():
            end += 1
        if match.group()[0] == "." and (_NO_END.search(text[start : match.end()]) or text[end : end + 1].islower()):
            continue
        sentences.append(text[start:end])
        start = end
    return [*sentences, text[start:]] if start < len(text) else sentences


def cut_text(paragraphs: tuple[str, ...], settings: CutSettings) -> Iterator[str]:
    """Yield the texts of passages of one section."""
    kept: list[str] = []
    num_new = 0
    for sentence in _short_sentences(paragraphs, settings.max_words):
        if kept and _num_words("".join(kept)) + _num_words(sentence) > settings.max_words:
            if num_new:
                yield "".join(kept).strip()
            kept, num_new = _tail(kept, settings.overlap_words), 0
            while kept and _num_words("".join(kept)) + _num_words(sentence) > settings.max_words:
                kept.pop(0)
        kept.append(sentence)
        num_new += bool(sentence.strip())
    if num_new and (text := "".join(kept).strip()):
        yield text


def find_documents(folder: Path) -> list[Path]:
    """List the documents of a folder and all below it in the order of their names; hidden ones are left out.

    Files of other kinds are counted in a warning.

    Raises:
        DataError: There is no such folder, or no document in it.
    """
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise DataError("expected a folder of documents, there is none of this name", file=folder)
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
    others = Counter(file.suffix.lower() or "no suffix" for file in files if file.suffix.lower() not in SUFFIXES)
    if others:
        named = ", ".join(f"{count} of {suffix}" for suffix, count in others.most_common())
        logger.warning("%s: %d files are of other kinds and were passed over: %s", folder, others.total(), named)
    found = [file for file in files if file.suffix.lower() in SUFFIXES]
    if not found:
        raise DataError(f"expected documents ({', '.join(SUFFIXES)}), found none", file=folder)
    return found


def iter_document_passages(
    folder: Path, settings: CutSettings | None = None, *, on_error: Reject | None = None
) -> Iterator[Passage]:
    """Read the documents of a folder and cut them into passages.

    Args:
        folder: A folder, or one document.
        settings: How long passages are.
        on_error: Gets the error of each document that cannot be read, which is then left out. Where it is None the
            first one is raised.

    Raises:
        DataError: There is no document; or one cannot be read, where ``on_error`` is None.
    """
    settings = settings or CutSettings()
    for file in find_documents(folder):
        try:
            sections = read_sections(file)
        except DataError as error:
            if on_error is None:
                raise
            on_error(error)
            continue
        name = file.name if file == folder else file.relative_to(folder).as_posix()
        number = 0
        for section in sections:
            for text in cut_text(section.paragraphs, settings):
                yield Passage(id=f"{_word(name)}#{number}", title=section.title, text=text)
                number += 1


def write_document_passages(
    folder: Path, out: Path, settings: CutSettings | None = None, *, skip_bad_documents: bool = False
) -> tuple[int, list[DataError]]:
    """Write the passages of a folder of documents as JSON lines; the file is whole or not there.

    Args:
        folder: A folder, or one document.
        out: The file.
        settings: How long passages are.
        skip_bad_documents: Leave out documents that cannot be read, instead of stopping at the first.

    Returns:
        The number of passages, and the errors of the documents that were left out.

    Raises:
        DataError: As for ``iter_document_passages``; or there was no passage at all.
    """
    skipped: list[DataError] = []
    number = 0
    with told(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as stream:
        on_error = skipped.append if skip_bad_documents else None
        for passage in iter_document_passages(folder, settings, on_error=on_error):
            number += 1
            line = {"id": passage.id, "title": passage.title, "text": passage.text}
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
        if number == 0:
            raise DataError("expected text in one of the documents at least, found none", file=folder)
    return number, skipped


def _short_sentences(paragraphs: tuple[str, ...], max_words: int) -> Iterator[str]:
    """Yield sentences with the blank that follows them, those that are too long in pieces.

    Between paragraphs stands a blank, but where both sides are of a script that puts none between words.
    """
    for number, paragraph in enumerate(paragraphs):
        if number and not (_ENDS_WIDE.search(paragraphs[number - 1]) and _BEGINS_WIDE.match(paragraph)):
            yield " "
        for sentence in cut_sentences(paragraph):
            piece, length = "", 0.0
            for word in _WORD.findall(sentence):
                if length + _num_words(word) > max_words:
                    yield piece
                    piece, length = "", 0.0
                piece, length = piece + word, length + _num_words(word)
            yield piece


def _tail(sentences: list[str], max_words: int) -> list[str]:
    first = len(sentences)
    while first > 1 and _num_words("".join(sentences[first - 1 :])) <= max_words:
        first -= 1
    return sentences[first:]


def _num_words(text: str) -> float:
    words = [word for word in _WORD.findall(text) if not word.isspace()]
    return sum(0.5 if _WIDE_ONE.fullmatch(word) else 1.0 for word in words)


def _word(name: str) -> str:
    # Names that are not UTF-8 reach Python with lone surrogates in place of the bytes.
    def escaped(match: re.Match[str]) -> str:
        return "".join(f"%{byte:02X}" for byte in match.group().encode("utf-8", "surrogateescape"))

    return re.sub(r"[%\s\udc80-\udcff]", escaped, name)
