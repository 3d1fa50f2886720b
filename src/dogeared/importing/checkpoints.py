"""Turns a checkpoint of FiD, DPR or Contriever into a folder that every command here takes for a model.

Whether it is a reader or a retriever is told from its tensors: a reader has a decoder. The folder is whole or not
there.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from dogeared.artifacts import file_fingerprint, write_artifact
from dogeared.errors import ModelError
from dogeared.importing.readers import import_reader
from dogeared.importing.retrievers import import_retriever
from dogeared.importing.tensors import read_checkpoint

__all__ = ["import_checkpoint"]


def import_checkpoint(
    source: Path, out: Path, *, tokenizer: str | None = None, beside: Path | None = None
) -> Literal["reader", "retriever"]:
    """Import a checkpoint.

    Args:
        source: The file, or the folder that holds it and its ``config.json``.
        out: The folder to make; give it as ``reader.model`` or ``retriever.model``.
        tokenizer: A model's name or folder whose tokenizer is the checkpoint's, and whose configuration is taken where
            the checkpoint has none; None where the folder has its own.
        beside: A second checkpoint, where the encoders of questions and passages are kept apart.

    Raises:
        ModelError: The checkpoint is of no known kind, is damaged, or lacks something.
    """
    checkpoint = read_checkpoint(source)
    if beside is not None:
        second = read_checkpoint(beside).tensors
        if shared := sorted(checkpoint.tensors.keys() & second.keys()):
            raise ModelError(
                f"{beside}: expected the other half of {source}, found tensors of the same names, such as {shared[0]}"
            )
        checkpoint = replace(checkpoint, tensors={**checkpoint.tensors, **second})
    if tokenizer is None:
        folder = source if source.is_dir() else source.parent
        if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt", "spiece.model")):
            raise ModelError(
                f"{folder}: expected a tokenizer beside the checkpoint, found none; name the one it was trained with "
                "(--tokenizer), such as t5-base for FiD's readers and bert-base-uncased for retrievers"
            )
        tokenizer = str(folder)
    is_reader = any(name.startswith("decoder.") for name in checkpoint.tensors)
    model = import_reader(checkpoint, tokenizer) if is_reader else import_retriever(checkpoint, tokenizer)
    inputs = {"checkpoint": file_fingerprint(source)} if source.is_file() else {}
    settings = {"source": str(source), "tokenizer": tokenizer, "beside": None if beside is None else str(beside)}
    with write_artifact(out, kind="import_checkpoint", settings=settings, inputs=inputs) as (folder, _):
        model.save(folder)
    return "reader" if is_reader else "retriever"
