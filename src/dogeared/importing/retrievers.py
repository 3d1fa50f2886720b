"""Reads BERT retrievers as the paper's reference code, DPR and Contriever save them.

============  =============================================  =========  =======================================
kind          names of its tensors                           pooling    texts
============  =============================================  =========  =======================================
FiD           ``model.*``, and perhaps ``proj.*, norm.*``    mean, cls  ``question: Q``; ``title: T context: P``
DPR           ``question_model.*``, ``ctx_model.*``          cls        ``Q``; ``T [SEP] P``
DPR (hub)     ``question_encoder.*``, ``ctx_encoder.*``      cls        ``Q``; ``T [SEP] P``
Contriever    those of a BERT                                mean       ``Q``; ``T P``
============  =============================================  =========  =======================================

DPR's two encoders become the two routes of one model; where there is only one, as in the folders of the hub, it is
taken for both. The pooler of BERT, which none of them uses, may be missing. Every other tensor must have its place.

Source: the names of parameters, as saved by these projects.
"""

import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, LayerNorm, Pooling, Router, Transformer
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer, BertConfig, BertModel

from dogeared.errors import ModelError
from dogeared.importing.tensors import Checkpoint
from dogeared.models import resolve_model
from dogeared.retrieval.dual_encoder import DualEncoder
from dogeared.retrieval.token_projection import TokenProjection

__all__ = ["import_retriever"]

logger = logging.getLogger(__name__)

_Tensors = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A checkpoint, and where the rest comes from."""

    checkpoint: Checkpoint
    config: BertConfig
    tokenizer: str

    def part(self, *prefixes: str) -> _Tensors:
        """Return the tensors under the first prefix that there is, without it."""
        for prefix in prefixes:
            found = {
                name.removeprefix(prefix): tensor
                for name, tensor in self.checkpoint.tensors.items()
                if name.startswith(prefix)
            }
            if found:
                return found
        return {}


def import_retriever(checkpoint: Checkpoint, tokenizer: str) -> DualEncoder:
    """Make a student of a checkpoint; which kind it is, is told from the names of its tensors.

    Args:
        checkpoint: One of the kinds above.
        tokenizer: The name or the folder of its tokenizer, and of its configuration where the checkpoint has none.

    Raises:
        ModelError: It is of no known kind; or a tensor is missing, is one too many, or has an unexpected shape.
    """
    tops = {name.split(".")[0] for name in checkpoint.tensors}
    for top, make in _KINDS.items():
        if top in tops:
            return make(_Source(checkpoint=checkpoint, config=_config(checkpoint, tokenizer), tokenizer=tokenizer))
    raise ModelError(
        f"expected tensors named {', '.join(f'{top}.*' for top in _KINDS)}, found {', '.join(sorted(tops)[:8])}; only "
        "BERT encoders of FiD, DPR and Contriever are imported"
    )


def _fid(source: _Source) -> DualEncoder:
    told = source.checkpoint.config
    for mask in ("apply_question_mask", "apply_passage_mask"):
        if not told.get(mask, False):
            logger.warning(
                "%s is off in config.json: this encoder was trained to look at padding. Here padding is never looked "
                "at, and its vectors differ",
                mask,
            )
    pooling = "cls" if told.get("extract_cls", False) else "mean"
    longest = int(told.get("passage_maxlength", 200))
    modules: list[nn.Module] = [_transformer(source, source.part("model."), longest)]
    proj, norm = source.part("proj."), source.part("norm.")
    size = source.config.hidden_size
    if not proj:
        modules.append(Pooling(size, pooling))
    elif pooling == "cls":
        modules += [Pooling(size, pooling), *_projection(proj, norm)]
    else:
        dim = len(proj["bias"])
        projection = TokenProjection(size, dim)
        _load(
            projection,
            {f"proj.{name}": value for name, value in proj.items()} | {f"norm.{n}": v for n, v in norm.items()},
        )
        modules += [projection, Pooling(dim, pooling)]
    left = {name.split(".")[0] for name in source.checkpoint.tensors} - {"model", "proj", "norm"}
    if left:
        raise ModelError(
            f"expected the tensors model.*, proj.* and norm.* and no others, found {', '.join(sorted(left))}"
        )
    prompts = {"query": "question: ", "document": "title: "}
    return _dual_encoder(modules, prompts, "{title} context: {text}")


def _dpr(source: _Source) -> DualEncoder:
    routes: list[list[nn.Module]] = []
    for prefixes in (("question_model.", "question_encoder."), ("ctx_model.", "ctx_encoder.")):
        tensors = source.part(*prefixes)
        if tensors:
            routes.append(_dpr_modules(source, tensors))
    modules: list[Any] = routes[0]
    if len(routes) == 2:
        modules = [Router.for_query_document(query_modules=routes[0], document_modules=routes[1])]  # type: ignore[arg-type]
    else:
        logger.warning("the checkpoint has one of DPR's two encoders; it is taken for questions and passages alike")
    separator = AutoTokenizer.from_pretrained(resolve_model(source.tokenizer)).sep_token
    return _dual_encoder(modules, {"query": "", "document": ""}, f"{{title}} {separator} {{text}}")


def _dpr_modules(source: _Source, tensors: _Tensors) -> list[nn.Module]:
    tensors = {name.removeprefix("bert_model."): tensor for name, tensor in tensors.items()}
    proj = {
        name.removeprefix("encode_proj."): tensors.pop(name)
        for name in list(tensors)
        if name.startswith("encode_proj.")
    }
    pooling = Pooling(source.config.hidden_size, "cls")
    return [_transformer(source, tensors, 256), pooling, *(_projection(proj, {}) if proj else [])]


def _contriever(source: _Source) -> DualEncoder:
    tensors = dict(source.checkpoint.tensors) if "bert" not in _tops(source) else source.part("bert.")
    modules: list[nn.Module] = [_transformer(source, tensors, 512), Pooling(source.config.hidden_size, "mean")]
    return _dual_encoder(modules, {"query": "", "document": ""}, "{title} {text}")


_KINDS: Mapping[str, Callable[[_Source], DualEncoder]] = {
    "question_model": _dpr,
    "ctx_model": _dpr,
    "question_encoder": _dpr,
    "ctx_encoder": _dpr,
    "model": _fid,
    "embeddings": _contriever,
    "bert": _contriever,
}


def _tops(source: _Source) -> set[str]:
    return {name.split(".")[0] for name in source.checkpoint.tensors}


def _config(checkpoint: Checkpoint, base: str) -> BertConfig:
    """Read the sizes of the encoder; DPR's own files do not say them."""
    if checkpoint.config:
        names = BertConfig().to_dict().keys() - {"architectures", "transformers_version", "model_type"}
        return BertConfig(**{name: value for name, value in checkpoint.config.items() if name in names})
    try:
        config = AutoConfig.from_pretrained(resolve_model(base))
    except (OSError, ValueError) as error:
        raise ModelError(f"expected the configuration of a BERT at {base!r}, found otherwise ({error})") from error
    if not isinstance(config, BertConfig):
        raise ModelError(f"expected the configuration of a BERT at {base!r}, found {type(config).__name__}")
    return config


def _transformer(source: _Source, tensors: _Tensors, longest: int) -> Transformer:
    model = BertModel(source.config)
    assert model.pooler is not None, "a BERT has a pooler where nothing else is said"
    # Nobody looks at the pooler; a checkpoint without one gets zeros, that it may be the same every time.
    unused = {f"pooler.{name}": torch.zeros_like(value) for name, value in model.pooler.state_dict().items()}
    used = {name: tensor for name, tensor in tensors.items() if not name.endswith("embeddings.position_ids")}
    _load(model, unused | used)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        try:
            tokenizer = AutoTokenizer.from_pretrained(resolve_model(source.tokenizer))
        except (OSError, ValueError) as error:
            raise ModelError(f"expected a tokenizer at {source.tokenizer!r}, found otherwise ({error})") from error
        if len(tokenizer) > source.config.vocab_size:
            raise ModelError(
                f"expected a tokenizer of at most {source.config.vocab_size} tokens, as the encoder has, found "
                f"{len(tokenizer)} at {source.tokenizer!r}; give the one it was trained with"
            )
        tokenizer.save_pretrained(folder)
        return Transformer(
            folder,
            max_seq_length=min(longest, source.config.max_position_embeddings),
            model_kwargs={"dtype": torch.float32},
        )


def _projection(proj: _Tensors, norm: _Tensors) -> list[nn.Module]:
    """Make the projection of a vector; after the pooling of one token it is that of the token."""
    dim, size = proj["weight"].shape
    dense = Dense(size, dim, activation_function=None)
    _load(dense.linear, proj)
    if not norm:
        return [dense]
    layer_norm = LayerNorm(dim)
    _load(layer_norm.norm, norm)
    return [dense, layer_norm]


def _load(module: nn.Module, tensors: _Tensors) -> None:
    try:
        module.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=True)
    except RuntimeError as error:
        raise ModelError(f"expected the tensors that config.json says and no others ({error})") from error


def _dual_encoder(modules: list[Any], prompts: dict[str, str], template: str) -> DualEncoder:
    model = SentenceTransformer(modules=modules, device="cpu", prompts=prompts, similarity_fn_name="dot")
    return DualEncoder(model, passage_template=template)
