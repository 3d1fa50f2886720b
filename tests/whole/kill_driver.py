"""Runs ``dogeared run`` again and again, and kills it in one step after another.

A program of its own: it imports what a run needs once and forks for each run, because importing takes longer than a
tiny run does. It looks at the run's directory from outside and knows nothing of what goes on inside; what it saw it
writes out as JSON.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

# What a run imports late is imported before the first fork, so that no run does it again.
from transformers import BertModel, T5ForConditionalGeneration  # noqa: F401

from dogeared import api, cli, terminal  # noqa: F401

ROUND = ("ranking", "reader", "relevance-eval", "measures")
STEPS = [
    "data",
    *(f"untouched/{step}" for step in ("retriever", "vectors", "ranking", "measures")),
    "words",
    "round-0/ranking",
    "hybrid/untouched/measures",
    *(f"round-0/{step}" for step in ROUND[1:]),
    *(f"round-1/{step}" for step in ("relevance", "retriever", "vectors", *ROUND)),
]


def start(arguments: list[str], messages: Path) -> int:
    """Fork a run; its messages go to a file."""
    child = os.fork()
    if child:
        return child
    handle = os.open(messages, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.argv = ["dogeared", "--quiet", "run", *arguments]
    code = 1
    try:
        cli.main()
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def stop_when(child: int, reached: tuple[Path, ...], number: signal.Signals) -> int:
    """Send a signal as soon as one of the paths exists; return how the process ended."""
    patience = time.monotonic() + 60
    while not any(path.exists() for path in reached):
        ended, status = os.waitpid(child, os.WNOHANG)
        assert not ended, f"it ended by itself with {os.waitstatus_to_exitcode(status)} before {reached[0]}"
        assert time.monotonic() < patience, f"{reached[0]} did not come"
    os.kill(child, number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def moments(out: Path, step: str) -> tuple[Path, ...]:
    """Name what shows that a step is in its middle, or at the latest that it is over."""
    begun = {
        "reader": f"{step}.work/checkpoint-00000001",
        "retriever": f"{step}.work/checkpoint-00000001" if step != "untouched/retriever" else f"{step}.partial",
        "vectors": f"{step}.work/encoded.json",
    }.get(step.rsplit("/", 1)[-1], f"{step}.partial")
    return out / begun, out / step


def finished(out: Path) -> dict[str, tuple[int, str]]:
    """Return the manifests of all finished steps, with the time of their making."""
    files = [out / step / "manifest.json" for step in STEPS]
    return {str(file): (file.stat().st_mtime_ns, file.read_text()) for file in files if file.is_file()}


def kill_in_every_step(arguments: list[str], out: Path, messages: Path) -> dict:
    """Kill a run once in every step, and let it finish at last."""
    seen: dict[str, tuple[int, str]] = {}
    found = {"killed": [], "half_done": [], "repeated": []}
    for step in STEPS:
        code = stop_when(start([*arguments, "--out", str(out)], messages), moments(out, step), signal.SIGKILL)
        assert code == -signal.SIGKILL, f"{step}: {code}, {messages.read_text()}"
        now = finished(out)
        found["killed"].append(step)
        found["half_done"] += [step] if str(out / step / "manifest.json") not in now else []
        found["repeated"] += [file for file, manifest in seen.items() if now.get(file) != manifest]
        seen = now
    found["last_code"] = os.waitstatus_to_exitcode(os.waitpid(start([*arguments, "--out", str(out)], messages), 0)[1])
    now = finished(out)
    found["repeated"] += [file for file, manifest in seen.items() if now.get(file) != manifest]
    return found


def main() -> None:
    """Make an undisturbed run, one that is killed in every step, and one that Ctrl-C stops."""
    folder, arguments = Path(sys.argv[1]), sys.argv[2:]
    messages = folder / "messages.txt"
    whole = os.waitpid(start([*arguments, "--out", str(folder / "whole")], messages), 0)[1]
    found = {"whole_code": os.waitstatus_to_exitcode(whole), "whole_messages": messages.read_text()}
    found |= kill_in_every_step(arguments, folder / "killed", messages)
    stopped = start([*arguments, "--set", "reader_training.steps=2000", "--out", str(folder / "stopped")], messages)
    checkpoint = folder / "stopped/round-0/reader.work/checkpoint-00000001"
    found["stopped_code"] = stop_when(stopped, (checkpoint,), signal.SIGINT)
    found["stopped_messages"] = messages.read_text()
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
