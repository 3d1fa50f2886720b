"""Measure everything, or the rows that are named; print one table; write ``benchmarks/latest.json``.

    python -m benchmarks.speed [NAME ...]

Each row compares what was timed in this run alone, and is written once its group is measured. Rows that are not
measured keep what the file says of them. ``--quick`` writes nothing unless it is told where: its figures mean nothing.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.speed.rows import Options, Row

ROOT = Path(__file__).parent.parent.parent
LATEST = Path(__file__).parent.parent / "latest.json"
GROUPS = ("score", "train", "memory", "student", "encode", "search", "ask", "gpu")
"""Modules of this folder, each with ``measure``."""
_TEXT = "wiki_en/passages.jsonl"
READ = {
    "memory": (_TEXT,),
    "student": (_TEXT,),
    "encode": (_TEXT,),
    "ask": (_TEXT, "wiki_en/questions.jsonl"),
    "gpu": (_TEXT,),
}
"""Which files of the folder of data sets a group reads; without them it measures nothing, or the less."""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="Rows, such as score_bf16, or groups, such as score; all if none.")
    parser.add_argument("--quick", action="store_true", help="Show that everything runs; the figures mean nothing.")
    parser.add_argument("--repeats", type=int, default=3, help="How often each side is timed; the best time counts.")
    parser.add_argument("--threads", type=int, default=0, help="Of the computation; the machine's cores where 0.")
    parser.add_argument(
        "--busy",
        action="store_true",
        help="On a machine that does other work too: one thread, and the time of the processor in place of the wall's.",
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="The folder of data sets.")
    parser.add_argument("--out", type=Path, help=f"Where to write the figures; {LATEST.name} unless --quick.")
    given = parser.parse_args()
    out: Path | None = given.out or (None if given.quick else LATEST)
    groups = [name for name in GROUPS if find_spec(f"benchmarks.speed.{name}")]
    if given.busy or given.threads:
        torch.set_num_threads(1 if given.busy else given.threads)
    rows: dict[str, Row] = {}
    left_out = []
    for group in groups:
        asked = [name for name in given.names if name.split("_")[0] == group]
        if given.names and not asked:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            options = Options(
                names=() if group in asked else asked,
                quick=given.quick,
                repeats=given.repeats,
                clock=time.process_time if given.busy else time.perf_counter,
                scratch=Path(scratch),
                data=given.data,
            )
            measured = import_module(f"benchmarks.speed.{group}").measure(options)
        if reason := why_left_out(group, given.data, measured):
            left_out.append(reason)
            print(reason, file=sys.stderr, flush=True)
        rows |= measured
        if out is not None and measured:
            store(measured, out)
    if not rows:
        unknown = f"nothing is called {' '.join(given.names)}; there are the groups {', '.join(groups)}"
        parser.error("; ".join(left_out) or unknown)
    print(f"{machine()}\n{table(rows)}")
    if out is None:
        print("not written: figures of --quick mean nothing")


def store(rows: dict[str, Row], out: Path) -> None:
    """Write rows beside those that the file has already, or in their place."""
    known = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    known |= {name: {**row.as_json(), "machine": machine()} for name, row in rows.items()}
    out.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def why_left_out(group: str, data: Path, measured: dict[str, Row]) -> str:
    """Say what of a group is not measured for want of something; empty where all is.

    Args:
        group: Its name.
        data: The folder of data sets.
        measured: What came of it.
    """
    if group == "gpu" and not torch.cuda.is_available():
        return "gpu is left out: there is no GPU with CUDA"
    missing = [str(data / name) for name in READ.get(group, ()) if not (data / name).is_file()]
    if not missing:
        return ""
    part = f"what of {group} reads it" if measured else group
    return f"{part} is left out: there is no {' and no '.join(missing)}; --data names another folder"


def machine() -> str:
    """Say in a few words what was measured on."""
    name = platform.processor() or platform.machine()
    cpu = Path("/proc/cpuinfo")
    if cpu.is_file():
        models = [line.split(":")[1] for line in cpu.read_text().splitlines() if line.startswith("model name")]
        name = models[0].strip() if models else name
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    return f"{gpu}{name}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def table(rows: dict[str, Row]) -> str:
    """Lay out one line a row; what a row has besides goes behind it."""
    lines = [f"{'':16}{'ours':>12}{'textbook':>12}{'times faster':>14}{'floor':>12}{'times floor':>13}  a"]
    for name, row in rows.items():
        cells = [f"{name:16}", _time(row.seconds), _time(row.textbook_seconds), _ratio(row.ratio_to_textbook, 14)]
        cells += [_time(row.floor_seconds), _ratio(row.ratio_to_floor, 13), f"  {row.unit}"]
        lines.append("".join(cells))
        lines += [f"{'':18}{key} {value:.4g}" for key, value in row.figures.items()]
    return "\n".join(lines)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return f"{'-':>12}"
    return f"{f'{seconds * 1000:.3g} ms' if seconds < 1 else f'{seconds:.3g} s':>12}"


def _ratio(value: float | None, width: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:>{width}.2f}"


if __name__ == "__main__":
    main()
