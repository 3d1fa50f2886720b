"""Kills runs at random moments and before random operations on files, hundreds of times, and looks at what is left.

    python -m chaos.harness --kills 300 --out runs/chaos

A trial is one run, killed again and again until it comes to its end. After each kill the directory is looked at from
outside: what is finished is whole, and is never done again. At the end it must have the bits of a run that was never
disturbed. Now and then the run is told to stop instead, by SIGTERM, and must say how to go on.

Trials go on until there are enough kills and every step was hit. Each is added to ``trials.jsonl`` when it is over, and
a harness that was interrupted goes on after the last. ``scripts/write_reliability.py`` puts the figures into the
documents. Everything random follows from the number of the trial, but for what the system's clock decides.
"""

import argparse
import json
import random
import select
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chaos.victim import Orders, Victim
from dogeared.artifacts import is_discarded, read_manifest, verify
from dogeared.data.encyclopedia import Encyclopedia, generate, write_encyclopedia

__all__ = ["SETTINGS", "Trial", "finished_steps", "main", "run_whole", "same_end"]

SETTINGS = (
    "num_passages=20",
    "reader.num_passages=5",
    "reader_training.steps=10",
    "reader_training.questions_per_step=2",
    "reader_training.evaluate_every_steps=5",
    "reader_training.save_every_seconds=0.3",
    "retriever_training.steps=8",
    "retriever_training.questions_per_step=2",
    "retriever_training.num_passages=6",
    "retriever_training.save_every_seconds=0.3",
    "encoding.shard_passages=64",
    "rounds.max=2",
    "rounds.patience=2",
    "rounds.enough_overlap=1.0",
)
_LONGEST_SECONDS = 3.0
_MOST_OPERATIONS = 60


class Trial:
    """One run that is killed until it comes to its end.

    Args:
        number: Decides everything random.
        folder: For the run and all that is noted of it.
        arguments: Of ``dogeared run``, without the directory.
    """

    def __init__(self, number: int, folder: Path, arguments: Sequence[str]) -> None:
        self.rng = random.Random(f"trial {number}")
        self.folder = folder
        self.out = folder / "run"
        self.arguments = list(arguments)
        if number % 3 == 2:  # every third trial leaves its steps in a store, too
            self.arguments += ["--share", str(folder / "store")]
        self.kills: list[dict[str, Any]] = []
        self.stops: list[dict[str, Any]] = []
        self.faults: list[str] = []
        self.done: dict[str, tuple[int, str]] = {}

    def run(self, most_kills: int) -> dict[str, Any]:
        """Kill until it is done; let it finish in peace after ``most_kills``."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        code = None
        while code is None and not self.faults:
            code = self._disturb(in_peace=len(self.kills) >= most_kills)
        if code:
            self.faults.append(f"it ended with {code}: {(self.folder / 'messages.txt').read_text()[-2000:]}")
        steps = [tuple(line["optimizer_step"]) for line in self._journal() if "optimizer_step" in line]
        return {
            "kills": self.kills,
            "stops": self.stops,
            "faults": self.faults,
            "optimizer_steps": len(set(steps)),
            "optimizer_steps_again": len(steps) - len(set(steps)),
        }

    def _disturb(self, *, in_peace: bool) -> int | None:
        """Start the run once and end it; return its code where it came to its end."""
        noted = len(self._journal())
        mode = self.rng.choices(["operation", "soon after", "moment", "stop"], [4, 3, 3, 1])[0]
        patience = self.rng.uniform(0, _LONGEST_SECONDS)
        orders = Orders()
        if in_peace:
            mode, patience = "peace", 600.0
        elif mode in ("operation", "soon after"):
            orders, patience = Orders(count=self.rng.randint(1, _MOST_OPERATIONS), die=mode == "operation"), 60.0
        victim = Victim(
            self.arguments,
            out=self.out,
            journal=self.folder / "journal.jsonl",
            messages=self.folder / "messages.txt",
            orders=orders,
        )
        came, _, _ = select.select([victim.reached], [], [], patience)  # ready at its word, and at its end
        if came and mode == "soon after":
            time.sleep(self.rng.uniform(0, 0.02))
        began = time.monotonic()
        if not in_peace:
            victim.signal(signal.SIGTERM if mode == "stop" else signal.SIGKILL)
        code = victim.wait()
        if code == -signal.SIGKILL:
            told = [line for line in self._journal()[noted:] if "before" in line]
            self._note_kill(mode, told[0] if told else {})
        elif code == 128 + signal.SIGTERM:
            self._note_stop(time.monotonic() - began)
        elif code == -signal.SIGTERM and "stop" in mode:
            self.stops.append({"step": "before it began", "seconds": 0.0})
        else:
            return code
        self._look()
        return None

    def _note_kill(self, mode: str, told: dict[str, str]) -> None:
        step = step_of(told["path"]) if told else self._under_way()
        self.kills.append({"mode": mode, "step": step, "before": told.get("before"), "path": told.get("path")})

    def _note_stop(self, seconds: float) -> None:
        said = (self.folder / "messages.txt").read_text()
        if "Run the same command again to go on." not in said or "Traceback" in said:
            self.faults.append(f"it was told to stop and said: {said[-2000:]}")
        self.stops.append({"step": self._under_way(), "seconds": round(seconds, 2)})

    def _look(self) -> None:
        """Find out that what is finished is whole, and is what it was before."""
        found = finished_steps(self.out)
        for step, manifest in self.done.items():
            if found.get(step) != manifest:
                self.faults.append(f"{step} was finished and is no more, or was made again")
        self.done = found
        for step in found:
            if not is_discarded(self.out / step):
                verify(self.out / step)

    def _under_way(self) -> str:
        """Name the step whose artifact was being made: what was touched last."""
        begun = [path for suffix in (".partial", ".work") for path in self.out.rglob(f"*{suffix}")]
        if not begun:
            return "between steps"
        return step_of(max(begun, key=lambda path: path.stat().st_mtime_ns).relative_to(self.out).as_posix())

    def _journal(self) -> list[dict[str, Any]]:
        file = self.folder / "journal.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def step_of(path: str) -> str:
    """Name the step that a path in a run's directory belongs to.

    >>> step_of("round-1/reader.work/checkpoint-00000004.partial/model.safetensors"), step_of("data.partial/corpus")
    ('round-1/reader', 'data')
    """
    first, *rest = path.split("/")
    if first == ".":
        return "the directory itself"
    if first.startswith(("round-", "untouched", "hybrid", "start")) and rest:
        depth = 2 if first == "hybrid" and len(rest) > 1 and not rest[0].startswith(("words", "ranking")) else 1
        return "/".join([first, *rest[: depth - 1], rest[depth - 1].split(".")[0]])
    return first if first in ("results.json", "experiment.json", "report.html", ".lock") else first.split(".")[0]


def finished_steps(out: Path) -> dict[str, tuple[int, str]]:
    """Return the manifests of all finished steps, with the time of their making."""
    files = [file for file in out.rglob("manifest.json") if not any("." in part for part in file.parent.parts[-3:])]
    return {
        file.parent.relative_to(out).as_posix(): (file.stat().st_mtime_ns, file.read_text())
        for file in files
        if step_of(file.parent.relative_to(out).as_posix()) == file.parent.relative_to(out).as_posix()
    }


def same_end(whole: Path, other: Path) -> list[str]:
    """Compare the directories of two runs that came to their end; return in what they differ."""
    faults = []
    names = [{path.relative_to(out).as_posix() for path in out.rglob("*")} for out in (whole, other)]
    if names[0] != names[1]:
        faults.append(f"names: {sorted(names[0] ^ names[1])[:10]}")
    for step in finished_steps(whole):
        one, two = read_manifest(whole / step), read_manifest(other / step)
        if (one.files, one.fingerprint) != (two.files, two.fingerprint):
            faults.append(f"{step}: other content")
        if {**one.facts, "cost": None} != {**two.facts, "cost": None}:
            faults.append(f"{step}: other facts")
        if not is_discarded(other / step):
            verify(other / step)
    if _results(whole) != _results(other):
        faults.append("results.json")
    return faults


def _results(out: Path) -> dict[str, Any]:
    """Read the results without what the steps cost."""
    found = json.loads((out / "results.json").read_text())
    return {**found, "rounds": [{**entry, "steps": sorted(entry["steps"])} for entry in found["rounds"]]}


def run_whole(folder: Path, arguments: Sequence[str]) -> float:
    """Make the run that is never disturbed, where it is not there yet; return how many seconds it took."""
    noted = folder / "whole.json"
    if not noted.is_file():
        shutil.rmtree(folder / "whole", ignore_errors=True)
        began = time.monotonic()
        victim = Victim(
            arguments, out=folder / "whole", journal=folder / "whole.jsonl", messages=folder / "messages.txt"
        )
        if code := victim.wait():
            sys.exit(f"the undisturbed run ended with {code}: {(folder / 'messages.txt').read_text()}")
        noted.write_text(json.dumps(time.monotonic() - began))
    return json.loads(noted.read_text())


def write_data(folder: Path) -> list[str]:
    """Write a small encyclopedia, and return the arguments of a run over it."""
    whole = generate(num_people=6, num_dev_people=1, num_test_people=1)
    if not (folder / "questions.jsonl").is_file():
        few = Encyclopedia(passages=whole.passages, questions=whole.questions, people=whole.people)
        write_encyclopedia(few, folder)
    arguments = ["--questions", str(folder / "questions.jsonl"), "--passages", str(folder / "passages.jsonl")]
    return [*arguments, "--preset", "tiny", *(part for one in SETTINGS for part in ("--set", one))]


def main(arguments: Sequence[str] | None = None) -> None:
    """Do trials until there are enough kills in every step; exit with 1 at the first fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300, help="at least so many")
    parser.add_argument("--kills-a-trial", type=int, default=1000, help="then a run may finish in peace")
    parser.add_argument("--out", type=Path, default=Path("runs/chaos"))
    told = parser.parse_args(arguments)
    told.out.mkdir(parents=True, exist_ok=True)
    command = write_data(told.out / "data")
    seconds = run_whole(told.out, command)
    wanted = set(finished_steps(told.out / "whole"))
    log = told.out / "trials.jsonl"
    trials = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    while True:
        kills = [kill for trial in trials for kill in trial["kills"]]
        missing = wanted - {kill["step"] for kill in kills}
        print(f"{len(trials)} trials, {len(kills)} kills, {len(missing)} steps not hit yet", flush=True)
        if len(kills) >= told.kills and not missing:
            break
        trial = Trial(len(trials), told.out / "trial", command)
        found = trial.run(told.kills_a_trial)
        found["faults"] += [] if found["faults"] else same_end(told.out / "whole", trial.out)
        found["seconds_undisturbed"] = round(seconds, 1)
        if found["faults"]:
            sys.exit("\n".join(found["faults"]))
        trials.append(found)
        with log.open("a") as stream:
            stream.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
