"""Feeds every reader of files with inputs by the hundred thousand, drawn and guided by coverage.

    python -m fuzz.run --out runs/fuzz               all readers, each in a process of its own
    python -m fuzz.run --reader squad --drawn 1000   one reader, with inputs drawn by hypothesis
    python -m fuzz.guided squad 100000               one reader, with inputs made by atheris

An input that a reader does not end well on (``readers.py``) stops that reader; it is written to ``found/READER/``,
where the ordinary tests try it again for ever. Counts are added to ``figures.jsonl``, and what was counted is not done
again.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fuzz.inputs import files
from fuzz.readers import READERS, ends_well

__all__ = ["FOUND", "draw", "folder_in_memory", "keep", "main"]

FOUND = Path(__file__).parent / "found"
_MEMORY = "/dev/shm"


def main() -> None:
    """Do what the options say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reader", choices=sorted(READERS))
    parser.add_argument("--drawn", type=int, default=1_000, help="inputs of hypothesis for a reader")
    parser.add_argument("--guided", type=int, default=100_000, help="inputs of atheris for a reader")
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"))
    told = parser.parse_args()
    if told.reader is None:
        sys.exit(_all(told.out, told.drawn, told.guided))
    draw(told.reader, told.drawn)


def draw(name: str, number: int) -> None:
    """Try inputs that hypothesis draws; the smallest that fails is kept and raised."""
    from hypothesis import HealthCheck, Phase, given, settings

    reader = READERS[name]
    with tempfile.TemporaryDirectory(dir=folder_in_memory()) as folder:

        @settings(
            max_examples=number,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        )
        @given(files(reader))
        def trial(content: bytes) -> None:
            last[:] = [content]
            ends_well(reader, content, Path(folder))

        last: list[bytes] = []
        try:
            trial()
        except BaseException:
            keep(name, last[0])
            raise


def keep(name: str, content: bytes) -> None:
    """Keep an input that a reader did not end well on, for the tests."""
    (FOUND / name).mkdir(parents=True, exist_ok=True)
    (FOUND / name / hashlib.sha256(content).hexdigest()[:12]).write_bytes(content)


def _all(out: Path, drawn: int, guided: int) -> int:
    out.mkdir(parents=True, exist_ok=True)
    figures = out / "figures.jsonl"
    done: dict[tuple[str, str], Any] = {}
    if figures.is_file():
        for line in figures.read_text().splitlines():
            one = json.loads(line)
            done[one["reader"], one["how"]] = one
    failed = 0
    for name in READERS:
        for how, number in (("drawn", drawn), ("guided", guided)):
            if done.get((name, how), {"inputs": -1})["inputs"] >= number:
                continue
            began = time.monotonic()
            drawing = [sys.executable, "-m", "fuzz.run", "--reader", name, "--drawn", str(number)]
            command = drawing if how == "drawn" else [sys.executable, "-m", "fuzz.guided", name, str(number)]
            with tempfile.TemporaryDirectory(dir=folder_in_memory()) as folder:
                ended = subprocess.run(
                    command,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    check=False,
                    env={**os.environ, "TMPDIR": folder},
                )
            counted = re.search(r"stat::number_of_executed_units: (\d+)", ended.stderr)
            one = {
                "reader": name,
                "how": how,
                "inputs": int(counted[1]) if counted else number,
                "seconds": round(time.monotonic() - began, 1),
            }
            print(f"{name}, {how}: {one['inputs']:,} inputs, {one['seconds']} s, code {ended.returncode}", flush=True)
            if ended.returncode:
                failed += 1
                (out / f"{name}-{how}.txt").write_text(ended.stdout + ended.stderr)
                continue
            with figures.open("a") as stream:
                stream.write(json.dumps(one) + "\n")
    return failed


def folder_in_memory() -> str | None:
    """Name a folder that is in memory, where there is one."""
    return _MEMORY if Path(_MEMORY).is_dir() else None


if __name__ == "__main__":
    main()
