"""Models of sentence-transformers, looked into and made ready to be a student.

What a ``DualEncoder`` must know of a model before it encodes anything: whether questions and passages have an encoder
each, how vectors are compared, whether they are dense or have one number a word. Nothing is encoded here.

Source: sparse vectors, Formal et al. 2021 (SPLADE v2, arXiv 2109.10086).
"""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.sentence_transformer.modules import Normalize, Router
from sentence_transformers.sparse_encoder.modules import SpladePooling
from torch import nn

from dogeared.errors import ModelError

__all__ = [
    "StudentModel",
    "ends_normalized",
    "is_sparse",
    "open_sparse",
    "routes",
    "set_similarity",
    "was_saved_sparse",
    "with_two_encoders",
]

StudentModel = SentenceTransformer | SparseEncoder


def is_sparse(model: StudentModel) -> bool:
    """Tell whether vectors have one number a word of the vocabulary."""
    return isinstance(list(model)[-1], SpladePooling)


def was_saved_sparse(name: str) -> bool:
    """Tell whether a folder holds a model with sparse vectors."""
    file = Path(name) / "config_sentence_transformers.json"
    return file.is_file() and json.loads(file.read_text(encoding="utf-8")).get("model_type") == "SparseEncoder"


def open_sparse(name: str) -> SparseEncoder:
    """Load a masked language model, or a model that was made of one, whose vectors are sparse.

    Raises:
        ModelError: The model predicts no words, so that it has nothing to make a number a word of.
    """
    model = SparseEncoder(name, device="cpu", model_kwargs={"dtype": torch.float32})
    pooling, inner = list(model)[-1], model.transformers_model
    if not isinstance(pooling, SpladePooling) or inner is None:
        raise ModelError(
            f"retriever.vectors: sparse expects a masked language model (an architecture ...ForMaskedLM), got {name}, "
            "which predicts no words; take such a model, or retriever.vectors = dense"
        )
    # The library learns it from the first vectors, and says the width of the hidden layer until then.
    pooling.embedding_dimension = inner.config.vocab_size
    return model


def routes(model: StudentModel) -> Mapping[str, nn.Module]:
    """Return the encoders of a model that has one for questions and one for passages; nothing for any other."""
    first = next(iter(model))
    return dict(first.sub_modules.items()) if isinstance(first, Router) else {}


def with_two_encoders(model: StudentModel) -> SentenceTransformer:
    """Give questions an encoder of their own, which starts as a copy of the model's.

    Raises:
        ModelError: Its vectors are sparse.
    """
    if isinstance(model, SparseEncoder):
        raise ModelError(
            "retriever.encoders: expected shared for a model with sparse vectors, got separate or query_only; two "
            "encoders are there for dense vectors only"
        )
    modules: list[Any] = list(model)
    last = [modules.pop()] if isinstance(modules[-1], Normalize) else []
    router = Router.for_query_document(query_modules=copy.deepcopy(modules), document_modules=modules)
    # The public property of similarity turns "says nothing" into cosine.
    said: dict[str, Any] = {"prompts": dict(model.prompts), "similarity_fn_name": model._similarity_fn_name}
    return SentenceTransformer(modules=[router, *last], device="cpu", **said)


def ends_normalized(model: StudentModel) -> bool:
    """Tell whether vectors have length 1; of two encoders, both must make them so."""
    last = list(model)[-1]
    ends = [list(route.children())[-1] for route in last.sub_modules.values()] if isinstance(last, Router) else [last]
    return all(isinstance(end, Normalize) for end in ends)


def set_similarity(model: StudentModel, wanted: Literal["auto", "dot", "cosine"]) -> None:
    """Make sure that the model's last module and its stated similarity say the same.

    Raises:
        ModelError: The model's vectors cannot be compared as wanted.
    """
    is_normalized = ends_normalized(model)
    if wanted == "cosine" and is_sparse(model):
        raise ModelError(
            "retriever.similarity: expected dot or auto for sparse vectors, got cosine; their length says how many "
            "words a text may be found by"
        )
    if wanted == "auto":
        says_cosine = model._similarity_fn_name == "cosine"  # the public property turns "says nothing" into cosine
        wanted = "cosine" if is_normalized or (says_cosine and not is_sparse(model)) else "dot"
    if wanted == "cosine" and not is_normalized:
        model.append(Normalize())
    if wanted == "dot" and is_normalized:
        raise ModelError(
            "retriever.similarity: expected cosine or auto for a model that ends in normalisation, got dot; "
            "vectors of length 1 have a cosine for a dot product, and its softmax needs the temperature of a cosine"
        )
    model.similarity_fn_name = wanted
