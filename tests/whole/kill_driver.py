"""Runs ``dogeared run`` again and again, and kills it in one step after another.

A program of its own, as forking wants it. It looks at the run's directory from outside and knows nothing of what goes
on inside; what it saw it writes out as JSON. ``chaos/`` does the same hundreds of times.
"""

import json
import signal
import sys
import time
from pathlib import Path

from chaos.harness import Trial, finished_steps, same_end
from chaos.victim import Victim

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


def start(arguments: list[str], out: Path) -> Victim:
    """Fork a run; its messages go to a file beside its directory."""
    return Victim(arguments, out=out, journal=out.with_name("journal.jsonl"), messages=out.with_name("messages.txt"))


def stop_when(victim: Victim, reached: tuple[Path, ...], number: signal.Signals) -> int:
    """Send a signal as soon as one of the paths exists; return how the process ended."""
    patience = time.monotonic() + 60
    while not any(path.exists() for path in reached):
        assert not victim.has_ended(), f"it ended by itself before {reached[0]}"
        assert time.monotonic() < patience, f"{reached[0]} did not come"
    victim.signal(number)
    return victim.wait()


def moments(out: Path, step: str) -> tuple[Path, ...]:
    """Name what shows that a step is in its middle, or at the latest that it is over."""
    begun = {
        "reader": f"{step}.work/checkpoint-00000001",
        "retriever": f"{step}.work/checkpoint-00000001" if step != "untouched/retriever" else f"{step}.partial",
        "vectors": f"{step}.work/encoded.json",
    }.get(step.rsplit("/", 1)[-1], f"{step}.partial")
    return out / begun, out / step


def kill_in_every_step(arguments: list[str], out: Path) -> dict:
    """Kill a run once in every step, and let it finish at last."""
    seen: dict[str, tuple[int, str]] = {}
    found = {"killed": [], "half_done": [], "repeated": []}
    for step in STEPS:
        code = stop_when(start(arguments, out), moments(out, step), signal.SIGKILL)
        assert code == -signal.SIGKILL, f"{step}: {code}, {out.with_name('messages.txt').read_text()}"
        now = finished_steps(out)
        found["killed"].append(step)
        found["half_done"] += [step] if step not in now else []
        found["repeated"] += [name for name, manifest in seen.items() if now.get(name) != manifest]
        seen = now
    found["last_code"] = start(arguments, out).wait()
    now = finished_steps(out)
    found["repeated"] += [name for name, manifest in seen.items() if now.get(name) != manifest]
    return found


def main() -> None:
    """Make an undisturbed run, one killed in every step, one killed at random, and two that are told to stop."""
    folder, arguments = Path(sys.argv[1]), sys.argv[2:]
    messages = folder / "messages.txt"
    found = {"whole_code": start(arguments, folder / "whole").wait(), "whole_messages": messages.read_text()}
    found |= kill_in_every_step(arguments, folder / "killed")
    trial = Trial(2, folder / "trial", arguments)
    found["trial"] = trial.run(most_kills=8)
    found["trial_differs"] = same_end(folder / "whole", trial.out)
    for name, number, moment in (
        ("interrupted", signal.SIGINT, ("round-0/reader.work/checkpoint-00000001",)),
        ("terminated", signal.SIGTERM, ("untouched/vectors.work/encoded.json", "untouched/vectors")),
    ):
        out = folder / name
        endless = [*arguments, "--set", "reader_training.steps=2000"]
        code = stop_when(start(endless, out), tuple(out / part for part in moment), number)
        found[name] = {"code": code, "messages": messages.read_text()}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
