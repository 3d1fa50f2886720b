"""Turn a document into titled sections of plain paragraphs: text, Markdown, HTML and PDF.

A section is what stands under one heading, and its title names the document and that heading. Marks are gone, words are
as they were; text that is not prose for a reader (scripts, navigation, front matter) is passed over.

Not here: which files there are, and how sections become passages. The parsers are markdown-it-py, selectolax and pypdf,
which come with ``dogeared[files]`` and are imported when a file needs them.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dogeared.errors import DataError

__all__ = ["SUFFIXES", "Section", "read_sections"]

_FRONT_MATTER = re.compile(r"\A---\r?\n.*?\r?\n---\r?\n", re.DOTALL)
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
# A form may be the whole page (ASP.NET's are): its text is kept, its controls are not.
_CONTROLS = frozenset({"button", "select", "option", "input", "textarea"})
# A reading above a character (ruby) would stand in the middle of its word.
_READINGS = frozenset({"rt", "rp", "rtc"})
_UNSEEN = frozenset({"script", "style", "noscript", "template", "head", "-comment"}) | _READINGS
_PASSED_OVER = frozenset({"nav", "footer", "svg", "iframe"}) | _CONTROLS | _UNSEEN
_INLINE = frozenset(
    {
        "a",
        "abbr",
        "b",
        "bdi",
        "bdo",
        "br",
        "cite",
        "code",
        "data",
        "del",
        "dfn",
        "em",
        "font",
        "i",
        "ins",
        "kbd",
        "label",
        "mark",
        "q",
        "rb",
        "ruby",
        "s",
        "samp",
        "small",
        "span",
        "strong",
        "sub",
        "sup",
        "td",
        "th",
        "time",
        "tt",
        "u",
        "var",
        "wbr",
    }
)
_TAG = re.compile(r"</?[a-z][a-z0-9]*", re.IGNORECASE)
_CELL = re.compile(r"<(?=t[dhr]\b)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Section:
    """What stands under one heading.

    Attributes:
        title: The document's title, and after a colon the heading; the first alone where there is no heading.
        paragraphs: In their order, none blank, none with a line break.
    """

    title: str
    paragraphs: tuple[str, ...]


def read_sections(file: Path) -> list[Section]:
    """Read a document; its suffix says what it is.

    Raises:
        DataError: It cannot be read or holds no text, or the library that reads it is not installed.
    """
    kind = SUFFIXES.get(file.suffix.lower())
    if kind is None:
        raise DataError(f"expected a document ({', '.join(SUFFIXES)}), found {file.suffix!r}", file=file)
    sections = [section for section in kind(file) if section.paragraphs]
    if not sections:
        raise DataError(
            "expected text, found none; pages that are pictures must go through text recognition first", file=file
        )
    return sections


def _text(file: Path) -> Iterator[Section]:
    text = _decoded(file)
    yield Section(title=_stem(file), paragraphs=_paragraphs(re.split(r"\n\s*\n", text)))


def _markdown(file: Path) -> Iterator[Section]:
    markdown_it = _library("markdown_it", "markdown-it-py", file)
    parser = markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"])
    parts: list[tuple[str, str]] = []
    row: list[str] | None = None
    kind = "p"
    for token in parser.parse(_FRONT_MATTER.sub("", _decoded(file))):
        match token.type:
            case "heading_open":
                kind = token.tag
            case "heading_close":
                kind = "p"
            case "tr_open":
                row = []
            case "tr_close":
                parts.append(("p", " | ".join(row or ())))
                row = None
            case "inline" if row is not None:
                row.append(_inline_text(token))
            case "inline":
                parts.append((kind, _inline_text(token)))
            case "fence" | "code_block":
                parts.append(("p", token.content))
            case "html_block":
                # Markdown cuts HTML at blank lines, and cells without the head of their table are no cells to a parser.
                parts.extend(_html_parts(_html_tree(_CELL.sub(" <", token.content), file)))
    yield from _by_heading(parts, _stem(file))


def _inline_text(token: Any) -> str:
    pieces = []
    reading = None  # where the reading of a character begins; what is never closed is none
    for child in token.children or ():
        if child.type == "html_inline":
            tag = found.group().lower() if (found := _TAG.match(child.content)) else ""
            if tag == "<br":
                pieces.append(" ")
            elif tag.removeprefix("<") in _READINGS:
                reading = len(pieces) if reading is None else reading
            elif reading is not None and (tag == "</ruby" or tag.removeprefix("</") in _READINGS):
                del pieces[reading:]
                reading = None
        elif child.type in ("text", "code_inline", "image"):
            pieces.append(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            pieces.append(" ")
    return "".join(pieces)


def _html(file: Path) -> Iterator[Section]:
    tree = _html_tree(_decoded(file), file)
    named = tree.css_first("head title")
    title = _one_line(named.text()) if named is not None else ""
    yield from _by_heading(_html_parts(tree), _stem(file), title=title)


def _html_tree(text: str, file: Path) -> Any:
    return _library("selectolax.lexbor", "selectolax", file).LexborHTMLParser(text)


def _html_parts(tree: Any) -> list[tuple[str, str]]:
    """Return what is not blank of a document in its order, each block with ``p`` or the name of its heading."""
    return [part for part in _html_blocks(tree.body or tree.root) if part[1].strip()]


def _html_blocks(root: Any) -> Iterator[tuple[str, str]]:
    pieces: list[str] = []
    kind = "p"
    # Opened nodes are put back with a mark, so that their end is seen: documents nest deeper than Python's stack.
    stack: list[tuple[Any, bool]] = [(root, False)]
    while stack:
        node, is_end = stack.pop()
        tag = node.tag
        if tag == "-text":
            pieces.append(node.text_content or "")
            continue
        if tag in _PASSED_OVER:
            if tag not in _UNSEEN:
                pieces.append(" ")
            continue
        is_block = tag not in _INLINE
        if is_block:
            yield kind, "".join(pieces)
            pieces.clear()
            kind = tag if tag in _HEADINGS and not is_end else "p"
        if not is_end:
            if tag in ("td", "th", "br"):
                pieces.append(" ")
            if is_block:
                stack.append((node, True))
            stack.extend((child, False) for child in reversed(list(node.iter(include_text=True))))
    yield kind, "".join(pieces)


def _pdf(file: Path) -> Iterator[Section]:
    pypdf = _library("pypdf", "pypdf", file)
    try:
        reader = pypdf.PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):
            raise DataError("expected a PDF that opens without a password, found one that asks for it", file=file)
        title = str((reader.metadata and reader.metadata.title) or "")
        pages = [page.extract_text() for page in reader.pages]
    except DataError:
        raise
    except Exception as error:  # a damaged file makes the parser fail in ways that it does not name
        raise DataError(f"expected a PDF, found one that cannot be read ({error})", file=file) from error
    # Lines of a page are the layout's, not the writer's: a hyphen before a small letter is taken for a broken word.
    text = re.sub(r"(?<=[^\W\d_])-\n(?=[a-zà-ÿ])", "", _whole_characters("\n".join(pages)))
    yield Section(
        title=_one_line(_whole_characters(title)) or _stem(file), paragraphs=_paragraphs(re.split(r"\n\s*\n", text))
    )


SUFFIXES: Mapping[str, Callable[[Path], Iterator[Section]]] = {
    ".txt": _text,
    ".md": _markdown,
    ".markdown": _markdown,
    ".html": _html,
    ".htm": _html,
    ".pdf": _pdf,
}
"""The suffixes of files that are documents."""


def _by_heading(parts: Iterable[tuple[str, str]], stem: str, *, title: str = "") -> Iterator[Section]:
    """Cut a document at its headings; the first one of the highest rank names it where nothing else does."""
    parts = [(kind, _one_line(text)) for kind, text in parts]
    if not title:
        title = next((text for kind, text in parts if kind == "h1" and text), stem)
    heading, body = "", list[str]()
    for kind, text in [*parts, ("h1", "")]:
        if kind in _HEADINGS:
            named = f"{title}: {heading}" if heading and heading != title else title
            yield Section(title=named, paragraphs=tuple(body))
            heading, body = text, []
        elif text:
            body.append(text)


def _paragraphs(blocks: Iterable[str]) -> tuple[str, ...]:
    return tuple(text for block in blocks if (text := _one_line(block)))


def _one_line(text: str) -> str:
    """Put text on one line. Between two Chinese or Japanese characters a line break is no blank."""
    text = re.sub(r"(?<=[\u3000-\u9fff\uff00-\uffef])\s*\n\s*(?=[\u3000-\u9fff\uff00-\uffef])", "", text.strip())
    return " ".join(text.replace("\0", " ").split())


def _whole_characters(text: str) -> str:
    """Join halves of surrogate pairs, as PDFs hold them; a half without its other is no character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _stem(file: Path) -> str:
    return file.stem.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _decoded(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("expected text in UTF-8, found other bytes; convert the file to UTF-8", file=file) from error
    except OSError as error:
        raise DataError(f"expected a file that can be read, found otherwise ({error})", file=file) from error


def _library(module: str, package: str, file: Path) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise DataError(
            f"reading {file.suffix} needs the package {package}, which is not installed; pip install 'dogeared[files]'",
            file=file,
        ) from error
