"""Several processes, one run: the first does everything, the others train with it.

A launcher (``torchrun``, ``accelerate launch``) starts the same command in each process and says in the environment
which one it is. The first goes through the command as if it were alone. Where it begins to train, it calls the others
to the same step with the same arguments; they do the step's work for the sake of its gradients, and throw away what it
would leave. All other time they wait.

How gradients are shared is accelerate's (``training/loop.py``). Batches are what is shared out, so that a step must
have as many as there are processes (``questions_per_batch``).
"""

import functools
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, ParamSpec

__all__ = ["call_others", "follow", "is_called", "is_follower", "joined", "leading"]

_PATIENCE = 10_000  # times as long as gradients are waited for: while a corpus is encoded, or a disk is full

_call: dict[str, Any] | None = None  # the step that the first process is in
_group: Any = None  # in which it calls the others; None where there are none
_is_called = False

Arguments = ParamSpec("Arguments")


def is_follower() -> bool:
    """Tell whether this process is one of several and not the first."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and int(os.environ.get("RANK", "0")) > 0


def is_called() -> bool:
    """Tell whether this process does a step's work for another one."""
    return _is_called


@contextmanager
def leading() -> Iterator[None]:
    """Be the first of several processes for the time of the block, if there are several.

    When the block ends, the others end as well; where it ends in an error, their launcher ends them.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    _meet()
    yield
    _tell(None)
    _part()


def follow() -> None:
    """Be one of the others: do what the first process calls for, until it is done. The first one warns for all."""
    global _is_called
    logging.getLogger("dogeared").setLevel(logging.ERROR)
    _meet()
    while (call := _tell(None)) is not None:
        function = getattr(import_module(call["module"]), call["function"])
        _is_called = True
        try:
            function(**{name: _decoded(value) for name, value in call["arguments"].items()})
        finally:
            _is_called = False
    _part()


def joined(step: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Let the others join a step that trains; it takes paths, experiments and plain JSON."""

    @functools.wraps(step)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        global _call
        if _group is None or _is_called:
            return step(*args, **kwargs)
        names = step.__code__.co_varnames[: len(args)]
        arguments = {**dict(zip(names, args, strict=True)), **kwargs}
        _call = {
            "module": step.__module__,
            "function": step.__name__,
            "arguments": {name: _encoded(value) for name, value in arguments.items()},
        }
        try:
            return step(*args, **kwargs)
        finally:
            _call = None

    return run


def call_others() -> int:
    """Have the others begin the step that this process is in, if it is one that they join; return how many do it."""
    if _call is None:
        return 1
    _tell(_call)
    return int(os.environ["WORLD_SIZE"])


def _meet() -> None:
    """Form a group of all processes, beside the one in which gradients are shared: its waiting has no end."""
    global _group
    import torch.distributed
    from accelerate import PartialState
    from torch.distributed.constants import default_pg_timeout

    from dogeared.compute import default_device

    if default_device().type == "cpu":
        os.environ.setdefault("ACCELERATE_USE_CPU", "true")
    PartialState(cpu=default_device().type == "cpu")
    _group = torch.distributed.new_group(backend="gloo", timeout=_PATIENCE * default_pg_timeout)


def _part() -> None:
    global _group
    import torch.distributed

    _group = None
    torch.distributed.destroy_process_group()


def _tell(call: dict[str, Any] | None) -> dict[str, Any] | None:
    """Say something as the first process, or wait for what it says as another one."""
    import torch

    said = torch.frombuffer(bytearray(json.dumps(call).encode()), dtype=torch.uint8)
    length = torch.tensor([len(said)])
    torch.distributed.broadcast(length, src=0, group=_group)
    text = said if not is_follower() else torch.empty(int(length), dtype=torch.uint8)
    torch.distributed.broadcast(text, src=0, group=_group)
    return json.loads(bytes(text.tolist()))


def _encoded(value: Any) -> Any:
    from dogeared.pipeline.config import Experiment

    if isinstance(value, Path):
        return {"path": str(value.absolute())}
    return {"experiment": value.model_dump(mode="json")} if isinstance(value, Experiment) else value


def _decoded(value: Any) -> Any:
    from dogeared.pipeline.config import Experiment

    if not isinstance(value, dict):
        return value
    return Path(value["path"]) if "path" in value else Experiment.model_validate(value["experiment"])
