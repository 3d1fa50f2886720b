"""Opens data files, plain or compressed, and turns them into rows.

Two shapes are known: JSON (one object a line, or one list of objects; the first character tells) and tab-separated
tables in csv's quoting. Suffixes ``.gz`` and ``.xz`` are looked through. UTF-8 with or without a byte order mark, and
both kinds of line ends, are taken as they come.

A fault of one row goes to ``reject``, which raises it or writes it down. A fault of the whole file (absent, empty, cut
off, not UTF-8 in the middle of a list) is raised always: no row that could be left out would mend it. What a row must
hold is not known here.
"""

import codecs
import csv
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from typing import Any, BinaryIO

from dogeared.data.json_list import iter_json_list
from dogeared.data.rows import DECODER, Row, described, json_fault
from dogeared.errors import DataError

__all__ = ["Reject", "data_suffix", "first_character", "read_json_rows", "read_lines", "read_table"]

Reject = Callable[[DataError], None]
"""Takes the error of a row that is left out; may raise it."""

_OPENERS: Mapping[str, Callable[[Path], Any]] = {".gz": gzip.open, ".xz": lzma.open}
_CHUNK_BYTES = 1 << 20
_LONGEST_FIELD = 2**31 - 1


def data_suffix(path: Path) -> str:
    """Return what the name says of the content, without the compression: ``.tsv`` for ``a.tsv.xz``."""
    return (path.with_suffix("") if path.suffix in _OPENERS else path).suffix


def first_character(path: Path) -> str:
    """Return the first character that is not blank, or an empty string where the first bytes are all blank.

    Raises:
        DataError: The file cannot be read.
    """
    with _opened(path) as stream:
        return stream.read(4096).removeprefix(codecs.BOM_UTF8).lstrip()[:1].decode("latin-1")


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield each line with its number, counted from 1, without a byte order mark.

    Raises:
        DataError: The file cannot be read to its end, or is empty.
    """
    number = 0
    with _opened(path) as stream:
        for number, line in enumerate(stream, start=1):
            yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
    if number == 0:
        raise DataError("expected rows, found an empty file; was it cut off while it was written?", file=path)


def read_json_rows(path: Path, reject: Reject) -> Iterator[Row]:
    """Yield the JSON objects of a file, which are its lines or the elements of its one list; blank lines are skipped.

    Raises:
        DataError: The file holds no row, or cannot be read to its end.
    """
    is_list = first_character(path) == "["
    num_rows = 0
    for line, value in _list_elements(path) if is_list else _json_lines(path):
        row = Row(values={}, file=str(path), line=line, index=num_rows, path=f"[{num_rows}]" if is_list else "")
        num_rows += 1
        if isinstance(value, _Broken):
            reject(row.error(value.reason))
        elif not isinstance(value, dict):
            reject(row.error(f"expected a JSON object, found {described(value)}"))
        else:
            yield Row(values=value, file=row.file, line=line, index=row.index, path=row.path)
    if num_rows == 0:
        raise DataError("expected rows, the file holds none", file=path)


def read_table(
    path: Path, reject: Reject, *, columns: tuple[str, ...] | None = None, delimiter: str = "\t"
) -> Iterator[Row]:
    """Yield the rows of a table in csv's quoting, tab-separated if nothing else is said.

    Args:
        path: The file.
        reject: Gets the errors of rows that are not whole.
        columns: The names of the columns; None where the first line of the file holds them.
        delimiter: What parts the fields of a line.

    Raises:
        DataError: The file holds no row, or cannot be read to its end.
    """
    # Undecodable bytes become lone surrogates here, so that a bad row is found out without losing the reader's place.
    lines = (line.decode(errors="surrogateescape") for _, line in read_lines(path))
    # The library refuses fields of more than 131,072 characters unless told otherwise, and can be told only for the
    # whole process; passages are longer. This is the most that every system takes.
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    marks = "tabs" if delimiter == "\t" else f"marks {delimiter!r}"
    num_rows = 0
    while True:
        row = Row(values={}, file=str(path), line=reader.line_num + 1, index=num_rows)
        try:
            fields = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            fault = row.error(f"expected fields between {marks}, quoted as in csv; found otherwise ({error})")
            if columns is None:
                raise fault from error
            num_rows += 1
            reject(fault)
            continue
        if not fields:
            continue
        if columns is None:
            columns = tuple(fields)
            continue
        num_rows += 1
        if any("\udc80" <= mark <= "\udcff" for field in fields if not field.isascii() for mark in field):
            reject(row.error("expected text in UTF-8, found bytes that are not; convert the file to UTF-8"))
        elif len(fields) != len(columns):
            named = ", ".join(columns)
            reject(row.error(f"expected {len(columns)} fields between {marks} ({named}), found {len(fields)}"))
        else:
            yield Row(values=dict(zip(columns, fields, strict=True)), file=row.file, line=row.line, index=row.index)
    if num_rows == 0:
        raise DataError("expected rows, the file holds none", file=path)


class _Broken:
    """Stands for a line that is not JSON."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            yield number, DECODER.decode(line.decode())
        except UnicodeDecodeError as error:
            yield number, _Broken(f"expected text in UTF-8, found the byte {line[error.start]:#04x}; convert the file")
        except (ValueError, RecursionError) as error:
            place = f" at character {error.colno}" if isinstance(error, JSONDecodeError) else ""
            reason = f"expected one JSON object a line, or one list of objects; found broken JSON{place}"
            yield number, _Broken(f"{reason}: {json_fault(error)}")


def _list_elements(path: Path) -> Iterator[tuple[int, Any]]:
    with _opened(path) as stream:
        yield from iter_json_list(_decoded(stream, path), str(path))


def _decoded(stream: BinaryIO, path: Path) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    num_lines = 1
    while chunk := stream.read(_CHUNK_BYTES):
        try:
            text = decoder.decode(chunk)
        except UnicodeDecodeError as error:
            line = num_lines + error.object[: error.start].count(b"\n")
            raise DataError(
                "expected text in UTF-8, found other bytes; convert the file", file=path, line=line
            ) from error
        num_lines += text.count("\n")
        yield text
    if decoder.getstate()[0]:
        raise DataError("expected text in UTF-8, the last character is cut off", file=path, line=num_lines)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for its uncompressed bytes; whatever keeps them from being read becomes a ``DataError``."""
    try:
        if path.is_dir():
            raise DataError("expected a file, found a directory", file=path)
        with _OPENERS.get(path.suffix, io.FileIO)(path) as raw, io.BufferedReader(raw, _CHUNK_BYTES) as stream:
            yield stream
    except FileNotFoundError as error:
        raise DataError("expected a file, there is none of this name", file=path) from error
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataError(
            f"expected {path.suffix[1:]} data to the file's end, found otherwise ({error}); fetch or pack it again",
            file=path,
        ) from error
    except OSError as error:
        raise DataError(f"expected a file that can be read, found otherwise ({error})", file=path) from error
