"""Put the figures of the harnesses into docs/reliability.md, between the marks that are there for them.

Reads what ``make chaos``, ``make fuzz`` and ``make mutation`` left behind; what is not there leaves its part as it is.
"""

import argparse
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs/reliability.md"


def main() -> None:
    """Write each part whose figures are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="where the harnesses left their figures")
    parser.add_argument("--mutants", type=Path, default=ROOT, help="where mutmut ran")
    told = parser.parse_args()
    if (told.runs / "chaos/trials.jsonl").is_file():
        fill("chaos", chaos(lines_of(told.runs / "chaos/trials.jsonl")))
    if (told.runs / "fuzz/figures.jsonl").is_file():
        fill("fuzz", fuzz(lines_of(told.runs / "fuzz/figures.jsonl")))
    if (told.mutants / "mutants").is_dir():
        fill("mutation", mutation(told.mutants))


def lines_of(file: Path) -> list[dict[str, Any]]:
    """Read JSON lines."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def fill(part: str, text: str) -> None:
    """Put a text between the marks of a part."""
    begin, end = f"<!-- {part} -->", f"<!-- end of {part} -->"
    document = DOCUMENT.read_text(encoding="utf-8")
    before, after = document.index(begin) + len(begin), document.index(end)
    DOCUMENT.write_text(f"{document[:before]}\n{text}\n{document[after:]}", encoding="utf-8")
    print(f"{part}: written")


def chaos(trials: list[dict[str, Any]]) -> str:
    """Tell how often runs were killed, where, and what it cost."""
    kills = [kill for trial in trials for kill in trial["kills"]]
    stops = [stop for trial in trials for stop in trial["stops"]]
    modes, steps = Counter(kill["mode"] for kill in kills), Counter(step_shown(kill["step"]) for kill in kills)
    before = Counter(kill["before"] for kill in kills if kill["mode"] == "operation")
    done = sum(trial["optimizer_steps"] for trial in trials)
    again = sum(trial["optimizer_steps_again"] for trial in trials)
    rows = [f"| {step} | {count} |" for step, count in sorted(steps.items())]
    return "\n".join(
        [
            f"{len(trials)} runs, each killed until it came to its end: **{len(kills)} kills**, "
            f"{modes['operation']} of them before an operation on files "
            f"({', '.join(f'`{name}` {count}' for name, count in before.most_common())}), {modes['soon after']} within "
            f"20 ms after one, {modes['moment']} at a random moment. Beside them {len(stops)} SIGTERMs, which took "
            f"{max((stop['seconds'] for stop in stops), default=0):.1f} s at most.",
            "",
            f"- Runs that did not end with the bits of the undisturbed one: {sum(bool(t['faults']) for t in trials)}.",
            "- Finished steps lost or done again: 0 (a harness that finds one stops).",
            f"- Optimizer steps done again: {again}, beside {done} done once; a checkpoint is saved every 0.3 s here.",
            "",
            "| killed in | kills |",
            "|---|---|",
            *rows,
        ]
    )


def step_shown(step: str) -> str:
    """Name a step in the table; rounds are counted together."""
    return re.sub(r"round-\d+", "round-N", step)


def fuzz(figures: list[dict[str, Any]]) -> str:
    """Tell how many inputs each reader was fed with."""
    readers: dict[str, Counter[str]] = {}
    for one in figures:
        readers.setdefault(one["reader"], Counter())[one["how"]] += one["inputs"]
    total = sum(sum(counts.values()) for counts in readers.values())
    rows = [f"| {name} | {counts['drawn']:,} | {counts['guided']:,} |" for name, counts in readers.items()]
    found = sum(1 for _ in (ROOT / "tests/fuzz/found").glob("*/*"))
    return "\n".join(
        [
            f"{total:,} inputs to {len(readers)} readers; none broke one, after what was found was mended. "
            f"Inputs that once broke a reader and are tests now: {found}.",
            "",
            "| reader | drawn | guided by coverage |",
            "|---|---|---|",
            *rows,
        ]
    )


def mutation(folder: Path) -> str:
    """Tell which mutants the tests did not notice."""
    command = [str(Path(sys.executable).with_name("mutmut")), "results", "--all", "true"]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    results = re.findall(r"^\s*dogeared\.(\S+?)\.x(\S+)__mutmut_\d+: (.+)$", said, flags=re.MULTILINE)
    tried = [result for result in results if result[2] != "not checked"]
    modules: dict[str, Counter[str]] = {}
    survivors: dict[str, Counter[str]] = {}
    for module, function, state in tried:
        modules.setdefault(module, Counter())["survived" if state == "survived" else "killed"] += 1
        if state == "survived":
            survivors.setdefault(module, Counter())[function.strip("_").replace("ǁ", ".").strip(".")] += 1
    rows = [
        f"| {module} | {counts.total()} | {counts['survived']} | "
        f"{', '.join(f'`{name}` {count}' for name, count in sorted(survivors.get(module, {}).items()))} |"
        for module, counts in sorted(modules.items())
    ]
    total = sum(counts.total() for counts in modules.values())
    lived = sum(counts["survived"] for counts in modules.values())
    return "\n".join(
        [
            f"{total:,} mutants, {lived} of them not noticed by the tests ({lived / max(total, 1):.1%}).",
            "",
            "| module | mutants | survivors | in |",
            "|---|---|---|---|",
            *rows,
        ]
    )


if __name__ == "__main__":
    main()
