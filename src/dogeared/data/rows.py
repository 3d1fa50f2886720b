"""A row of a data file that knows where it stands, and the checks of its fields.

Every reader of ``formats.py`` asks a ``Row`` for its fields by what they must be: an id, a text, a list of ids. A field
that is something else raises a ``DataError`` with file, line and path into the record. Nothing is mended: a text is
handed over as it was written, with the blanks around it.

JSON's ``null`` counts as absent. This module knows no format and opens no file.
"""

import ast
import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dogeared.errors import DataError

__all__ = ["DECODER", "Row", "WrittenNumber", "described", "id_fault", "json_fault", "python_literal", "text_fault"]


class WrittenNumber(float):
    """A number with a fraction or an exponent, and the characters it was written with.

    An answer of ``3.10`` is the text "3.10", which the bare float no longer knows.
    """

    text: str

    def __new__(cls, text: str) -> "WrittenNumber":
        """Read a number from its text."""
        number = super().__new__(cls, text)
        number.text = text
        return number


DECODER = json.JSONDecoder(parse_float=WrittenNumber)
"""Decodes the JSON of data files. May raise ``ValueError`` or, on absurd nesting, ``RecursionError``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One record of a file, or a record inside of it.

    Attributes:
        values: The fields as the file has them.
        file: Where it stands.
        line: The line in which it begins, counted from 1.
        index: Its number in the file or in the list that holds it, counted from 0; rows left out count too.
        path: The way to it from the top of the line or file, such as ``[3].ctxs[0]``; empty for a line's own record.
    """

    values: Mapping[str, Any]
    file: str
    line: int
    index: int
    path: str = ""

    def error(self, reason: str, field: str = "") -> DataError:
        """Make the error that says ``reason`` of one of the fields, or of the whole row."""
        path = ".".join(part for part in (self.path, field) if part)
        return DataError(reason, file=self.file, line=self.line, field=path or None)

    def has(self, field: str) -> bool:
        """Tell whether the field is there and not null."""
        return self.values.get(field) is not None

    def id(self, field: str) -> str:
        """Return an id that must be there; an integer gives its decimal digits."""
        return self._id(self.values.get(field), field)

    def text(self, field: str) -> str:
        """Return a text that must be there and must not be blank."""
        return self._text(self.values.get(field), field)

    def optional_text(self, field: str, *, absent: str = "") -> str:
        """Return a text that may be absent or blank."""
        return self._text(self.values[field], field, may_be_blank=True) if self.has(field) else absent

    def answers(self, field: str) -> tuple[str, ...]:
        """Return a list of texts or numbers that may be absent; numbers become the text they were written as."""
        return tuple(
            self._text(_as_text(value), f"{field}[{position}]") for position, value in enumerate(self._list(field))
        )

    def ids(self, field: str) -> tuple[str, ...]:
        """Return a list of ids that may be absent."""
        return tuple(self._id(value, f"{field}[{position}]") for position, value in enumerate(self._list(field)))

    def number(self, field: str) -> float | None:
        """Return a finite number, which may be written as text, or None where the field is absent."""
        value = self.values.get(field)
        if value is None:
            return None
        try:
            number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise self.error(f"expected a finite number, or text that is one; found {described(value)}", field)
        return number

    def numbers(self, field: str) -> list[float]:
        """Return a list of finite numbers that may be absent."""
        values = {f"{field}[{place}]": value for place, value in enumerate(self._list(field))}
        inner = replace(self, values=values)
        found = [inner.number(name) for name in values]
        for name, number in zip(values, found, strict=True):
            if number is None:
                raise self.error("expected a finite number, found nothing", name)
        return [number for number in found if number is not None]

    def texts(self, field: str) -> list[str]:
        """Return a list of texts that may be absent; each of them may be blank."""
        return [
            self._text(value, f"{field}[{place}]", may_be_blank=True) for place, value in enumerate(self._list(field))
        ]

    def rows(self, field: str) -> "list[Row]":
        """Return the records inside a list that may be absent."""
        inner = []
        for position, value in enumerate(self._list(field)):
            path = f"{self.path}.{field}[{position}]" if self.path else f"{field}[{position}]"
            if not isinstance(value, dict):
                raise self.error(f"expected a JSON object, found {described(value)}", f"{field}[{position}]")
            inner.append(Row(values=value, file=self.file, line=self.line, index=position, path=path))
        return inner

    def _list(self, field: str) -> list[Any]:
        value = self.values.get(field)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.error(f"expected a list, found {described(value)}", field)
        return value

    def _text(self, value: Any, field: str, *, may_be_blank: bool = False) -> str:
        if not isinstance(value, str):
            raise self.error(f"expected text, found {described(value)}", field)
        if (fault := text_fault(value)) is not None:
            raise self.error(fault, field)
        if not may_be_blank and not value.strip():
            raise self.error("expected text, found nothing but blanks; fill it in or take the row out", field)
        return value

    def _id(self, value: Any, field: str) -> str:
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise self.error(f"expected an id, as text or as an integer; found {described(value)}", field)
        if (fault := id_fault(value)) is not None:
            raise self.error(fault, field)
        return value


def python_literal(text: str) -> Any:
    """Read a value as Python writes it, as data and never run; what is none stays text.

    >>> python_literal("['a', 1]"), python_literal("open('x')")
    (['a', 1], "open('x')")
    >>> [number.text for number in python_literal("[3.10, -1e3]")]
    ['3.10', '-1e3']
    """
    try:
        with warnings.catch_warnings():
            # Answers that are regular expressions hold escapes that Python's parser warns of.
            warnings.simplefilter("ignore")
            source = text.strip()
            return ast.literal_eval(_KeepNumbers(source).visit(ast.parse(source, mode="eval")))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return text


class _KeepNumbers(ast.NodeTransformer):
    """Puts a ``WrittenNumber`` in the place of each float, with its sign if it has one."""

    def __init__(self, source: str) -> None:
        self._source = source

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return self._kept(node, "") if isinstance(node.value, float) else node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        match node:
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=float()) as number):
                return self._kept(number, "-")
            case ast.UnaryOp(op=ast.UAdd(), operand=ast.Constant(value=float()) as number):
                return self._kept(number, "+")
            case _:
                return self.generic_visit(node)

    def _kept(self, node: ast.Constant, sign: str) -> ast.Constant:
        written = ast.get_source_segment(self._source, node) or str(node.value)
        return ast.copy_location(ast.Constant(WrittenNumber(sign + written)), node)


def text_fault(text: str) -> str | None:
    """Say why a string cannot be stored as text, or return None where it can."""
    if "\0" in text:
        return "found the character NUL, which no text holds; the file is damaged, or is not text"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return (
                f"found half of a surrogate pair (U+{ord(text[error.start]):04X}), which is no character and cannot be "
                "written as UTF-8; write the text anew from its source"
            )
    return None


def id_fault(text: str) -> str | None:
    """Say why a string cannot be an id, or return None where it can."""
    if not text.strip():
        return "expected an id, found nothing but blanks; rows without an id cannot be told apart"
    if any(mark in text for mark in "\t\n\r"):
        return f"expected an id without tabs and line ends, found {text!r}; it could not be written to a table"
    return text_fault(text)


def json_fault(error: ValueError | RecursionError) -> str:
    """Say why ``DECODER`` refused a text, without the place, which counts from where it began to read."""
    if isinstance(error, RecursionError):
        return "lists or objects are nested too deep to be read"
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def described(value: Any) -> str:
    """Name a JSON value in an error, cut where it is long."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {_cut(str(_as_text(value)))}"
        case str():
            return f"the text {_cut(value)!r}"
        case list():
            return "a list"
        case dict():
            return "a JSON object"
        case _:
            return f"a value of type {type(value).__name__}"


def _cut(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


def _as_text(value: Any) -> Any:
    """Return a number as text and anything else, NaN and the infinities included, as it is."""
    match value:
        case WrittenNumber():
            return value.text
        case bool():
            return value
        case int():
            return str(value)
        case float() if math.isfinite(value):
            return str(value)
        case _:
            return value
