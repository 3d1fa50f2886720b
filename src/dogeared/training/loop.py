"""The step loop: one for both models.

A step takes its questions, in one or several batches, adds up their gradients weighted by what each batch counts,
clips, updates, and now and then measures and saves. Everything random in a step follows from the seed and the number
of the step, so a resumed training takes the same path as an uninterrupted one, to the bit on one machine.

On a GPU the loss of a step is looked at when the next step has begun, or the GPU would fall idle in between. What is
measured, saved or handed back was looked at.

Ctrl-C and SIGTERM let the current step finish, save, and then end. The loop knows nothing of questions, passages or
answers. With the trackers of ``curves.py`` it is all that imports accelerate.
"""

import hashlib
import json
import logging
import math
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from pydantic import Field
from torch import nn

from dogeared.ahead import Ahead
from dogeared.arriving import Arriving
from dogeared.compute import Precision, autocast, keep_freed_memory, release_freed_memory
from dogeared.errors import TrainingError
from dogeared.memory import explain_exhaustion, held_mb
from dogeared.progress import bar
from dogeared.settings import Settings
from dogeared.stopping import Stopped, finish_first
from dogeared.training.checkpoint import (
    TrainingState,
    load_best,
    load_checkpoint,
    save_best,
    save_checkpoint,
)
from dogeared.training.curves import open_curve
from dogeared.training.dropout import set_dropout
from dogeared.training.faults import LESS_MEMORY, bad_loss, check_memory
from dogeared.training.optim import Schedule, adamw, learning_rate_factor

__all__ = ["LoopSettings", "StepBatch", "items_of_step", "seed_of", "train"]

logger = logging.getLogger(__name__)

_GROWTH = 1.5  # times what the process held after the first step: what is freed is given back only beyond
_LEAST_SCALE = 1.0  # of a loss in float16: gradients that overflow without being scaled are no accident


class LoopSettings(Settings):
    """How long and how fast to train; the same for reader and retriever."""

    steps: int = Field(default=1000, ge=0)
    """Optimizer updates."""
    questions_per_step: int = Field(default=64, ge=1)
    """Questions whose gradients make one update."""
    questions_per_batch: int = Field(default=0, ge=0)
    """Questions in memory at once, as many as a step has where 0; bounds memory, and changes results only by rounding
    and by where dropout falls, unless a loss compares the questions of a batch."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """At the end of the warm-up."""
    schedule: Schedule = "linear"
    """What the learning rate does after the warm-up."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps over which the learning rate rises."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Of AdamW; biases and norms are spared."""
    max_gradient_norm: float = Field(default=1.0, gt=0)
    """A longer gradient is scaled down to this length."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Overrides what the model's own configuration says. Without any a step on a CPU is 4 to 15 % shorter."""
    precision: Precision = "auto"
    """Of matrix products; weights stay in fp32. In ``fp16`` the loss is scaled so that small gradients survive, and a
    step whose gradients overflow is skipped."""
    evaluate_every_steps: int = Field(default=0, ge=0)
    """How often to measure on dev questions; the weights of the best measure are kept. 0 keeps the last."""
    save_every_seconds: float = Field(default=120.0, ge=0)
    """How much work a crash may cost."""


class StepBatch(Protocol):
    """What the loop must know of a batch."""

    @property
    def weight(self) -> int:
        """Its share in the mean loss of the step: how many things its own loss averages over."""
        ...

    def to(self, device: torch.device) -> Self:
        """Return it on a device."""
        ...


def train(
    model: nn.Module,
    batches_of_step: Callable[[int], Sequence[StepBatch]],
    settings: LoopSettings,
    *,
    seed: int,
    folder: Path,
    name: str,
    evaluate: Callable[[], float] | None = None,
    paces: Mapping[str, float] | None = None,
    ids_of_step: Callable[[int], Sequence[str]] | None = None,
) -> TrainingState:
    """Train a model in place, from its last checkpoint if there is one.

    Args:
        model: Called with a batch, it returns the mean loss of that batch.
        batches_of_step: The batches of a step, counted from 0; must depend on nothing but the step.
        settings: How long and how fast.
        seed: From which everything random in the loop follows.
        folder: For checkpoints; left behind for the caller to delete.
        name: What to call the work in progress bars and messages.
        evaluate: Returns a measure, higher for better; called as often as the settings say.
        paces: By the beginning of their names, how many times faster than the others some parameters learn.
        ids_of_step: The ids of the questions of a step, to name them where something is wrong with it.

    Returns:
        What was done: losses and measures. The model holds the best weights where there were measures, else the last.

    Raises:
        TrainingError: The loss or its gradient is not a finite number: the message names step, questions and the last
            checkpoint; or a step has fewer batches than there are processes to share them.
        Stopped: Ctrl-C or SIGTERM came; the checkpoint holds all finished steps.
    """
    keep_freed_memory()
    # A model may have parts that its loss never reaches, such as the pooler of an encoder that is pooled otherwise.
    accelerator = Accelerator(kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])
    model.to(accelerator.device)
    if settings.steps:
        check_memory(model, accelerator.device, name)
    if settings.dropout is not None:
        set_dropout(model, settings.dropout)
    plain_optimizer = adamw(
        model, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay, paces=paces
    )
    dumped = {**settings.model_dump(exclude={"save_every_seconds"}), "seed": seed}
    state = load_checkpoint(folder, model=model, optimizer=plain_optimizer, settings=dumped)
    if state.step:
        logger.info("%s: goes on after step %d of %d", name, state.step, settings.steps)
    if evaluate is None and settings.evaluate_every_steps:
        logger.warning("%s: there is nothing to measure on; evaluate_every_steps bears on nothing", name)
    prepared, optimizer = accelerator.prepare(model, plain_optimizer)
    scaler = torch.amp.GradScaler(accelerator.device.type, enabled=settings.precision == "fp16")
    if state.scaling:
        scaler.load_state_dict(state.scaling)

    held_at_first = 0.0

    def save() -> None:
        # What is given back must be asked for again, which takes as long as a step where memory is slow to come. What
        # torch keeps of a GPU's memory it hands out itself, and takes back before it runs out.
        if held_mb() > _GROWTH * held_at_first:
            release_freed_memory()
        if accelerator.is_main_process:
            save_checkpoint(folder, model=model, optimizer=plain_optimizer, state=state, settings=dumped)

    def share_of_step(step: int) -> _Share:
        return _share(accelerator, batches_of_step(step), settings)

    begun: list[_Step] = []
    next_step, saved_at = state.step, time.monotonic()
    with (
        finish_first() as request,
        bar(name, total=settings.steps, unit="steps", done=state.step) as progress,
        open_curve(folder, done=state.step, settings=dumped, is_main=accelerator.is_main_process) as curve,
        Ahead(share_of_step, in_thread=accelerator.device.type != "cpu") as making,
    ):

        def look_at(step: _Step, *, measures: bool) -> None:
            loss, bad, updated = step.outcome()
            if not math.isfinite(loss):
                ids = [] if ids_of_step is None else ids_of_step(step.number)
                raise bad_loss(
                    name,
                    loss,
                    step=step.number,
                    batch=bad,
                    ids=ids,
                    batch_size=settings.questions_per_batch or len(ids),
                    learning_rate=settings.learning_rate,
                    folder=folder,
                )
            if not updated:
                state.skipped.append(step.number)
            state.scaling = scaler.state_dict()
            state.step = step.number + 1
            state.losses.append(loss)
            progress.advance(1, note=f"loss {sum(state.losses[-20:]) / len(state.losses[-20:]):.3f}")
            values = {"loss": loss, "learning_rate": settings.learning_rate * _rate_factor(settings, step.number)}
            if measures:
                making.settle()
                assert evaluate is not None
                values["dev"] = _measure(accelerator, model, evaluate, state, folder)
                model.train()
            if curve is not None:
                curve.add(state.step, values)

        model.train()
        while next_step < settings.steps:
            with explain_exhaustion(f"{name}: step {next_step + 1}", advice=LESS_MEMORY):
                share = making.take(next_step, then=next_step + 1 if next_step + 1 < settings.steps else None)
                begun.append(_step(accelerator, prepared, optimizer, scaler, share, settings, next_step, seed))
            held_at_first = held_at_first or held_mb()
            next_step += 1
            measures = evaluate is not None and _is_due(next_step, settings)
            may_wait = _is_looked_at_later(accelerator, scaler) and not measures and next_step < settings.steps
            while len(begun) > may_wait:
                look_at(begun.pop(0), measures=measures and not begun)
            stopping = _any(accelerator, request.came)
            if measures or stopping or time.monotonic() - saved_at >= settings.save_every_seconds:
                while begun:
                    look_at(begun.pop(0), measures=False)
                save()
                saved_at = time.monotonic()
            if stopping:
                number = request.number or signal.SIGTERM  # it came to another process, from whoever ends them all
                raise Stopped(f"{name} was stopped after step {state.step} and saved", number)
    if state.skipped:
        text = "%s: %d of %d steps changed nothing, because their gradients overflowed in fp16; bf16 has no such limit"
        logger.warning(text, name, len(state.skipped), settings.steps)
    accelerator.wait_for_everyone()
    accelerator.free_memory()
    release_freed_memory()
    if state.best_step is not None:
        load_best(folder, model=model, step=state.best_step)
    model.eval()
    return state


def items_of_step(step: int, *, num_items: int, items_per_step: int, seed: int) -> list[int]:
    """Return which items a step takes: an endless series of epochs, each in an order of its own.

    >>> first = items_of_step(0, num_items=4, items_per_step=2, seed=1)
    >>> second = items_of_step(1, num_items=4, items_per_step=2, seed=1)
    >>> sorted(first + second)
    [0, 1, 2, 3]
    """
    items: list[int] = []
    position = step * items_per_step
    while len(items) < items_per_step:
        epoch, offset = divmod(position + len(items), num_items)
        order = _order_of_epoch(epoch, num_items, seed)
        items += order[offset : offset + items_per_step - len(items)]
    return items


@lru_cache(maxsize=2)  # a step may end one epoch and begin the next
def _order_of_epoch(epoch: int, num_items: int, seed: int) -> list[int]:
    order = list(range(num_items))
    random.Random(seed_of(seed, "epoch", epoch)).shuffle(order)
    return order


def seed_of(*parts: Any) -> int:
    """Derive a seed from names and numbers, the same on every machine and in every run."""
    return int.from_bytes(hashlib.sha256(json.dumps(parts).encode()).digest()[:6], "big")


@dataclass(frozen=True, kw_only=True)
class _Share:
    """What one process has of a step.

    Attributes:
        batches: Its own, on its device.
        places: Which of the step's batches these are.
        weight: Of all batches of the step.
    """

    batches: Sequence[StepBatch]
    places: range
    weight: int


def _share(accelerator: Accelerator, batches: Sequence[StepBatch], settings: LoopSettings) -> _Share:
    """Choose what is this process's own, and begin to move it; on a GPU in the thread that made it."""
    if len(batches) < accelerator.num_processes:
        raise TrainingError(
            f"expected a batch for each of {accelerator.num_processes} processes, got {len(batches)} in a step; lower "
            f"questions_per_batch ({settings.questions_per_batch}; 0 makes one batch), or run fewer processes"
        )
    places = range(accelerator.process_index, len(batches), accelerator.num_processes)
    return _Share(
        batches=[batches[place].to(accelerator.device) for place in places],
        places=places,
        weight=sum(batch.weight for batch in batches),
    )


@dataclass(frozen=True, kw_only=True)
class _Step:
    """A step that has begun, and may not be computed yet.

    Attributes:
        number: Counted from 0.
        loss: The mean over everything in the step, of all processes.
        length: Of the gradient, before it was cut.
        losses: What each batch of this process has of it.
        places: Which batches of the step these are.
        may_overflow: Whether gradients are scaled, and could be scaled less.
    """

    number: int
    loss: Arriving
    length: Arriving
    losses: Sequence[torch.Tensor]
    places: range
    may_overflow: bool

    def is_finite(self) -> bool:
        """Wait for the gradient, and say whether it is a number."""
        return math.isfinite(self.length.take())

    def outcome(self) -> tuple[float, int | None, bool]:
        """Wait for the loss, and return it.

        Where the gradient is not finite its length is returned in place of the loss; with it comes the number of the
        first batch of this process whose own loss is not finite, if any. Where only the scaled loss was too large for
        float16, the loss is returned, and that there was no update.
        """
        loss = float(self.loss.take())
        if self.is_finite() or (self.may_overflow and math.isfinite(loss)):
            return loss, None, self.is_finite()
        bad = (place for place, loss in zip(self.places, self.losses, strict=True) if not math.isfinite(loss))
        return float(self.length.take()), next(bad, None), False


def _is_looked_at_later(accelerator: Accelerator, scaler: torch.amp.GradScaler) -> bool:
    """Tell whether a step may begin before the one before it was looked at.

    Then weights are updated by a gradient that nobody has looked at: if it is not finite, the training ends before they
    are used for anything. Only in float16 does it go on, and there it is waited for.
    """
    return accelerator.device.type == "cuda" and not scaler.is_enabled()


def _step(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: Any,
    scaler: torch.amp.GradScaler,
    share: _Share,
    settings: LoopSettings,
    step: int,
    seed: int,
) -> _Step:
    """Begin one optimizer update. Where its gradient is looked at and is not finite, there is none."""
    torch.manual_seed(seed_of(seed, "step", step, accelerator.process_index))
    factor = _rate_factor(settings, step)
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * factor * group["pace"]
    losses: list[torch.Tensor] = []
    for number, batch in enumerate(share.batches):
        is_last = number == len(share.batches) - 1
        with nullcontext() if is_last else accelerator.no_sync(model):
            with autocast(settings.precision, accelerator.device):
                loss = model(batch) * (batch.weight / share.weight)
            # Processes average their gradients; times their number that is the sum over all batches of the step.
            accelerator.backward(scaler.scale(loss * accelerator.num_processes))
        losses.append(loss.detach())
    scaler.unscale_(optimizer)
    length = accelerator.clip_grad_norm_(model.parameters(), settings.max_gradient_norm)
    assert length is not None
    done = _Step(
        number=step,
        loss=Arriving(_sum(accelerator, torch.stack(losses).sum())),
        length=Arriving(length),
        losses=losses,
        places=share.places,
        may_overflow=scaler.is_enabled() and scaler.get_scale() > _LEAST_SCALE,
    )
    if _is_looked_at_later(accelerator, scaler) or done.is_finite():
        optimizer.step()
    scaler.update()
    optimizer.zero_grad()
    return done


def _sum(accelerator: Accelerator, value: torch.Tensor) -> torch.Tensor:
    """Add up a number of each process."""
    total = accelerator.reduce(value, reduction="sum")
    assert isinstance(total, torch.Tensor)
    return total


def _any(accelerator: Accelerator, flag: bool) -> bool:
    """Tell whether any process says so: all must stop after the same step, or they would wait for each other."""
    if accelerator.num_processes == 1:
        return flag
    return _sum(accelerator, torch.tensor(float(flag), device=accelerator.device)).item() > 0


def _rate_factor(settings: LoopSettings, step: int) -> float:
    return learning_rate_factor(
        step, num_steps=settings.steps, num_warmup_steps=settings.warmup_steps, schedule=settings.schedule
    )


def _is_due(step: int, settings: LoopSettings) -> bool:
    every = settings.evaluate_every_steps
    return every > 0 and (step % every == 0 or step == settings.steps)


def _measure(
    accelerator: Accelerator, model: nn.Module, evaluate: Callable[[], float], state: TrainingState, folder: Path
) -> float:
    """Measure, and keep the weights if they are the best so far."""
    model.eval()
    value = evaluate()
    if state.best_step is None or value > state.evaluations[state.best_step]:
        state.best_step = state.step
        if accelerator.is_main_process:
            save_best(folder, model=model, step=state.step)
    state.evaluations[state.step] = value
    return value
