"""A retriever's encoder as an ONNX graph: transformer, pooling, and whatever else makes the vector.

The graph takes what the folder's tokenizer gives (``input_ids``, ``attention_mask`` and, where the model has them,
``token_type_ids``), any number of texts of any length that the encoder reads, and gives ``last_hidden_state`` and
``sentence_embedding``. Prompts and truncation are the caller's, as they are everywhere. A model with two encoders makes
two graphs.

No graph is left behind that onnxruntime does not compute as torch does. Quantised graphs are not made here.

Source: torch.export through ``torch.onnx.export(dynamo=True)``.
"""

import importlib.util
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dogeared.errors import ConfigError, ModelError
from dogeared.retrieval.dual_encoder import DualEncoder

__all__ = ["check_graph", "check_onnx_installed", "write_onnx"]

_LIBRARIES = ("onnx", "onnxscript", "onnxruntime")
_OUTPUTS = ("last_hidden_state", "sentence_embedding")
_TEXTS = ("Where was she born?", "Marie Curie was born in Warsaw, and she won two prizes.")
_CHECKED = (("a",), ("玛丽·居里出生在华沙。", "Tea.", "It rained all day, and then it rained on. " * 200))
_TOLERANCE = 1e-4
"""Of a vector's length: far above what two orders of summing in float32 differ by, far below what changes a ranking."""


class _Encoder(nn.Module):
    """The model as a function of tensors, which is what can be traced."""

    def __init__(self, model: nn.Module, names: tuple[str, ...], task: str | None) -> None:
        super().__init__()
        self.model, self.names, self.task = model, names, task

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        told: dict[str, Any] = dict(zip(self.names, inputs, strict=True))
        features = self.model(told | ({} if self.task is None else {"task": self.task}))
        return features["token_embeddings"], features["sentence_embedding"]


def check_onnx_installed() -> None:
    """Find out before any work whether the libraries are there.

    Raises:
        ConfigError: One is missing; the message says how to install it.
    """
    for name in _LIBRARIES:
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f'--onnx needs {name}, which is not installed: pip install "dogeared[onnx]"')


def write_onnx(encoder: DualEncoder, folder: Path) -> dict[str, float]:
    """Write ``onnx/model.onnx``, or ``onnx/query.onnx`` and ``onnx/document.onnx`` for a model with two encoders.

    Args:
        encoder: The retriever, on the CPU.
        folder: Where its tokenizer and configuration stand already.

    Returns:
        By file, the greatest difference between onnxruntime's vectors and torch's, relative to their length.

    Raises:
        ConfigError: A library is missing.
        ModelError: Vectors are sparse, or the graph does not give what torch gives.
    """
    check_onnx_installed()
    if encoder.is_sparse:
        raise ModelError("--onnx: expected a retriever with dense vectors, got a sparse one; leave --onnx out")
    encoder.eval()
    _use_plain_attention(encoder)
    (folder / "onnx").mkdir(exist_ok=True)
    differences: dict[str, float] = {}
    for task in ("query", "document") if encoder.has_two_encoders else (None,):
        file = folder / "onnx" / f"{task or 'model'}.onnx"
        _write_graph(encoder, task, file)
        differences[file.name] = check_graph(encoder, task, file)
    return differences


def _write_graph(encoder: DualEncoder, task: str | None, file: Path) -> None:
    example = _tensors(encoder, _TEXTS, task)
    batch = torch.export.Dim("batch", min=1)
    length = torch.export.Dim("length", min=2, max=encoder.model.max_seq_length or 512)
    with _silence():
        program = torch.onnx.export(
            _Encoder(encoder.model, tuple(example), task).eval(),
            tuple(example.values()),
            dynamo=True,
            verbose=False,
            input_names=list(example),
            output_names=list(_OUTPUTS),
            dynamic_shapes=(tuple({0: batch, 1: length} for _ in example),),
        )
    assert program is not None, "the dynamo exporter returns a program"
    program.save(file)


def check_graph(encoder: DualEncoder, task: str | None, file: Path) -> float:
    """Compare onnxruntime's vectors with torch's for texts of several lengths.

    Args:
        encoder: The retriever.
        task: Which of its two encoders; None where it has one.
        file: The graph.

    Raises:
        ModelError: They differ by more than rounding.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    greatest = 0.0
    for texts in _CHECKED:
        told = _tensors(encoder, texts, task)
        (found,) = session.run(["sentence_embedding"], {name: value.numpy() for name, value in told.items()})
        with torch.inference_mode():
            route = {} if task is None else {"task": task}
            expected = encoder.encode({**told, **route}).float()
        away = (torch.from_numpy(found) - expected).norm(dim=1) / expected.norm(dim=1).clamp_min(1e-12)
        greatest = max(greatest, float(away.max()))
    if not greatest <= _TOLERANCE:
        raise ModelError(
            f"{file}: onnxruntime's vectors differ from torch's by {greatest:.2g} of their length, more than "
            f"{_TOLERANCE}; this graph would rank otherwise. Export without --onnx, and tell which model it was"
        )
    return greatest


@contextmanager
def _silence() -> Iterator[None]:
    """Keep to itself what the exporter says of its own inner working; nothing of it a user could mend."""
    loud = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = loud.level
    loud.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        loud.setLevel(level)


def _tensors(encoder: DualEncoder, texts: tuple[str, ...], task: str | None) -> Mapping[str, Tensor]:
    route = {} if task is None else {"task": task}
    features = encoder.model.preprocess(list(texts), prompt=None, **route)
    return {name: value for name, value in features.items() if isinstance(value, Tensor)}


def _use_plain_attention(encoder: DualEncoder) -> None:
    """Take torch's own attention, which the exporter knows; the project's registered one is not traced."""
    for module in encoder.model.modules():
        if callable(change := getattr(module, "set_attn_implementation", None)):
            change("sdpa")
