"""Put the figures of the harnesses into docs/reliability.md, between the marks that are there for them.

Reads what ``make chaos``, ``make fuzz``, ``make mutation`` and ``make coverage`` left behind; what is not there leaves
its part as it is. Too few branches covered end it with an error, after they were written.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs/reliability.md"

BRANCHES = ("covered_branches", "num_branches")
STATEMENTS = ("covered_lines", "num_statements")
LEAST_REACHED = 0.95


def main() -> None:
    """Write each part whose figures are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+", choices=sorted(PARTS))
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="where the harnesses left their figures")
    told = parser.parse_args()
    for part in told.parts:
        file, write = PARTS[part]
        if (told.runs / file).is_file():
            fill(part, write(read(told.runs / file)))
    report = told.runs / PARTS["coverage"][0]
    if "coverage" in told.parts and (reached := share(read(report)["totals"], BRANCHES)) < LEAST_REACHED:
        sys.exit(f"expected {LEAST_REACHED:.0%} of the method's branches to be reached by tests, {reached:.1%} are")


def read(file: Path) -> Any:
    """Read JSON, or JSON lines."""
    text = file.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if file.suffix == ".jsonl" else json.loads(text)


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


def mutation(figures: dict[str, Any]) -> str:
    """Tell how many mutants the tests did not notice, in which modules, and why they are let be."""
    modules: dict[str, dict[str, int]] = figures["modules"]
    kinds: list[dict[str, Any]] = figures["kinds"]
    total, lived = (sum(counts[what] for counts in modules.values()) for what in ("mutants", "survivors"))
    return "\n".join(
        [
            f"{total:,} mutants, {lived} of them not noticed by the tests ({lived / max(total, 1):.1%}).",
            "",
            "| module | mutants | survivors |",
            "|---|---|---|",
            *(f"| {name} | {counts['mutants']} | {counts['survivors']} |" for name, counts in sorted(modules.items())),
            "",
            "| why it may be | survivors | in |",
            "|---|---|---|",
            *(
                f"| {kind['why']} | {sum(kind['survivors'].values())} | {', '.join(map(short, kind['survivors']))} |"
                for kind in sorted(kinds, key=lambda kind: -sum(kind["survivors"].values()))
            ),
        ]
    )


def short(function: str) -> str:
    """Name a function without its layer."""
    return f"`{function.partition('.')[2]}`"


def coverage(report: dict[str, Any]) -> str:
    """Tell what share of branches and statements the tests reach, by layer."""
    layers: dict[str, Counter[str]] = {}
    for file, found in report["files"].items():
        layer = re.search(r"dogeared/(\w+)/", file)
        if layer is not None:
            layers.setdefault(layer[1], Counter()).update(
                {name: found["summary"][name] for name in (*BRANCHES, *STATEMENTS)}
            )
    layers["together"] = sum(layers.values(), Counter())
    return "\n".join(
        [
            "| layer | branches | reached | statements | reached |",
            "|---|---|---|---|---|",
            *(
                f"| {name} | {counts[BRANCHES[1]]:,} | {share(counts, BRANCHES):.1%} | {counts[STATEMENTS[1]]:,} | "
                f"{share(counts, STATEMENTS):.1%} |"
                for name, counts in layers.items()
            ),
        ]
    )


def share(counts: Mapping[str, int], names: tuple[str, str]) -> float:
    """Return the covered share."""
    return counts[names[0]] / max(counts[names[1]], 1)


PARTS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "chaos": ("chaos/trials.jsonl", chaos),
    "fuzz": ("fuzz/figures.jsonl", fuzz),
    "mutation": ("mutation/figures.json", mutation),
    "coverage": ("coverage.json", coverage),
}
"""Where each harness leaves its figures, and who puts them into words."""


if __name__ == "__main__":
    main()
