"""Models of sentence-transformers, looked into and made ready to be a student.

What a ``DualEncoder`` must know of a model before it encodes anything: whether questions and passages have an encoder
each, how vectors are compared, whether a text has one dense vector, one number a word or one vector a token. Nothing is
encoded here.

Source: sparse vectors, Formal et al. 2021 (SPLADE v2, arXiv 2109.10086); token vectors, Khattab and Zaharia 2020
(ColBERT, arXiv 2004.12832).
"""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from sentence_transformers import MultiVectorEncoder, SentenceTransformer, SparseEncoder
from sentence_transformers.sentence_transformer.modules import Normalize, Router, Transformer
from sentence_transformers.sparse_encoder.modules import SpladePooling
from sentence_transformers.util import load_file_path
from torch import nn

from dogeared.errors import ModelError
from dogeared.retrieval.token_projection import has_token_projection

__all__ = [
    "StudentModel",
    "Vectors",
    "averages_tokens",
    "ends_normalized",
    "is_multi",
    "is_sparse",
    "open_model",
    "routes",
    "set_similarity",
    "takes_lists",
    "with_two_encoders",
]

StudentModel = SentenceTransformer | SparseEncoder | MultiVectorEncoder

Vectors = Literal["dense", "sparse", "multi"]
"""What a text becomes: one vector, one number for each word of the vocabulary, or one vector for each of its tokens."""

_SAVED: Mapping[str, Vectors] = {"SparseEncoder": "sparse", "MultiVectorEncoder": "multi"}


def is_sparse(model: StudentModel) -> bool:
    """Tell whether vectors have one number a word of the vocabulary."""
    return isinstance(list(model)[-1], SpladePooling)


def is_multi(model: StudentModel) -> bool:
    """Tell whether a text has one vector a token."""
    return isinstance(model, MultiVectorEncoder)


def averages_tokens(model: StudentModel) -> bool:
    """Tell whether the best similarities of a question's tokens are averaged, and not summed."""
    return isinstance(model, MultiVectorEncoder) and model.similarity_fn_name == "meanmaxsim"


def open_model(name: str, vectors: Vectors) -> StudentModel:
    """Load a model, or make one of a plain encoder or language model.

    Args:
        name: On the hub, or a folder.
        vectors: What they shall be; a saved model whose vectors are not dense knows better.

    Raises:
        ModelError: Sparse vectors are asked of a model that predicts no words, so that it has nothing to make a number
            a word of.
    """
    saved = _saved_vectors(name)
    match vectors if saved == "dense" else saved:
        case "sparse":
            return _open_sparse(name)
        case "multi":
            # Where an encoder has no projection of its tokens, the library gives it one to 128 numbers, drawn from
            # the seed of the moment.
            return MultiVectorEncoder(name, device="cpu", model_kwargs={"dtype": torch.float32})
        case "dense":
            trusted = has_token_projection(name)
            kwargs = {"dtype": torch.float32}
            return SentenceTransformer(name, device="cpu", model_kwargs=kwargs, trust_remote_code=trusted)


def _saved_vectors(name: str) -> Vectors:
    """Tell what the vectors of a saved model are, also on the hub; dense where nothing says otherwise."""
    file = load_file_path(name, "config_sentence_transformers.json")
    said = json.loads(Path(file).read_text(encoding="utf-8")).get("model_type") if file else None
    return _SAVED.get(str(said), "dense")


def _open_sparse(name: str) -> SparseEncoder:
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


def takes_lists(model: StudentModel) -> bool:
    """Tell whether a model's preprocessing only tokenizes, and so can leave its inputs as lists."""
    first_modules = [module[0] for module in routes(model).values() or [model]]  # type: ignore[index]
    only_tokenize = all(
        type(module) is Transformer and "message" not in module.modality_config for module in first_modules
    )
    return only_tokenize and not is_multi(model)


def with_two_encoders(model: StudentModel) -> SentenceTransformer:
    """Give questions an encoder of their own, which starts as a copy of the model's.

    Raises:
        ModelError: Its vectors are not dense.
    """
    if not isinstance(model, SentenceTransformer):
        kind = "sparse vectors" if isinstance(model, SparseEncoder) else "token vectors"
        raise ModelError(
            f"retriever.encoders: expected shared for a model with {kind}, got separate or query_only; two encoders "
            "are there for dense vectors only"
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
    if isinstance(model, MultiVectorEncoder):
        if wanted != "auto":
            raise ModelError(
                f"retriever.similarity: expected auto for token vectors, compared token by token, got {wanted}"
            )
        return
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
