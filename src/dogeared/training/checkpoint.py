"""Save and restore all state of a training: weights, optimizer, step, what has been measured, and the best weights.

A checkpoint is an artifact: complete or absent, and refused where the settings that made it differ. There is no
random state in it, because there is none to keep: the loop derives the order of questions and every random number of
a step from the seed and the step. Tensors are stored as safetensors; nothing is pickled.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import nn

from dogeared.artifacts import is_finished, verify, write_artifact

__all__ = ["TrainingState", "load_best", "load_checkpoint", "newest_checkpoint", "save_best", "save_checkpoint"]

_NAME = "checkpoint"
_BEST = "best"
_WEIGHTS = "model.safetensors"


@dataclass(kw_only=True)
class TrainingState:
    """What the loop has done so far, apart from tensors.

    Attributes:
        step: Optimizer steps done.
        losses: One a step.
        evaluations: The measure by the number of steps done when it was taken.
        best_step: The steps done at the best evaluation; None before the first.
        skipped: Steps without an update, because gradients in float16 were too large.
        scaling: What torch's scaler of the loss remembers; empty where the loss is not scaled.
    """

    step: int = 0
    losses: list[float] = field(default_factory=list)
    evaluations: dict[int, float] = field(default_factory=dict)
    best_step: int | None = None
    skipped: list[int] = field(default_factory=list)
    scaling: dict[str, float] = field(default_factory=dict)


def save_checkpoint(
    folder: Path,
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: TrainingState,
    settings: Mapping[str, Any],
) -> None:
    """Write a checkpoint in the place of the one before, which stays whole until this one is."""
    name = _name(_NAME, state.step)
    with write_artifact(folder / name, kind="checkpoint", settings=settings, inputs={}) as (path, _):
        save_model(model, str(path / _WEIGHTS))
        save_file(_flat_state(optimizer), path / "optimizer.safetensors")
        (path / "state.json").write_text(json.dumps(asdict(state)), encoding="utf-8")
    needed = {name} if state.best_step is None else {name, _name(_BEST, state.best_step)}
    for older in [*_artifacts(folder, _NAME), *_artifacts(folder, _BEST)]:
        if older.name not in needed:
            shutil.rmtree(older)


def load_checkpoint(
    folder: Path, *, model: nn.Module, optimizer: torch.optim.Optimizer, settings: Mapping[str, Any]
) -> TrainingState:
    """Restore the newest checkpoint into ``model`` and ``optimizer``; a fresh state where there is none.

    Raises:
        ArtifactError: The checkpoint was made with other settings, which the message names; or a file of it was cut or
            altered.
    """
    newest = newest_checkpoint(folder)
    if newest is None:
        return TrainingState()
    is_finished(newest, kind="checkpoint", settings=settings, inputs={})
    verify(newest)
    load_model(model, str(newest / _WEIGHTS))
    _restore(optimizer, load_file(newest / "optimizer.safetensors"))
    values = json.loads((newest / "state.json").read_text(encoding="utf-8"))
    values["evaluations"] = {int(step): value for step, value in values["evaluations"].items()}
    return TrainingState(**values)


def newest_checkpoint(folder: Path) -> Path | None:
    """Name the newest checkpoint in a folder, if there is any."""
    return next(reversed(_artifacts(folder, _NAME)), None)


def save_best(folder: Path, *, model: nn.Module, step: int) -> None:
    """Write the weights of a step that measured best; older ones stay until a checkpoint knows of these."""
    with write_artifact(folder / _name(_BEST, step), kind="best weights", settings={}, inputs={}) as (path, _):
        save_model(model, str(path / _WEIGHTS))


def load_best(folder: Path, *, model: nn.Module, step: int) -> None:
    """Restore what ``save_best`` wrote at a step.

    Raises:
        ArtifactError: It is missing, or was cut or altered.
    """
    verify(folder / _name(_BEST, step))
    load_model(model, str(folder / _name(_BEST, step) / _WEIGHTS))


def _name(prefix: str, step: int) -> str:
    return f"{prefix}-{step:08d}"


def _artifacts(folder: Path, prefix: str) -> list[Path]:
    return sorted(path for path in folder.glob(f"{prefix}-*") if path.is_dir() and path.suffix == "")


def _flat_state(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Name each tensor of the optimizer by the number of its parameter."""
    return {
        f"{number}.{name}": value.contiguous()
        for number, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }


def _restore(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
