"""Reads the tensors of a checkpoint without running any code that it may hold.

Safetensors are taken where they are there. Files of torch (``.bin``, ``.pt``, ``.pth``, ``.cp``, ``.tar``) are archives
of pickles; they are read by torch's restricted reader, which builds tensors and plain containers and refuses the rest,
and that is said. What the names of the tensors mean is not known here.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dogeared.errors import ModelError

__all__ = ["Checkpoint", "read_checkpoint"]

logger = logging.getLogger(__name__)

_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_NAMES = ("model.safetensors", "pytorch_model.bin", "checkpoint.pth", "model.pt")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        tensors: By their names in the file.
        config: The ``config.json`` beside it; empty where there is none.
    """

    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any]


def read_checkpoint(source: Path) -> Checkpoint:
    """Read a file of tensors, or the folder that holds one.

    Raises:
        ModelError: There is none, it is damaged, or it holds something else than tensors.
    """
    folder = source if source.is_dir() else source.parent
    tensors: dict[str, Tensor] = {}
    for file in _files(source):
        tensors |= _read(file)
    config_file = folder / "config.json"
    config: Any = {}
    if config_file.is_file():
        try:
            config = json.loads(config_file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelError(f"{config_file}: expected JSON, found it broken ({error})") from error
    if not isinstance(config, dict):
        raise ModelError(f"{config_file}: expected a JSON object, found something else")
    return Checkpoint(tensors=tensors, config=config)


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise ModelError(f"{source}: expected a checkpoint or the folder of one, there is nothing of this name")
    for name in _INDEXES:
        if (source / name).is_file():
            return _listed(source, source / name)
    found = [source / name for name in _NAMES if (source / name).is_file()]
    if not found:
        raise ModelError(f"{source}: expected one of {', '.join(_NAMES)}, found none; name the file itself")
    return found[:1]


def _listed(source: Path, index: Path) -> list[Path]:
    """Return the files that an index names; they stand beside it, and nowhere else."""
    try:
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted({str(name) for name in listed.values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f'{index}: expected an object "weight_map" of file names, found it broken ({error})'
        ) from error
    for name in names:
        if Path(name).name != name or name in ("", ".", ".."):
            raise ModelError(f"{index}: expected names of files beside it, got {name!r}, which leads elsewhere")
    return [source / name for name in names]


def _read(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        logger.warning("%s is a file of pickles; only tensors and plain values are taken from it", file)
        found = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file}: expected a file of tensors, found otherwise ({error})") from error
    except Exception as error:  # the restricted reader's errors are of many kinds
        raise ModelError(
            f"{file}: expected tensors and plain values alone, found something that only running code could read "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__}). Save its tensors as safetensors "
            "where you trust it"
        ) from error
    # DPR keeps the tensors beside the state of its optimizer.
    for name in ("model_dict", "model_state_dict", "state_dict"):
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
    tensors = (
        {name: value for name, value in found.items() if isinstance(value, Tensor)} if isinstance(found, dict) else {}
    )
    if not tensors:
        raise ModelError(f"{file}: expected tensors by their names, found none")
    return tensors
