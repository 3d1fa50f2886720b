"""Inputs for the readers: sound files that were harmed, records of odd values under the fields that readers look for.

Hypothesis draws them. Bytes that no grammar would make come from the fuzzer that is guided by coverage.
"""

import json
from typing import Any

from hypothesis import strategies as st

from fuzz.readers import Reader

__all__ = ["files"]

# fmt: off
_FIELDS = (
    "id", "_id", "question", "text", "title", "answers",
    "answer", "target", "split", "gold", "near_gold", "ctxs",
    "score", "passages", "query", "input", "output", "provenance",
    "wikipedia_id", "start_paragraph_id", "end_paragraph_id", "wikipedia_title", "pos", "neg",
    "pos_scores", "neg_scores", "data", "paragraphs", "context", "qas",
    "is_impossible", "supporting_facts", "paragraph_text", "is_supporting", "answerable", "answer_aliases",
    "positive_ctxs", "negative_ctxs", "hard_negative_ctxs", "passage_id", "psg_id", "golden_answers",
    "contents", "metadata", "section", "question_id", "relevance", "kind",
    "settings", "inputs", "facts", "files", "weight_map", "model_type",
)
# fmt: on
_ODD = st.sampled_from(
    [
        "",
        " ",
        "\0",
        "\ud800",
        "a\tb",
        "a\nb",
        "\u2028",
        "1e999",
        "NaN",
        "-1",
        "٣",
        "x" * 3000,
        "['a']",
        "__import__('os')",
    ]
)
_ODD_NUMBERS = st.sampled_from(
    [0, -1, 10**400, 2**63, 1e308, float("nan"), float("inf"), -float("inf"), -0.0, 1e-320, True, False, None]
)
_LEAVES = st.one_of(_ODD, _ODD_NUMBERS, st.text(max_size=20), st.integers(), st.floats())
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(_FIELDS), inner, max_size=5)),
    max_leaves=12,
)
_RECORDS = st.dictionaries(st.sampled_from(_FIELDS), _VALUES, max_size=8)


@st.composite
def _written(draw: st.DrawFn) -> bytes:
    """Write records as lines, as a list or as one object, in the ways that other tools have."""
    records: list[Any] = draw(st.lists(_RECORDS | _VALUES, min_size=1, max_size=4))
    texts = [json.dumps(record, ensure_ascii=draw(st.booleans())) for record in records]
    shape = draw(st.sampled_from(["lines", "list", "object"]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r", "\n\n", ""]))
    text = {"lines": end.join([*texts, ""]), "list": f"[{f',{end}'.join(texts)}]", "object": texts[0]}[shape]
    content = text.encode("utf-8", "surrogatepass")
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe"])) + content if draw(st.booleans()) else content


@st.composite
def _changed_fields(draw: st.DrawFn, seed: bytes) -> bytes:
    """Put an odd value at some place of a sound JSON file."""
    text = seed.decode()
    is_lines = text.count("\n") > 1 and text[0] == "{"
    rows = [json.loads(line) for line in text.splitlines()] if is_lines else [json.loads(text)]
    for _ in range(draw(st.integers(1, 3))):
        here: Any = rows
        while isinstance(here, list | dict) and here:
            keys = list(here) if isinstance(here, dict) else range(len(here))
            key = draw(st.sampled_from(keys))
            if not isinstance(here[key], list | dict) or not here[key] or draw(st.integers(0, 3)) == 0:
                here[key] = draw(_VALUES)
                break
            here = here[key]
    return "\n".join(json.dumps(row) for row in rows).encode("utf-8", "surrogatepass")


@st.composite
def _harmed(draw: st.DrawFn, seed: bytes) -> bytes:
    """Change, cut, double or drop some bytes."""
    content = bytearray(seed)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.integers(0, 12))
        match draw(st.sampled_from(["change", "cut", "insert", "double", "drop"])):
            case "change" if content:
                content[at] = draw(st.integers(0, 255))
            case "cut":
                del content[at:]
            case "insert":
                content[at:at] = draw(st.binary(max_size=6))
            case "double":
                content[at:at] = content[at : at + length]
            case _:
                del content[at : at + length]
    return bytes(content)


def files(reader: Reader) -> st.SearchStrategy[bytes]:
    """Draw the content of a file for a reader."""
    seeds = st.sampled_from(reader.seeds)
    drawn = [seeds.flatmap(_harmed), seeds.flatmap(_harmed), st.binary(max_size=200)]
    if _is_json(reader):
        drawn += [_written(), seeds.flatmap(_changed_fields), seeds.flatmap(_changed_fields)]
    return st.one_of(*drawn)


def _is_json(reader: Reader) -> bool:
    return all(seed[:1] in (b"{", b"[") for seed in reader.seeds) and not reader.file.endswith(".parts")
