"""The frame around every step: what was done is not done again, and what was begun is gone on with or refused."""

import json

import pytest

from dogeared import __version__
from dogeared.artifacts import read_manifest
from dogeared.errors import ArtifactError
from dogeared.pipeline.making import SERIES, make_artifact, make_from, work_folder


def make(out, work, **changes):
    arguments = {"kind": "copy", "settings": {"k": 5}, "inputs": {"data": "d0"}, **changes}
    make_artifact(out, **arguments, work=work)


def finish(folder, facts):
    (folder / "data.txt").write_text("done")
    facts["count"] = 3


def fail_half_way(out):
    """Leave something behind to go on from."""

    def work(folder, facts):
        (work_folder(out) / "half.txt").write_text("half")
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        make(out, work)


def test_a_step_is_done_once_and_its_cost_is_noted(tmp_path):
    out = tmp_path / "a"
    make(out, finish)
    manifest = read_manifest(out)
    assert manifest.settings == {"k": 5, "dogeared": SERIES}
    assert manifest.facts["made_with"]["dogeared"] == __version__
    assert {"python", "torch", "transformers"} <= manifest.facts["made_with"].keys()
    assert manifest.facts["count"] == 3
    assert 0 <= manifest.facts["cost"]["seconds"] < 60
    assert manifest.facts["cost"]["peak_mb"] > 1
    make(out, lambda *_: pytest.fail("done before"))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_was_begun_is_gone_on_with(tmp_path):
    out = tmp_path / "a"
    fail_half_way(out)
    assert not out.exists()

    def go_on(folder, facts):
        (folder / "data.txt").write_text((work_folder(out) / "half.txt").read_text() + " and whole")

    make(out, go_on)
    assert (out / "data.txt").read_text() == "half and whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"settings": {"k": 6}}, "k: 5 -> 6"), ({"inputs": {"data": "d1"}}, 'input data: "d0" -> "d1"')],
)
def test_what_was_begun_or_done_otherwise_is_refused_by_name(tmp_path, changes, named):
    out = tmp_path / "a"
    fail_half_way(out)
    with pytest.raises(ArtifactError, match=rf"a\.work was made with other settings: {named}"):
        make(out, finish, **changes)
    make(out, finish)
    with pytest.raises(ArtifactError, match=rf"a was made with other settings: {named}"):
        make(out, finish, **changes)


def test_a_step_that_left_nothing_behind_does_not_bind(tmp_path):
    def fail_at_once(folder, facts):
        raise ValueError("wrong setting")

    with pytest.raises(ValueError, match="wrong setting"):
        make(tmp_path / "a", fail_at_once)
    make(tmp_path / "a", finish, settings={"k": 6})
    assert json.loads((tmp_path / "a" / "manifest.json").read_text())["settings"]["k"] == 6


def test_work_left_behind_by_a_kill_after_the_end_is_removed(tmp_path):
    out = tmp_path / "a"
    fail_half_way(out)
    half = (work_folder(out) / "half.txt").read_text()
    make(out, finish)
    work_folder(out).mkdir()
    (work_folder(out) / "half.txt").write_text(half)
    make(out, lambda *_: pytest.fail("done before"))
    assert not work_folder(out).exists()


def test_a_patch_release_goes_on_with_what_another_made_and_no_other_does(tmp_path, monkeypatch):
    major, minor, _ = __version__.split(".")
    assert f"{major}.{minor}.0" == SERIES
    make(tmp_path / "a", finish)
    monkeypatch.setattr("dogeared.pipeline.making.__version__", f"{major}.{minor}.99")
    make(tmp_path / "a", lambda *_: pytest.fail("done before"))
    monkeypatch.setattr("dogeared.pipeline.making.SERIES", f"{major}.{int(minor) + 1}.0")
    with pytest.raises(ArtifactError, match=f'dogeared: "{major}.{minor}.0" -> "{major}.{int(minor) + 1}.0"'):
        make(tmp_path / "a", finish)


def test_an_input_that_was_altered_is_found_before_any_work(tmp_path):
    make(tmp_path / "data", finish)
    (tmp_path / "data" / "data.txt").write_text("dune")
    with pytest.raises(ArtifactError, match=r"data/data\.txt: altered or cut since it was finished"):
        make_from(tmp_path / "b", "copy", {}, {"data": tmp_path / "data"}, lambda *_: pytest.fail("read it"))
    assert not (tmp_path / "b").exists()


def test_an_input_is_not_looked_into_where_the_step_is_done(tmp_path):
    """Content that is no longer needed may be gone."""
    make(tmp_path / "data", finish)
    inputs = {"data": tmp_path / "data"}
    make_from(tmp_path / "b", "copy", {}, inputs, finish)
    (tmp_path / "data" / "data.txt").unlink()
    make_from(tmp_path / "b", "copy", {}, inputs, lambda *_: pytest.fail("done before"))
