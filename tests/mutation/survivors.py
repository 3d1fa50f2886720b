"""Hold each change that no test notices against the list of those that have been read and let be.

mutmut makes small changes and says which of them the tests did not notice. ``survivors.toml`` says, by kinds, why such
a change may stay unnoticed: where it stands and what it looks like. A survivor of no kind is a gap in the tests, and a
kind without survivors is no longer true; both end this program with an error. ``scripts/write_reliability.py`` puts
what it leaves into the document.

Not here: making the changes, and judging them.

    mutmut run
    PYTHONPATH=tests python -m mutation.survivors --out runs/mutation
"""

import argparse
import json
import os
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

__all__ = ["Kind", "Mutant", "compare", "read_kinds", "read_mutants"]


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One small change.

    Attributes:
        module: Without the package's name, as ``distill.losses``.
        function: As ``kl_divergence`` or ``Gold.relevance``.
        survived: Whether no test noticed.
        change: Of a survivor the lines before and after it, as ``old -> new``.
    """

    module: str
    function: str
    survived: bool
    change: str = ""

    @property
    def is_wording(self) -> bool:
        """Whether it changes letter case or adds ``XX`` in a text of several words, and nothing else."""
        before, _, after = self.change.partition(" -> ")
        if before == after or before.casefold() != after.replace("XX", "").casefold():
            return False
        texts = re.findall(r'"[^"]*"|\'[^\']*\'', before)
        return any(" " in text.strip("\"' ") and text not in after for text in texts)


@dataclass(kw_only=True)
class Kind:
    """A kind of change that may stay unnoticed.

    Attributes:
        why: The reason.
        where: Patterns of ``module.function``.
        changes: Regular expressions of which one is found in the change.
        wording: Whether it is the words of texts instead.
    """

    why: str
    where: Sequence[str] = ("*",)
    changes: Sequence[str] = ()
    wording: bool = False
    survivors: Counter[str] = field(default_factory=Counter)

    def explains(self, mutant: Mutant) -> bool:
        """Tell whether a survivor is of this kind."""
        name = f"{mutant.module}.{mutant.function}"
        if not any(fnmatch(name, pattern) for pattern in self.where):
            return False
        return mutant.is_wording if self.wording else any(re.search(change, mutant.change) for change in self.changes)


def compare(mutants: Iterable[Mutant], kinds: Sequence[Kind]) -> list[str]:
    """Count each survivor under the first kind that explains it, and return what is wrong with the list."""
    faults = []
    for mutant in mutants:
        if mutant.survived:
            kind = next((kind for kind in kinds if kind.explains(mutant)), None)
            name = f"{mutant.module}.{mutant.function}"
            if kind is None:
                faults.append(f"not explained: {name}: {mutant.change}")
            else:
                kind.survivors[name] += 1
    return faults + [f"explains nothing: {kind.why}" for kind in kinds if not kind.survivors]


def read_kinds(file: Path) -> list[Kind]:
    """Read the list."""
    return [Kind(**kind) for kind in tomllib.loads(file.read_text(encoding="utf-8"))["kind"]]


def read_mutants(folder: Path) -> list[Mutant]:
    """Read what mutmut left in a folder, of the changes that it tried.

    Those that no test reaches have not been noticed either. Nothing is changed.
    """
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.stats import status_by_exit_code
    from mutmut.utils.file_utils import walk_mutatable_files

    os.chdir(folder)  # mutmut looks where it stands
    mutants = []
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            status = status_by_exit_code[code]
            if status == "not checked":
                continue
            module, function = split_name(name)
            survived = status in ("survived", "no tests")
            change = change_of(get_diff_for_mutant(name, path=path)) if survived else ""
            mutants.append(Mutant(module=module, function=function, survived=survived, change=change))
    return mutants


def split_name(name: str) -> tuple[str, str]:
    """Take mutmut's name of a change apart.

    >>> split_name("dogeared.distill.labels.xǁGoldǁrelevance__mutmut_3")
    ('distill.labels', 'Gold.relevance')
    >>> split_name("dogeared.distill.labels.x__marked__mutmut_30")
    ('distill.labels', '_marked')
    """
    module, _, mangled = name.removeprefix("dogeared.").rpartition(".x")
    function = re.sub(r"__mutmut_\d+$", "", mangled)
    return module, function.strip("ǁ").replace("ǁ", ".") if "ǁ" in function else function.removeprefix("_")


def change_of(diff: str) -> str:
    """Return the lines that a difference takes away and puts in, without the space around them."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    sides = (" ".join(line[1:].strip() for line in lines if line[0] == sign) for sign in "-+")
    return " -> ".join(sides)


def figures(mutants: Sequence[Mutant], kinds: Sequence[Kind]) -> dict[str, Any]:
    """Return the counts for the document."""
    modules: dict[str, Counter[str]] = {}
    for mutant in mutants:
        modules.setdefault(mutant.module, Counter()).update(mutants=1, survivors=int(mutant.survived))
    return {"modules": modules, "kinds": [{"why": kind.why, "survivors": dict(kind.survivors)} for kind in kinds]}


def main() -> None:
    """Compare, say what is wrong, and leave the figures where nothing is."""
    parser = argparse.ArgumentParser(description="Compare mutmut's survivors with those that were read.")
    parser.add_argument("--mutants", type=Path, default=Path(), help="where mutmut ran")
    parser.add_argument("--out", type=Path, required=True)
    told = parser.parse_args()
    out, kinds = told.out.absolute(), read_kinds(Path(__file__).with_name("survivors.toml"))
    mutants = read_mutants(told.mutants)
    faults = compare(mutants, kinds)
    print(f"{len(mutants)} mutants, {sum(mutant.survived for mutant in mutants)} survivors, {len(faults)} faults")
    if faults:
        sys.exit("\n".join(faults))
    out.mkdir(parents=True, exist_ok=True)
    (out / "figures.json").write_text(json.dumps(figures(mutants, kinds), indent=1, sort_keys=True), encoding="utf-8")


if __name__ == "__main__":
    main()
