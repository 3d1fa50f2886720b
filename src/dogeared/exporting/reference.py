"""Vectors that travel with a retriever, so that whoever loads it elsewhere can see that it is the same there.

A tool that overlooks a prompt, pools otherwise or cuts elsewhere still gives vectors, only worse ones, and says
nothing. ``reference_vectors.json`` holds a few texts as the tokenizer gets them, prompt and title included, with the
vectors that they have here; the check compares them with what the folder gives, or what a server that took the folder
gives in the shape of OpenAI's embeddings. One text is longer than the encoder reads.
"""

import json
import math
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from dogeared.errors import ArtifactError, ModelError
from dogeared.records import Passage
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings

__all__ = ["REFERENCE_FILE", "Reference", "check_folder", "check_server", "read_reference", "write_reference"]

REFERENCE_FILE = "reference_vectors.json"
_TOLERANCE = 0.02
"""Relative; half precision stays below it, another pooling or a lost prompt does not."""
_SECONDS = 60.0
_LONG = 1_000
"""Characters; a server may refuse a text that it would have to cut, and is not asked for those."""
_QUESTIONS = ("Where was Marie Curie born?", "玛丽·居里出生在哪个城市", "a")
_PASSAGES = (
    Passage(id="1", title="Marie Curie", text="Marie Curie was born in Warsaw."),
    Passage(id="2", title="", text="Tea is a drink. 茶是一种饮料。"),
    Passage(id="3", title="Long", text="It rained all day, and then it rained on. " * 200),
)


Kind = Literal["query", "document"]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A text and its vector.

    Attributes:
        kind: Whether it is a question or a passage; a model with two encoders asks.
        text: As the tokenizer gets it.
        is_long: Whether it is one that the encoder cuts.
        vector: Of the text.
    """

    kind: Kind
    text: str
    is_long: bool
    vector: tuple[float, ...]


def write_reference(folder: Path, encoder: DualEncoder) -> None:
    """Write the texts and their vectors into a retriever's folder."""
    items = [
        {
            "kind": one.kind,
            "text": one.text,
            "is_long": one.is_long,
            "vector": _packed(one.vector) if encoder.is_sparse else one.vector,
        }
        for one in _references(encoder)
    ]
    told = {
        "about": "Each text as the tokenizer gets it, prompt included, and its vector. A tool that gives other vectors "
        "reads this model otherwise than it was trained: look for prompt, pooling, normalisation and length.",
        "dimension": encoder.dim,
        "tolerance": _TOLERANCE,
        "items": items,
    }
    (folder / REFERENCE_FILE).write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")


def read_reference(folder: Path) -> list[Reference]:
    """Read what ``write_reference`` wrote.

    Raises:
        ArtifactError: There is no such file, or it cannot be read.
    """
    file = folder / REFERENCE_FILE
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        return [
            Reference(
                kind=item["kind"],
                text=item["text"],
                is_long=item["is_long"],
                vector=_unpacked(item["vector"], told["dimension"]),
            )
            for item in told["items"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{file}: expected reference vectors, as dogeared export writes them ({error}); export the run again"
        ) from error


def check_folder(folder: Path) -> float:
    """Load an exported folder and compare its vectors with those that came along.

    Returns:
        The greatest difference, relative to the length of the vector.

    Raises:
        ModelError: A vector is another.
        ArtifactError: There is nothing to compare with.
    """
    references = read_reference(folder)
    # The folder's own length shall count, not the setting of this package.
    encoder = DualEncoder.load(RetrieverSettings(model=str(folder.absolute()), max_length_tokens=1_000_000)).eval()
    vectors: list[Sequence[float]] = []
    for one in references:
        route = {"task": one.kind} if encoder.has_two_encoders else {}
        features = encoder.model.preprocess([one.text], prompt=None, **route)
        with torch.inference_mode():
            vectors.append(encoder.encode(features)[0].tolist())
    return _compare(references, vectors, str(folder))


def check_server(folder: Path, url: str, *, model: str, token: str | None = None) -> float:
    """Ask a server for the vectors of the reference texts, and compare.

    Args:
        folder: The exported folder that the server took.
        url: Where it answers in the shape of OpenAI's embeddings, such as ``http://127.0.0.1:8000/v1/embeddings``.
        model: How the server calls the model.
        token: To bear, if the server wants one.

    Raises:
        ModelError: A vector is another, or the server gives none.
        ArtifactError: There is nothing to compare with.
    """
    references = [one for one in read_reference(folder) if not one.is_long]
    body = json.dumps({"model": model, "input": [one.text for one in references]}).encode()
    headers = {"Content-Type": "application/json"} | ({} if token is None else {"Authorization": f"Bearer {token}"})
    if not url.startswith(("http://", "https://")):
        raise ModelError(f"expected an address that begins with http:// or https://, got {url!r}")
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, data=body, headers=headers), timeout=_SECONDS
        ) as answered:
            told = json.loads(answered.read())
        rows = sorted(told["data"], key=lambda row: row["index"])
        vectors = [[float(value) for value in row["embedding"]] for row in rows]
    except (OSError, ValueError, KeyError, TypeError, urllib.error.URLError) as error:
        raise ModelError(
            f"{url}: expected embeddings in the shape of OpenAI's, got something else ({error}); is it running, and "
            f"does it call the model {model!r}?"
        ) from error
    return _compare(references, vectors, url)


def _references(encoder: DualEncoder) -> list[Reference]:
    encoder.eval()
    prompts = encoder.model.prompts
    texts = [encoder.passage_template.format(title=p.title, text=p.text).strip() for p in _PASSAGES]
    with torch.inference_mode():
        asked = encoder.embed([chunk.to(encoder.device) for chunk in encoder.query_chunks(_QUESTIONS)])
        read = encoder.embed([chunk.to(encoder.device) for chunk in encoder.passage_chunks(_PASSAGES)])
    before: dict[Kind, str] = {task: prompts.get(task) or "" for task in ("query", "document")}
    parts: tuple[tuple[Kind, Sequence[str], Any], ...] = (("query", _QUESTIONS, asked), ("document", texts, read))
    return [
        Reference(kind=kind, text=before[kind] + text, is_long=len(text) > _LONG, vector=tuple(vector))
        for kind, written, vectors in parts
        for text, vector in zip(written, vectors.tolist(), strict=True)
    ]


def _compare(references: Sequence[Reference], vectors: Sequence[Sequence[float]], source: str) -> float:
    greatest = 0.0
    if len(vectors) != len(references):
        raise ModelError(f"{source}: expected {len(references)} vectors, got {len(vectors)}")
    for one, vector in zip(references, vectors, strict=True):
        if len(vector) != len(one.vector):
            raise ModelError(f"{source}: expected vectors of {len(one.vector)} numbers, got {len(vector)}")
        length = math.hypot(*one.vector) or 1.0
        difference = math.dist(one.vector, vector) / length
        if not difference <= _TOLERANCE:
            raise ModelError(
                f"{source}: the vector of {one.text[:60]!r} differs by {difference:.2g} of its length from the one "
                f"that the retriever was exported with, more than {_TOLERANCE}; rankings will be others. Prompt, "
                "pooling, normalisation or the longest length are read otherwise"
            )
        greatest = max(greatest, difference)
    return greatest


def _packed(vector: Sequence[float]) -> dict[str, list[Any]]:
    """Keep what is not 0 of a sparse vector."""
    kept = [(index, value) for index, value in enumerate(vector) if value]
    return {"indices": [index for index, _ in kept], "values": [value for _, value in kept]}


def _unpacked(told: Any, dimension: int) -> tuple[float, ...]:
    if isinstance(told, list):
        return tuple(float(value) for value in told)
    vector = [0.0] * dimension
    for index, value in zip(told["indices"], told["values"], strict=True):
        vector[index] = float(value)
    return tuple(vector)
