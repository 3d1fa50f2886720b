"""Reads the elements of one long JSON list without holding the list.

FiD's files are a single list of several gigabytes; ``json.load`` would need ten times that. Here a window slides over
the text: it holds the element being read and what came with it, and grows only while an element is not yet whole.

Broken JSON ends the reading, since nobody can say where the next element begins.
"""

from collections.abc import Iterator
from json import JSONDecodeError
from typing import Any

from dogeared.data.rows import DECODER, json_fault
from dogeared.errors import DataError

__all__ = ["iter_json_list"]

_LONGEST_CUT_TOKEN = 16
"""How near to the window's end an error may lie and still mean "not yet whole", as after ``tru`` or ``\\ud8``."""


def iter_json_list(chunks: Iterator[str], file: str) -> Iterator[tuple[int, Any]]:
    """Yield each element with the line in which it begins.

    Args:
        chunks: The text of the file in pieces of any length.
        file: For the errors.

    Raises:
        DataError: The text is not one whole JSON list.
    """
    window = _Window(chunks, file)
    if window.skip_space() != "[":
        raise window.error("expected a JSON list")
    window.step()
    if window.skip_space() == "]":
        window.step()
    else:
        while True:
            line = window.line
            yield line, window.take_element()
            mark = window.skip_space()
            if mark not in (",", "]"):
                raise window.error(f"expected ',' or ']' after an element of the list, found {mark or 'the end'!r}")
            window.step()
            if mark == "]":
                break
            window.skip_space()
    if window.skip_space():
        raise window.error("expected the end of the file after the list, found more; one list makes one file")


class _Window:
    """The part of the text being looked at: everything before ``at`` is done with."""

    def __init__(self, chunks: Iterator[str], file: str) -> None:
        self._chunks = chunks
        self._file = file
        self._text = ""
        self._at = 0
        self.line = 1

    def error(self, reason: str) -> DataError:
        return DataError(reason, file=self._file, line=self.line)

    def step(self) -> None:
        self._move_to(self._at + 1)

    def skip_space(self) -> str:
        """Go to the next character that is not blank and return it, or an empty string at the end."""
        while True:
            at = self._at
            while at < len(self._text) and self._text[at] in " \t\r\n":
                at += 1
            self._move_to(at)
            if at < len(self._text):
                return self._text[at]
            if not self._grow():
                return ""

    def take_element(self) -> Any:
        """Read one JSON value from here, taking in more text as long as it is not whole."""
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                at = error.pos if isinstance(error, JSONDecodeError) else self._at
                unterminated = str(error).startswith("Unterminated string")
                if (unterminated or at >= len(self._text) - _LONGEST_CUT_TOKEN) and self._grow():
                    continue
                self._move_to(at)
                raise self.error(f"expected JSON, found it broken here: {json_fault(error)}") from error
            # A number at the very end may go on in the next piece.
            if end < len(self._text) or not self._grow():
                self._move_to(end)
                return value

    def _move_to(self, at: int) -> None:
        self.line += self._text.count("\n", self._at, at)
        self._at = at

    def _grow(self) -> bool:
        """Drop what is done with and take in more text: at least as much again as there is."""
        kept = self._text[self._at :]
        pieces, num_new = [kept], 0
        for chunk in self._chunks:
            pieces.append(chunk)
            num_new += len(chunk)
            if num_new > len(kept):
                break
        self._text, self._at = "".join(pieces), 0
        return num_new > 0
