"""Measure every step at every size, print a table, and write ``benchmarks/scale.json`` and ``docs/scale.svg``.

python -m benchmarks.scale [--sizes 10000 100000 645190]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.scale.plot import draw
from benchmarks.scale.steps import STEPS, write_vectors

ROOT = Path(__file__).parent.parent.parent


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 645_190])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "scale.json")
    parser.add_argument("--plot", type=Path, default=ROOT / "docs" / "scale.svg")
    given = parser.parse_args()
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for size in given.sizes:
        with tempfile.TemporaryDirectory() as scratch:
            write_vectors(Path(scratch), size)
            for name in STEPS:
                command = [sys.executable, "-m", "benchmarks.scale.steps", name, scratch, str(size), str(given.data)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
                figures.setdefault(name, {})[str(size)] = figure = json.loads(done.stdout)
                print(
                    f"{name:9} {size:>8,} passages {figure['seconds']:8.2f} s {figure['cpu_seconds']:8.2f} s of CPU "
                    f"{figure['peak_bytes'] / 1e9:6.2f} GB",
                    flush=True,
                )
    given.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    given.plot.write_text(draw(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
