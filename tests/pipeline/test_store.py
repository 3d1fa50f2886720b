"""Runs that share a store do a common step once, and never take what is not the same."""

from pathlib import Path

import pytest

from dogeared.artifacts import discard_content, read_manifest
from dogeared.pipeline.making import Facts, make_artifact
from dogeared.pipeline.store import share


class Step:
    """A step that counts how often its work was done."""

    def __init__(self) -> None:
        self.times = 0

    def make(self, out: Path, *, value: int = 1, inputs: dict[str, str] | None = None) -> None:
        """Write the value."""

        def work(folder: Path, facts: Facts) -> None:
            self.times += 1
            (folder / "inner").mkdir()
            (folder / "inner" / "value.txt").write_text(str(value), encoding="utf-8")

        make_artifact(out, kind="step", settings={"value": value}, inputs=inputs or {}, work=work)


def _value(out: Path) -> str:
    return (out / "inner" / "value.txt").read_text(encoding="utf-8")


def test_what_one_run_made_another_takes(tmp_path: Path) -> None:
    """Work is done once; both hold the same, manifest and cost too; and nothing is left beside them."""
    step = Step()
    with share(tmp_path / "store"):
        step.make(tmp_path / "a" / "step")
        step.make(tmp_path / "b" / "step")
    assert step.times == 1
    assert _value(tmp_path / "b" / "step") == "1"
    assert read_manifest(tmp_path / "a" / "step") == read_manifest(tmp_path / "b" / "step")
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["step"]


def test_other_settings_and_other_inputs_are_other_work(tmp_path: Path) -> None:
    """The fingerprint holds both."""
    step = Step()
    with share(tmp_path / "store"):
        step.make(tmp_path / "a")
        step.make(tmp_path / "b", value=2)
        step.make(tmp_path / "c", inputs={"data": "0123"})
    assert step.times == 3
    assert _value(tmp_path / "b") == "2"


def test_nothing_is_shared_outside(tmp_path: Path) -> None:
    """A run without a store neither leaves nor takes."""
    step = Step()
    with share(None):
        step.make(tmp_path / "a")
    step.make(tmp_path / "b")
    with share(tmp_path / "store"):
        step.make(tmp_path / "c")
    assert step.times == 3


def test_what_one_run_removes_the_other_keeps(tmp_path: Path) -> None:
    """Old rounds are cleaned up in a run; the store and other runs do not lose them."""
    step = Step()
    with share(tmp_path / "store"):
        step.make(tmp_path / "a")
        step.make(tmp_path / "b")
        discard_content(tmp_path / "a")
        step.make(tmp_path / "c")
    assert step.times == 1
    assert _value(tmp_path / "b") == _value(tmp_path / "c") == "1"


def test_an_altered_artifact_is_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is said, and the step does its work."""
    step = Step()
    with share(tmp_path / "store"):
        step.make(tmp_path / "a")
        (kept,) = (tmp_path / "store").iterdir()
        (kept / "inner" / "value.txt").unlink()
        (kept / "inner" / "value.txt").write_text("7", encoding="utf-8")
        step.make(tmp_path / "b")
    assert step.times == 2
    assert _value(tmp_path / "b") == "1"
    assert "value.txt" in caplog.text


def test_files_are_linked(tmp_path: Path) -> None:
    """A store takes no second place on the disk."""
    step = Step()
    with share(tmp_path / "store"):
        step.make(tmp_path / "a")
    assert (tmp_path / "a" / "inner" / "value.txt").stat().st_nlink == 2
