"""A run in a forked child that can be killed before any of its operations on files.

The parent imports what a run needs once, because importing takes longer than killing. Python tells a hook of every file
that is opened for writing, renamed or removed; the hook counts those in the run's directory, and at the chosen one it
writes down which it is and kills the process before it is done. Or it only says that the moment has come, and the
parent kills a little later, in the middle of whatever comes then: the libraries that write tensors and tables tell no
hook.
"""

import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What a run imports late is imported before the first fork, so that no run does it again.
from transformers import BertModel, T5ForConditionalGeneration  # noqa: F401

from dogeared import api, cli, terminal  # noqa: F401
from dogeared.training import loop

__all__ = ["Orders", "Victim"]

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "shutil.rmtree")


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What a child shall do beside its work.

    Attributes:
        count: Before which operation on files it dies; None where it is left alone.
        die: Whether it kills itself there, or only says that it is there.
    """

    count: int | None = None
    die: bool = True


class Victim:
    """A run that has been started.

    Args:
        arguments: Of ``dogeared run``.
        out: Its directory.
        journal: A file to which the child adds what it does, a JSON object a line.
        messages: A file for what it prints.
        orders: What shall befall it.
    """

    def __init__(
        self, arguments: Sequence[str], *, out: Path, journal: Path, messages: Path, orders: Orders | None = None
    ) -> None:
        self.reached, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.reached)
            _work(arguments, out.absolute(), journal, messages, orders or Orders(), writing)
        os.close(writing)

    def has_ended(self) -> bool:
        """Tell whether it is over; ``wait`` says how."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def wait(self) -> int:
        """Wait for its end; return the exit code, or the negative number of the signal that ended it."""
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.reached)
        return os.waitstatus_to_exitcode(status)

    def signal(self, number: int) -> None:
        """Send it a signal, if it still lives; it is a child not yet waited for, so the number is its own."""
        os.kill(self.pid, number)


def _work(arguments: Sequence[str], out: Path, journal: Path, messages: Path, orders: Orders, reached: int) -> None:
    """Run to the end of the process; never returns into the parent's code."""
    handle = os.open(messages, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    notes = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(**values: Any) -> None:
        os.write(notes, (json.dumps(values) + "\n").encode())

    _note_optimizer_steps(note)
    if orders.count is not None:
        _listen(out, orders, note, reached)
    sys.argv = ["dogeared", "--quiet", "run", *arguments, "--out", str(out)]
    code = 1
    try:
        cli.main()
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _note_optimizer_steps(note: Any) -> None:
    """Write down each optimizer step when it begins, so that steps done twice can be counted."""
    real = loop._step

    def noted(*arguments: Any) -> float:
        note(optimizer_step=list(arguments[-2:]))
        return real(*arguments)

    loop._step = noted


def _listen(out: Path, orders: Orders, note: Any, reached: int) -> None:
    done = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal done
        if event not in _EVENTS or (path := _path_of(event, arguments, out)) is None:
            return
        done += 1
        if done == orders.count:
            note(before=event, path=path)
            if orders.die:
                os.kill(os.getpid(), signal.SIGKILL)
            os.write(reached, b"!")

    sys.addaudithook(hook)


def _path_of(event: str, arguments: tuple[Any, ...], out: Path) -> str | None:
    """Return what an operation changes, relative to the run's directory; None where it is elsewhere or only reads."""
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & _WRITING):
        return None
    try:
        path = os.fsdecode(arguments[0])
    except TypeError:  # a file opened by its descriptor was counted when that was made
        return None
    handle = arguments[1] if event in ("os.remove", "os.rmdir") else -1
    if not Path(path).is_absolute() and isinstance(handle, int) and handle >= 0:
        path = str(Path(f"/proc/self/fd/{handle}").readlink() / path)
    try:
        return Path(path).absolute().relative_to(out).as_posix()
    except ValueError:
        return None
