"""The curve of a training: a line of JSON for each step, and the same to trackers by name.

Inside ``curves_of(out)`` a training writes ``curves/NAME.jsonl`` beside the artifact that it is for, whatever else is
asked for. A training that goes on after a crash goes on in the same file: lines of steps that are done again are
dropped, and trackers, which cannot take anything back, are not told of them a second time; what they were told is what
comes again, for a step follows from its number alone.

TensorBoard's files stand beside the lines. The others are told by accelerate's trackers, whose start, log and finish
are all that is used, and take what else they want from their own environment (``WANDB_MODE``,
``MLFLOW_TRACKING_URI``, ``SWANLAB_MODE``). Which numbers a step has is the loop's business.
"""

import importlib.util
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from dogeared.errors import ConfigError, TrainingError
from dogeared.settings import Settings

if TYPE_CHECKING:  # few want a tracker, and accelerate brings torch along
    from accelerate.tracking import GeneralTracker

__all__ = ["Curve", "TrackingSettings", "check_trackers", "curves_of", "open_curve"]

Tracker = Literal["tensorboard", "wandb", "mlflow", "swanlab"]
_PACKAGES: Final[Mapping[Tracker, str]] = {
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "swanlab": "swanlab",
}
"""What each imports; the extra of this package has the tracker's name."""
_IDS = "trackers.json"


class TrackingSettings(Settings):
    """Who is told how trainings go, beside the lines of JSON that are always written."""

    trackers: list[Tracker] = Field(default=[])
    """Any of ``tensorboard``, ``wandb``, ``mlflow`` and ``swanlab``; each is an extra of this package
    (``pip install "dogeared[wandb]"``), and takes its own settings from its own environment variables."""
    project: str = "dogeared"
    """What wandb and swanlab call the project and MLflow the experiment; every training is a run in it, named by its
    folder."""


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where the curve of a training goes."""

    out: Path
    settings: TrackingSettings


_place: ContextVar[_Place | None] = ContextVar("place", default=None)


def check_trackers(settings: TrackingSettings) -> None:
    """Find out before any work whether the trackers are there.

    Raises:
        ConfigError: A package is missing; the message says how to install it.
    """
    for name in settings.trackers:
        if importlib.util.find_spec(_PACKAGES[name]) is None:
            raise ConfigError(
                f'tracking.trackers: {name} is not installed: pip install "dogeared[{name}]", or leave it out; the '
                "curves are in files anyway"
            )


@contextmanager
def curves_of(out: Path, settings: TrackingSettings | None) -> Iterator[None]:
    """Let a training in the block write its curve beside ``out``, the artifact that it is for.

    Where the settings are None the block trains nothing, and nothing is said.
    """
    token = _place.set(None if settings is None else _Place(out=out.absolute(), settings=settings))
    try:
        yield
    finally:
        _place.reset(token)


class Curve:
    """A file of lines, and the trackers that are told the same.

    Args:
        file: The lines.
        done: Steps that are done; lines after it are dropped, and one that a crash cut off.
        told: The last step that the trackers know of.
        trackers: Started.
    """

    def __init__(self, file: Path, *, done: int, told: int = 0, trackers: "Sequence[GeneralTracker]" = ()) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for step, line in _lines(file) if step <= done]
        file.write_text("".join(kept), encoding="utf-8")
        self._stream = file.open("a", encoding="utf-8")
        self._told = told
        self._trackers = trackers

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Write what a step came to."""
        numbers = {name: value for name, value in values.items() if math.isfinite(value)}
        self._stream.write(json.dumps({"step": step, **numbers}) + "\n")
        self._stream.flush()
        if step > self._told:
            for tracker in self._trackers:
                tracker.log(dict(numbers), step=step)

    def close(self) -> None:
        """End the file and the trackers' runs."""
        self._stream.close()
        for tracker in self._trackers:
            tracker.finish()


@contextmanager
def open_curve(folder: Path, *, done: int, settings: Mapping[str, Any], is_main: bool = True) -> Iterator[Curve | None]:
    """Open the curve of a training; it is closed however the block ends.

    Args:
        folder: Where the training keeps its checkpoints; the curve too, where nobody said what it is for.
        done: Steps that are done.
        settings: Of the training, for trackers that show them.
        is_main: Whether this is the process that writes; the others get None.

    Raises:
        TrainingError: A tracker does not start.
    """
    if not is_main:
        yield None
        return
    place, ids = _place.get(), folder / _IDS
    target = folder / "curve" if place is None else place.out.parent / "curves" / place.out.name
    file = target.with_name(f"{target.name}.jsonl")
    told, trackers = 0, []
    if place is not None and place.settings.trackers:
        if ids.is_file():
            told = max((step for step, _ in _lines(file)), default=0)
        else:
            shutil.rmtree(target, ignore_errors=True)  # of a training that this one takes the place of
        trackers = _started(place, target, ids, settings)
    curve = Curve(file, done=done, told=told, trackers=trackers)
    try:
        yield curve
    finally:
        curve.close()


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the step of each whole line, and the line."""
    if not file.is_file():
        return
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            yield json.loads(line)["step"], line
        except ValueError:
            return


def _started(place: _Place, target: Path, ids: Path, settings: Mapping[str, Any]) -> "list[GeneralTracker]":
    """Start the trackers; one whose run was begun before goes on in it."""
    known: dict[str, str] = json.loads(ids.read_text(encoding="utf-8")) if ids.is_file() else {}
    started: list[GeneralTracker] = []
    for name in dict.fromkeys(place.settings.trackers):
        tracker = _make(name, place, target, known.get(name))
        try:
            tracker.start()
            if name != "tensorboard":  # which would make a run of its own of them
                tracker.store_init_configuration(_flat(settings))
        except Exception as error:  # each has kinds of its own, for a server that does not answer as for a wrong key
            raise TrainingError(
                f"tracking.trackers: {name} did not start ({error}); see to it, or leave it out"
            ) from error
        started.append(tracker)
        if (run := _run_id(name, tracker)) is not None:
            known[name] = run
    ids.parent.mkdir(parents=True, exist_ok=True)
    ids.write_text(json.dumps(known), encoding="utf-8")
    return started


def _make(name: Tracker, place: _Place, target: Path, run: str | None) -> "GeneralTracker":
    from accelerate.tracking import MLflowTracker, SwanLabTracker, TensorBoardTracker, WandBTracker

    project = place.settings.project
    # runs/mine/round-1/retriever is the run mine/round-1/retriever of the project.
    title = "/".join(place.out.parts[-3:])
    goes_on = {} if run is None else {"id": run, "resume": "allow"}
    match name:
        case "tensorboard":
            return TensorBoardTracker(target.name, target.parent)
        case "wandb":
            return WandBTracker(project, name=title, group=place.out.parts[-3], dir=str(target.parent), **goes_on)
        case "mlflow":
            return MLflowTracker(project, run_name=title, run_id=run)
        case "swanlab":
            return SwanLabTracker(project, experiment_name=title, **goes_on)


def _run_id(name: Tracker, tracker: Any) -> str | None:
    """Say by which name a tracker finds its run again."""
    match name:
        case "tensorboard":
            return None
        case "mlflow":
            return tracker.tracker.info.run_id
        case "wandb" | "swanlab":
            found = getattr(tracker.tracker, "id", None)  # swanlab has none where it keeps nothing
            return found if isinstance(found, str) else None


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float]:
    """Write nested settings as dotted keys, with values that every tracker takes."""
    flat: dict[str, str | int | float] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, str | int | float) else json.dumps(value)
    return flat
