"""The figures that harnesses leave are put between their marks, and too few branches reached is an error."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts/write_reliability.py"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The script, with a document of its own."""
    spec = importlib.util.spec_from_file_location("write_reliability", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    parts = [f"<!-- {part} -->\nbefore\n<!-- end of {part} -->" for part in module.PARTS]
    document = tmp_path / "reliability.md"
    document.write_text("\n\n".join(parts), encoding="utf-8")
    monkeypatch.setattr(module, "DOCUMENT", document)
    return module


def write(script, monkeypatch: pytest.MonkeyPatch, *parts: str) -> str:
    monkeypatch.setattr(sys, "argv", ["write_reliability", *parts, "--runs", str(script.DOCUMENT.parent)])
    script.main()
    return script.DOCUMENT.read_text(encoding="utf-8")


def report(covered: int) -> str:
    summary = {"covered_branches": covered, "num_branches": 100, "covered_lines": 30, "num_statements": 40}
    files = {f"src/dogeared/{layer}/a.py": {"summary": summary} for layer in ("distill", "reader")}
    return json.dumps({"files": files, "totals": {name: 2 * value for name, value in summary.items()}})


def test_branches_are_counted_by_layer_and_together(script, monkeypatch):
    (script.DOCUMENT.parent / "coverage.json").write_text(report(95))
    written = write(script, monkeypatch, "coverage", "chaos")
    assert "| distill | 100 | 95.0% | 40 | 75.0% |" in written
    assert "| together | 200 | 95.0% | 80 | 75.0% |" in written
    assert written.count("before") == 3  # of what left nothing behind


def test_too_few_branches_are_an_error(script, monkeypatch):
    (script.DOCUMENT.parent / "coverage.json").write_text(report(94))
    with pytest.raises(SystemExit, match=r"expected 95% of the method's branches to be reached by tests, 94.0% are"):
        write(script, monkeypatch, "coverage")


def test_survivors_stand_under_the_reasons_why_they_may_be(script, monkeypatch):
    figures = {
        "modules": {"distill.losses": {"mutants": 8, "survivors": 2}, "distill.check": {"mutants": 2, "survivors": 0}},
        "kinds": [{"why": "two axes", "survivors": {"distill.losses.kl_divergence": 2}}],
    }
    folder = script.DOCUMENT.parent / "mutation"
    folder.mkdir()
    (folder / "figures.json").write_text(json.dumps(figures))
    written = write(script, monkeypatch, "mutation")
    assert "10 mutants, 2 of them not noticed by the tests (20.0%)." in written
    assert "| two axes | 2 | `losses.kl_divergence` |" in written


def test_the_document_has_a_place_for_each_part(script):
    document = (SCRIPT.parents[1] / "docs/reliability.md").read_text(encoding="utf-8")
    assert [document.count(f"<!-- {part} -->") for part in script.PARTS] == [1] * len(script.PARTS)
