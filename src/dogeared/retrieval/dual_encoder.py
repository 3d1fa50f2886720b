"""The student: one sentence-transformers model that encodes questions and passages.

How a question and a passage are written for the encoder, how long they may be, how tokens are pooled and how vectors
are compared is all part of the model and saved with it: the folder loads in plain ``SentenceTransformer(folder)``, or
in ``SparseEncoder(folder)`` or ``MultiVectorEncoder(folder)``.

Questions and passages share one encoder, as in the paper, or have one each, which the model's ``Router`` chooses
between; the passages' may be frozen, so that their vectors outlast training.

A plain encoder, which was never trained to retrieve, is given mean pooling and the paper's prompts and score
(dot product over the root of the dimension). A model that ends in normalisation is compared by cosine.

Not here: losses, indexes, corpora.

Source: Izacard and Grave 2021, section 2.2 (shared encoder E, score S). The frozen side: Izacard et al. 2022 (Atlas,
arXiv 2208.03299), query-side fine-tuning. Encoding again where a gradient comes: Gao et al. 2021 (arXiv 2101.06983).
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
from jaxtyping import Float
from pydantic import Field
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.util import is_sentence_transformer_model
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dogeared.attention import use_fast_attention
from dogeared.cheap_dropout import use_cheap_dropout
from dogeared.errors import ModelError
from dogeared.models import forget_last_call, resolve_model
from dogeared.records import Passage
from dogeared.retrieval.encoder_models import (
    StudentModel,
    Vectors,
    averages_tokens,
    ends_normalized,
    is_multi,
    is_sparse,
    open_model,
    routes,
    set_similarity,
    with_two_encoders,
)
from dogeared.retrieval.feature_chunks import FeatureChunk, feature_chunks
from dogeared.retrieval.late_interaction import cat_texts, max_similarity, max_similarity_to_all
from dogeared.retrieval.older_tools import write_for_older_tools
from dogeared.rounded import Images, call_rounded, round_between, rounded_weights
from dogeared.settings import Settings

__all__ = ["DualEncoder", "FeatureChunk", "RetrieverSettings"]

logger = logging.getLogger(__name__)

_CHUNK_TOKENS, _SPARSE_CHUNK_TOKENS, _CHUNK_TOKENS_ON_CPU = 131_072, 32_768, 4_096
"""Texts of a chunk are padded to its longest. A GPU computes few large chunks faster than it can be told of many small
ones; where each token has a number a word of the vocabulary, memory would not hold them. What few tokens leave behind
stays in a CPU's cache."""
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
    encoders: Literal["shared", "separate", "query_only"] = "shared"
    """``shared`` trains one encoder for questions and passages. ``separate`` trains one for each, which start alike.
    ``query_only`` leaves the passages' as it is, so that a corpus is encoded once for all rounds. A model that comes
    with two encoders keeps both."""
    vectors: Vectors = "dense"
    """``sparse`` makes a student of a masked language model whose vectors have one number for each word of its
    vocabulary, most of them 0 (SPLADE). ``multi`` gives every token a vector, and compares texts token by token (late
    interaction, ColBERT): the most exact, an index some hundred times larger, and slower to search. A folder with such
    a student is one whatever stands here."""


class DualEncoder(nn.Module):
    """An encoder for questions and passages, or two.

    Args:
        model: A sentence-transformers model whose prompts are named ``query`` and ``document``, and the routes of its
            ``Router``, if it begins with one, as well.
        passage_template: How a passage is written, after the model's ``document`` prompt.
        freeze_passages: Whether passages keep their vectors: only what encodes questions alone is trained.
    """

    def __init__(self, model: StudentModel, *, passage_template: str, freeze_passages: bool = False) -> None:
        super().__init__()
        self.model = model
        self.passage_template = passage_template
        self.freezes_passages = freeze_passages
        use_fast_attention(model)
        round_between(model)
        use_cheap_dropout(model)
        for part in model.modules():
            if isinstance(part, Pooling):
                part.register_forward_pre_hook(_pool_in_float32)
        if freeze_passages:
            model.requires_grad_(False)
            routes(model)["query"].requires_grad_(True)
            if any(parameter.requires_grad for parameter in routes(model)["document"].parameters()):
                raise ModelError(
                    "retriever.encoders: query_only expects encoders that have no weights in common, for passages must "
                    "keep their vectors; got a model that shares some between its two. Choose shared or separate"
                )

    @classmethod
    def load(cls, settings: RetrieverSettings) -> Self:
        """Load a student's start, or a student saved before.

        Raises:
            ModelError: There is no such model, or it is not an encoder.
        """
        name = resolve_model(settings.model)
        try:
            is_ready = is_sentence_transformer_model(name)
            model = open_model(name, settings.vectors)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"retriever.model: expected a sentence-transformers model or an encoder, got {settings.model!r}: "
                f"{error}. Give a name on the hub (network needed), a folder with a saved model, or demo:encoder."
            ) from error
        if settings.encoders != "shared" and not routes(model):
            model = with_two_encoders(model)
        freeze_passages = settings.encoders == "query_only"
        longest = model.max_seq_length
        model.max_seq_length = min(settings.max_length_tokens, longest or settings.max_length_tokens)
        saved = Path(name) / _OWN_FILE
        if saved.is_file():
            set_similarity(model, settings.similarity)
            return cls(model, **json.loads(saved.read_text(encoding="utf-8")), freeze_passages=freeze_passages)
        # What vectors by words or by tokens have of "question" and "title" is of no use: they stand in every text.
        is_papers = not is_ready and not is_sparse(model) and not is_multi(model)
        if is_papers:
            model.prompts = {**_PLAIN_PROMPTS}
        set_similarity(model, settings.similarity)
        template = _PLAIN_TEMPLATE if is_papers else _READY_TEMPLATE
        return cls(model, passage_template=template, freeze_passages=freeze_passages)

    def save(self, folder: Path) -> None:
        """Write a folder that ``SentenceTransformer(folder)``, also of older versions, and ``load`` both read."""
        for module in self.model.modules():
            forget_last_call(getattr(module, "tokenizer", None))
        self.model.save_pretrained(str(folder), create_model_card=False)
        write_for_older_tools(folder)
        own = {"passage_template": self.passage_template}
        (folder / _OWN_FILE).write_text(json.dumps(own, indent=1), encoding="utf-8")

    @property
    def is_cosine(self) -> bool:
        """Whether vectors have length 1, so that a score is a cosine; with token vectors, a mean of such."""
        return averages_tokens(self.model) if self.is_multi else ends_normalized(self.model)

    @property
    def is_sparse(self) -> bool:
        """Whether vectors have one number a word of the vocabulary, most of them 0."""
        return is_sparse(self.model)

    @property
    def has_two_encoders(self) -> bool:
        """Whether questions and passages have an encoder each."""
        return bool(routes(self.model))

    @property
    def is_multi(self) -> bool:
        """Whether a text has one vector a token."""
        return is_multi(self.model)

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

    def train(self, mode: bool = True) -> Self:
        """Let dropout fall or not; a frozen encoder never has any, so that its vectors are those of the corpus."""
        super().train(mode)
        if self.freezes_passages:
            self.model.eval()
            routes(self.model)["query"].train(mode)
        return self

    def query_chunks(
        self, questions: Sequence[str], *, max_chunk_tokens: int | None = None, remembers: bool = False
    ) -> tuple[FeatureChunk, ...]:
        """Tokenize questions, whose tokens may be remembered, as those of passages."""
        size = self._chunk_tokens(max_chunk_tokens)
        return feature_chunks(self.model, list(questions), task="query", max_chunk_tokens=size, remembers=remembers)

    def passage_chunks(
        self, passages: Sequence[Passage], *, max_chunk_tokens: int | None = None, remembers: bool = False
    ) -> tuple[FeatureChunk, ...]:
        """Tokenize passages, sorted by length and cut into chunks of about ``max_chunk_tokens`` tokens.

        Where the same will come again, as in a training, their tokens are best remembered.
        """
        texts = [self.passage_template.format(title=p.title, text=p.text).strip() for p in passages]
        size = self._chunk_tokens(max_chunk_tokens)
        return feature_chunks(self.model, texts, task="document", max_chunk_tokens=size, remembers=remembers)

    def _chunk_tokens(self, asked: int | None) -> int:
        if asked or self.device.type == "cpu":
            return asked or _CHUNK_TOKENS_ON_CPU
        return _SPARSE_CHUNK_TOKENS if self.is_sparse else _CHUNK_TOKENS

    def rounded_weights(self) -> Images:
        """Return what ``encode`` may use for many chunks; nothing unless autocast to bfloat16 is on."""
        return rounded_weights(self.model)

    def encode(self, features: Mapping[str, Any], weights: Images | None = None) -> Float[Tensor, "rows ..."]:
        """Encode the texts of one chunk, in its order.

        Args:
            features: Of the chunk.
            weights: From ``rounded_weights``, since when no weight has changed.

        Returns:
            One vector a text; or one a token, in rows filled up with zeros. With token vectors a question's are made
            such that their similarities are summed, whichever the model wants.
        """
        if not self.is_multi:
            return call_rounded(self.model, weights, dict(features))["sentence_embedding"]
        inputs = {name: value for name, value in features.items() if name != "task"}
        made = call_rounded(self.model, weights, inputs, task=features["task"])
        counted = made["attention_mask"].bool()[:, :, None]
        vectors = made["token_embeddings"].masked_fill(~counted, 0.0)
        if features["task"] == "query" and averages_tokens(self.model):
            vectors = vectors / counted.sum(dim=1, keepdim=True).clamp(min=1)
        return vectors

    def embed(self, chunks: Sequence[FeatureChunk], *, encode_twice: bool = False) -> Float[Tensor, "rows ..."]:
        """Encode chunks and put the vectors in the order in which the texts were given.

        Args:
            chunks: Of questions or of passages.
            encode_twice: Keep nothing but the vectors, and encode each chunk again, with the same dropout, when the
                gradient of its vectors is known: memory is that of one chunk, work a third more, the gradient the same.
        """
        # Features go in as they are, not as a chunk: torch looks among the arguments for the device whose random state
        # it has to keep.
        weights = self.rounded_weights()
        vectors = cat_texts(
            [
                checkpoint(self.encode, dict(chunk.features), weights, use_reentrant=False)
                if encode_twice
                else self.encode(chunk.features, weights)
                for chunk in chunks
            ]
        )
        order = torch.cat([chunk.rows for chunk in chunks])
        return torch.empty_like(vectors).index_copy(0, order, vectors).float()

    def score(
        self, queries: Float[Tensor, "batch ..."], passages: Float[Tensor, "batch passages ..."]
    ) -> Float[Tensor, "batch passages"]:
        """Compare each question with its own passages.

        By cosine, or by dot product over the root of ``dim``; by the dot product itself where vectors are sparse, and
        token by token where there is one vector a token.
        """
        if self.is_multi:
            return max_similarity(queries, passages)
        return self._scaled(torch.einsum("bd,bpd->bp", queries, passages))

    def score_all(
        self, queries: Float[Tensor, "batch ..."], passages: Float[Tensor, "rows ..."]
    ) -> Float[Tensor, "batch rows"]:
        """Compare each question with every passage, as ``score`` does."""
        return max_similarity_to_all(queries, passages) if self.is_multi else self._scaled(queries @ passages.T)

    def _scaled(self, product: Tensor) -> Tensor:
        return product if self.is_cosine or self.is_sparse else product / self.dim**0.5


def _pool_in_float32(pooling: nn.Module, arguments: tuple[dict[str, Any]]) -> tuple[dict[str, Any]]:
    """Whatever precision the encoder computes in, a vector is not rounded to it."""
    features = arguments[0]
    return ({**features, "token_embeddings": features["token_embeddings"].float()},)
