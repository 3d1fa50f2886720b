"""A sound run is found sound; each kind of damage is named, with what to do."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dogeared.artifacts import discard_content
from dogeared.cli import app
from dogeared.errors import ArtifactError
from dogeared.locks import hold
from dogeared.pipeline.doctor import Finding, examine


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_run, tmp_path / "run")


def _wrong(run: Path) -> list[Finding]:
    return [finding for finding in examine(run) if finding.is_wrong]


def test_a_sound_run_is_found_sound(run: Path) -> None:
    """Nothing is said at all, and the command exits with 0."""
    assert examine(run) == []
    done = CliRunner().invoke(app, ["doctor", str(run)])
    assert (done.exit_code, done.stdout) == (0, "all is well\n")


def test_an_altered_and_a_missing_file_are_named(run: Path) -> None:
    """One bit is enough; the command exits with 1."""
    vectors = next(path for path in (run / "round-1/vectors").iterdir() if path.suffix == ".npy")
    content = bytearray(vectors.read_bytes())
    content[-1] ^= 1
    vectors.write_bytes(content)
    next((run / "round-0/ranking").glob("*.parquet")).unlink()
    (run / "round-0/ranking/other.txt").write_text("", encoding="utf-8")
    messages = " ".join(finding.message for finding in _wrong(run))
    assert "altered or cut" in messages
    assert vectors.name in messages
    done = CliRunner().invoke(app, ["doctor", str(run)])
    assert done.exit_code == 1
    assert done.stdout.startswith("wrong: ")


def test_what_was_removed_on_purpose_is_a_note(run: Path) -> None:
    """As clean-up does it."""
    discard_content(run / "round-1/reader")
    (finding,) = examine(run)
    assert not finding.is_wrong
    assert "rounds.keep" in finding.message


def test_what_does_not_fit_together_is_named(run: Path) -> None:
    """A ranking of another retriever under the same name."""
    manifest = run / "round-1/retriever/manifest.json"
    told = json.loads(manifest.read_text(encoding="utf-8"))
    told["settings"]["seed"] = 12345
    manifest.write_text(json.dumps(told), encoding="utf-8")
    roles = {(finding.path.name, "other retriever" in finding.message) for finding in _wrong(run)}
    assert ("vectors", True) in roles


def test_broken_results_and_a_broken_manifest_are_named(run: Path) -> None:
    """Each with its file."""
    (run / "results.json").write_text("{", encoding="utf-8")
    (run / "round-1/measures/manifest.json").write_text("{", encoding="utf-8")
    named = {finding.path.name for finding in _wrong(run)}
    assert {"results.json", "measures"} <= named


def test_what_an_interrupted_step_left_is_a_note(run: Path) -> None:
    """With what will become of it; and who is working there."""
    for suffix in ("partial", "work", "stale"):
        (run / f"round-1/reader.{suffix}").mkdir()
    with hold(run):
        findings = examine(run)
    assert not any(finding.is_wrong for finding in findings)
    assert len(findings) == 4
    assert "process" in findings[-1].message
    assert len(examine(run)) == 3


def test_what_is_no_run_is_an_error(tmp_path: Path) -> None:
    """A folder that is not there, and an empty one."""
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(ArtifactError, match="expected the directory of a run"):
            examine(folder)


def test_what_is_missing_is_named_and_not_what_was_made_from_it(run: Path) -> None:
    """Its advice must not cost trained models: the same run makes the data again."""
    for name in ("data", "words"):
        shutil.move(run / name, run.parent / name)
        (finding,) = _wrong(run)
        assert finding.path == run / name
        assert "is missing" in finding.message
        assert "delete" not in finding.message
        shutil.move(run.parent / name, run / name)
    assert _wrong(run) == []


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_results_or_settings_that_are_none_are_each_named(run: Path, content: str) -> None:
    for name in ("results.json", "experiment.json"):
        before = (run / name).read_text(encoding="utf-8")
        (run / name).write_text(content, encoding="utf-8")
        if (name, content) != ("experiment.json", "{}"):  # all settings have defaults
            (finding,) = _wrong(run)
            assert finding.path == run / name
            assert "expected the" in finding.message
            assert "pydantic" not in finding.message
        (run / name).write_text(before, encoding="utf-8")


def test_a_folder_of_runs_is_no_run(run: Path) -> None:
    with pytest.raises(ArtifactError, match="found one that holds runs, such as"):
        examine(run.parent)
