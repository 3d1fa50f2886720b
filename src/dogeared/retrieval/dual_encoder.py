"""The student: one sentence-transformers model that encodes questions and passages alike.

How a question and a passage are written for the encoder, how long they may be, how tokens are pooled and how vectors
are compared is all part of the model and saved with it: the folder loads in plain ``SentenceTransformer(folder)``.

A plain encoder, which was never trained to retrieve, is given mean pooling and the paper's prompts and score
(dot product over the root of the dimension). A model that ends in normalisation is compared by cosine.

Not here: losses, indexes, corpora.

Source: Izacard and Grave 2021, section 2.2 (shared encoder E, score S).
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import torch
from jaxtyping import Float, Int
from pydantic import Field
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize
from sentence_transformers.util import is_sentence_transformer_model
from torch import Tensor, nn

from dogeared.attention import use_fast_attention
from dogeared.batching import Movable
from dogeared.errors import ModelError
from dogeared.models import resolve_model
from dogeared.records import Passage
from dogeared.settings import Settings

__all__ = ["DualEncoder", "FeatureChunk", "RetrieverSettings"]

logger = logging.getLogger(__name__)

_OWN_FILE = "dogeared.json"
_PLAIN_PROMPTS: Mapping[str, str | None] = {"query": "question: ", "document": "title: "}
_PLAIN_TEMPLATE = "{title} context: {text}"
_READY_TEMPLATE = "{title} {text}"


class RetrieverSettings(Settings):
    """What the student is, apart from its weights."""

    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    """Its start: a sentence-transformers model or a plain encoder, by hub name or folder, or ``demo:encoder``."""
    max_length_tokens: int = Field(default=200, ge=8)
    """Longer questions and passages are cut at their end; saved with the model."""
    similarity: Literal["auto", "dot", "cosine"] = "auto"
    """``auto`` is cosine for a model that ends in normalisation or says so, else dot."""


@dataclass(frozen=True, kw_only=True)
class FeatureChunk(Movable):
    """Texts of about the same length, as the model's own preprocessing made them.

    Attributes:
        features: The model's inputs.
        rows: Which texts of the batch these are.
    """

    features: Mapping[str, Any]
    rows: Int[Tensor, " rows"]


class DualEncoder(nn.Module):
    """One encoder for questions and passages.

    Args:
        model: A sentence-transformers model whose prompts are named ``query`` and ``document``.
        passage_template: How a passage is written, after the model's ``document`` prompt.
    """

    def __init__(self, model: SentenceTransformer, *, passage_template: str) -> None:
        super().__init__()
        self.model = model
        self.passage_template = passage_template
        use_fast_attention(model)

    @classmethod
    def load(cls, settings: RetrieverSettings) -> Self:
        """Load a student's start, or a student saved before.

        Raises:
            ModelError: There is no such model, or it is not an encoder.
        """
        name = resolve_model(settings.model)
        try:
            is_ready = is_sentence_transformer_model(name)
            model = SentenceTransformer(name, device="cpu", model_kwargs={"dtype": torch.float32})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"retriever.model: expected a sentence-transformers model or an encoder, got {settings.model!r}: "
                f"{error}. Give a name on the hub (network needed), a folder with a saved model, or demo:encoder."
            ) from error
        longest = model.max_seq_length
        model.max_seq_length = min(settings.max_length_tokens, longest or settings.max_length_tokens)
        saved = Path(name) / _OWN_FILE
        if saved.is_file():
            return cls(model, **json.loads(saved.read_text(encoding="utf-8")))
        if not is_ready:
            model.prompts = {**_PLAIN_PROMPTS}
        _set_similarity(model, settings.similarity)
        return cls(model, passage_template=_READY_TEMPLATE if is_ready else _PLAIN_TEMPLATE)

    def save(self, folder: Path) -> None:
        """Write a folder that ``SentenceTransformer(folder)`` and ``load`` both read."""
        self.model.save_pretrained(str(folder), create_model_card=False)
        own = {"passage_template": self.passage_template}
        (folder / _OWN_FILE).write_text(json.dumps(own, indent=1), encoding="utf-8")

    @property
    def is_cosine(self) -> bool:
        """Whether vectors have length 1, so that their product is a cosine."""
        return isinstance(list(self.model)[-1], Normalize)

    @property
    def dim(self) -> int:
        """The length of a vector."""
        dim = self.model.get_embedding_dimension()
        assert dim is not None, "a SentenceTransformer with pooling knows its dimension"
        return dim

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    def query_chunks(self, questions: Sequence[str], *, max_chunk_tokens: int = 16_384) -> tuple[FeatureChunk, ...]:
        """Tokenize questions."""
        return self._chunks(list(questions), self.model.prompts.get("query"), max_chunk_tokens)

    def passage_chunks(
        self, passages: Sequence[Passage], *, max_chunk_tokens: int = 16_384
    ) -> tuple[FeatureChunk, ...]:
        """Tokenize passages, sorted by length and cut into chunks of about ``max_chunk_tokens`` tokens."""
        texts = [self.passage_template.format(title=p.title, text=p.text).strip() for p in passages]
        return self._chunks(texts, self.model.prompts.get("document"), max_chunk_tokens)

    def embed(self, chunks: Sequence[FeatureChunk]) -> Float[Tensor, "rows dim"]:
        """Encode chunks and put the vectors in the order in which the texts were given."""
        vectors = torch.cat([self.model(dict(chunk.features))["sentence_embedding"] for chunk in chunks])
        order = torch.cat([chunk.rows for chunk in chunks])
        return torch.empty_like(vectors).index_copy(0, order, vectors).float()

    def score(
        self, queries: Float[Tensor, "batch dim"], passages: Float[Tensor, "batch passages dim"]
    ) -> Float[Tensor, "batch passages"]:
        """Compare each question with its own passages: by cosine, or by dot product over the root of ``dim``."""
        product = torch.einsum("bd,bpd->bp", queries, passages)
        return product if self.is_cosine else product / self.dim**0.5

    def _chunks(self, texts: list[str], prompt: str | None, max_chunk_tokens: int) -> tuple[FeatureChunk, ...]:
        # Characters stand in for tokens: tokenizing is left to the model's own preprocessing, chunk by chunk.
        longest = 4 * (self.model.max_seq_length or 512)
        lengths = [min(len(text) + len(prompt or ""), longest) for text in texts]
        order = sorted(range(len(texts)), key=lambda row: lengths[row])
        chunks, start = [], 0
        while start < len(order):
            end = start + 1
            while end < len(order) and lengths[order[end]] * (end + 1 - start) <= 4 * max_chunk_tokens:
                end += 1
            features = self.model.preprocess([texts[row] for row in order[start:end]], prompt=prompt or None)
            chunks.append(FeatureChunk(features=features, rows=torch.tensor(order[start:end])))
            start = end
        return tuple(chunks)


def _set_similarity(model: SentenceTransformer, wanted: Literal["auto", "dot", "cosine"]) -> None:
    """Make sure that the model's last module and its stated similarity say the same."""
    ends_normalized = isinstance(list(model)[-1], Normalize)
    if wanted == "auto":
        says_cosine = model._similarity_fn_name == "cosine"  # the public property turns "says nothing" into cosine
        wanted = "cosine" if ends_normalized or says_cosine else "dot"
    if wanted == "cosine" and not ends_normalized:
        model.append(Normalize())
    if wanted == "dot" and ends_normalized:
        raise ModelError(
            "retriever.similarity: expected cosine or auto for a model that ends in normalisation, got dot; "
            "vectors of length 1 have a cosine for a dot product, and its softmax needs the temperature of a cosine"
        )
    model.similarity_fn_name = wanted
