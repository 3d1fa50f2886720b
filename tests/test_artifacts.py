"""Artifacts: complete or absent, told apart by what they were made from, and checked against their manifest."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dogeared.artifacts import (
    MANIFEST,
    Manifest,
    check_sizes,
    claim,
    differences,
    discard_content,
    file_fingerprint,
    fingerprint,
    is_discarded,
    is_finished,
    read_manifest,
    verify,
    write_artifact,
)
from dogeared.errors import ArtifactError, DataError
from dogeared.locks import hold
from dogeared.storage import write_atomically

MADE = {"kind": "index", "settings": {"k": 5, "model": {"dim": 8}}, "inputs": {"corpus": "c0"}}


def make(path, content="hello", **changes):
    with write_artifact(path, **{**MADE, **changes}) as (folder, facts):
        (folder / "inner").mkdir()
        (folder / "inner" / "data.txt").write_text(content)
        facts["seconds"] = 1.5


def test_finished_artifact_has_its_files_and_says_what_it_was_made_from(tmp_path):
    make(tmp_path / "deep" / "a")
    manifest = read_manifest(tmp_path / "deep" / "a")
    assert (manifest.kind, manifest.settings, manifest.inputs) == (MADE["kind"], MADE["settings"], MADE["inputs"])
    assert manifest.facts == {"seconds": 1.5}
    # From coreutils: printf hello | sha256sum
    assert manifest.files == {"inner/data.txt": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["a"]
    assert is_finished(tmp_path / "deep" / "a", **MADE)
    verify(tmp_path / "deep" / "a")


def test_artifact_is_absent_while_it_is_made_and_after_an_error(tmp_path):
    path = tmp_path / "a"
    with pytest.raises(RuntimeError, match="half way"), write_artifact(path, **MADE) as (folder, _):
        (folder / "data.txt").write_text("half")
        assert not path.exists()
        raise RuntimeError("half way")
    assert not path.exists()
    assert not is_finished(path, **MADE)
    with pytest.raises(ArtifactError, match="expected a finished artifact, found nothing"):
        read_manifest(path)


def test_what_an_error_left_behind_does_not_get_into_the_next_try(tmp_path):
    path = tmp_path / "a"
    with pytest.raises(RuntimeError), write_artifact(path, **MADE) as (folder, _):
        (folder / "left.txt").write_text("left")
        raise RuntimeError
    make(path)
    assert sorted(file.name for file in path.rglob("*")) == ["data.txt", "inner", MANIFEST]


@pytest.mark.parametrize("moment", ["in the block", "before the rename", "between the two renames"])
def test_kill_at_any_moment_leaves_an_artifact_absent_or_whole(tmp_path, moment):
    path = tmp_path / "a"
    if moment == "between the two renames":
        make(path, "old")
    script = textwrap.dedent(
        f"""
        import os, signal, sys
        from pathlib import Path
        from dogeared import artifacts

        def die(*_):
            os.kill(os.getpid(), signal.SIGKILL)

        moment, path = {moment!r}, Path({str(path)!r})
        if moment == "before the rename":
            artifacts.fsync_tree = die
        rename = Path.rename
        def rename_and_die(self, target):
            rename(self, target)
            die()
        if moment == "between the two renames":
            Path.rename = rename_and_die
        with artifacts.write_artifact(path, **{MADE!r}) as (folder, facts):
            (folder / "data.txt").write_text("new")
            if moment == "in the block":
                die()
        """
    )
    killed = subprocess.run([sys.executable, "-c", script], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not path.exists()
    assert not is_finished(path, **MADE)
    make(path, "again")
    assert (path / "inner" / "data.txt").read_text() == "again"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a"]


def test_writing_replaces_what_stood_there(tmp_path):
    path = tmp_path / "a"
    with write_artifact(path, **MADE) as (folder, _):
        (folder / "old.txt").write_text("old")
    make(path, "new", settings={"k": 6})
    assert not (path / "old.txt").exists()
    assert (path / "inner" / "data.txt").read_text() == "new"
    assert is_finished(path, kind="index", settings={"k": 6}, inputs={"corpus": "c0"})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"settings": {"k": 5, "model": {"dim": 16}}}, "model.dim: 8 -> 16"),
        ({"settings": {"k": 5, "model": {"dim": 8}, "new": None}}, "new: absent -> null"),
        ({"settings": {"k": 5, "model": None}}, 'model: {"dim": 8} -> null'),
        ({"inputs": {"corpus": "c1"}}, 'input corpus: "c0" -> "c1"'),
        ({"inputs": {}}, 'input corpus: "c0" -> absent'),
        ({"kind": "ranking"}, 'kind: "index" -> "ranking"'),
    ],
)
def test_artifact_made_otherwise_is_an_error_that_names_the_difference_alone(tmp_path, changes, named):
    make(tmp_path / "a")
    with pytest.raises(ArtifactError) as raised:
        is_finished(tmp_path / "a", **{**MADE, **changes})
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'a'} was made with other settings: {named}. ")
    assert "delete" in message


def test_facts_and_the_order_of_keys_do_not_make_another_artifact(tmp_path):
    make(tmp_path / "a")
    turned = {"model": {"dim": 8}, "k": 5}
    assert is_finished(tmp_path / "a", kind="index", settings=turned, inputs=MADE["inputs"])
    one = Manifest(**MADE, facts={"seconds": 1})
    assert one.fingerprint == Manifest(**{**MADE, "settings": turned}, facts={"seconds": 2}).fingerprint
    assert one.fingerprint != Manifest(**{**MADE, "kind": "other"}).fingerprint


def test_fingerprint_is_the_hash_of_the_sorted_json():
    # From coreutils: printf '{"a":[1,2],"b":"é"}' | sha256sum
    assert fingerprint({"b": "é", "a": (1, 2)}) == "d902c5ef87c42c33"


def test_differences_are_sorted_and_a_tuple_is_the_list_it_is_written_as():
    old = {"z": 1, "a": {"x": [1, 2], "y": 2}, "same": "s"}
    new = {"z": 2, "a": {"x": (1, 2), "y": 3}, "same": "s", "é": "北"}
    assert differences(old, new) == ["a.y: 2 -> 3", "z: 1 -> 2", 'é: absent -> "北"']
    assert differences(old, old) == []


@pytest.mark.parametrize("name", ["inner/data.txt", f"inner/{MANIFEST}"])
@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda file: file.write_text(file.read_text().swapcase()), "altered or cut"),
        (lambda file: os.truncate(file, 1), "altered or cut"),
        (Path.unlink, "missing, though the manifest beside it lists it"),
    ],
)
def test_altered_cut_or_missing_file_is_found(tmp_path, name, harm, reason):
    with write_artifact(tmp_path / "a", **MADE) as (folder, _):
        make(folder / "inner")
        (folder / "inner" / "data.txt").write_text("hello")
    verify(tmp_path / "a")
    harm(tmp_path / "a" / name)
    with pytest.raises(ArtifactError, match=reason) as raised:
        verify(tmp_path / "a")
    assert str(tmp_path / "a" / name) in str(raised.value)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"kind": "index"}', '{"other": 1}'])
def test_manifest_that_cannot_be_read_is_an_error_that_names_it(tmp_path, content):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / MANIFEST).write_text(content)
    with pytest.raises(ArtifactError, match="the manifest cannot be read") as raised:
        is_finished(tmp_path / "a", **MADE)
    assert str(tmp_path / "a" / MANIFEST) in str(raised.value)


def test_folder_without_a_manifest_is_not_an_artifact(tmp_path):
    (tmp_path / "a").mkdir()
    assert not is_finished(tmp_path / "a", **MADE)
    with pytest.raises(ArtifactError, match="found no manifest"):
        read_manifest(tmp_path / "a")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not tell which file a handle is of")
def test_everything_is_synced_before_it_is_published(tmp_path, monkeypatch):
    events = []
    fsync, rename = os.fsync, Path.rename

    def noted_fsync(handle):
        events.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        fsync(handle)

    def noted_rename(self, target):
        events.append("rename")
        rename(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    make(tmp_path / "a")
    partial = tmp_path / "a.partial"
    published = events.index("rename")
    assert {str(partial), str(partial / "inner"), str(partial / "inner" / "data.txt")} <= set(events[:published])
    assert any(MANIFEST in event for event in events[:published])
    assert events[published + 1 :] == [str(tmp_path)]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_artifact_is_not_replaced(tmp_path, kind):
    path = tmp_path / "a"
    if kind == "folder":
        path.mkdir()
        (path / "thesis.txt").write_text("precious")
    else:
        path.write_text("precious")
    with pytest.raises(ArtifactError, match="expected an artifact to replace, an empty folder or nothing") as raised:
        make(path)
    assert str(path) in str(raised.value)
    assert (path / "thesis.txt" if kind == "folder" else path).read_text() == "precious"
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_an_empty_folder_gives_way_to_an_artifact(tmp_path):
    (tmp_path / "a").mkdir()
    make(tmp_path / "a")
    verify(tmp_path / "a")


def test_claimed_folder_keeps_its_work_for_the_same_artifact_alone(tmp_path):
    work = tmp_path / "deep" / "a.work"
    claim(work, **MADE)
    claim(work, **{**MADE, "settings": {"k": 6}})  # nothing was done in it: it may be for something else
    (work / "half.txt").write_text("half")
    claim(work, **{**MADE, "settings": {"k": 6}})
    with pytest.raises(ArtifactError, match=r"a\.work was made with other settings: k: 6 -> 7"):
        claim(work, **{**MADE, "settings": {"k": 7}})
    with pytest.raises(ArtifactError, match='input corpus: "c0" -> "c1"'):
        claim(work, **{**MADE, "settings": {"k": 6}, "inputs": {"corpus": "c1"}})
    assert (work / "half.txt").read_text() == "half"


def test_discarded_content_leaves_the_manifest_alone(tmp_path):
    make(tmp_path / "a")
    assert not is_discarded(tmp_path / "a")
    discard_content(tmp_path / "a")
    assert is_discarded(tmp_path / "a")
    assert [path.name for path in (tmp_path / "a").iterdir()] == [MANIFEST]
    assert is_finished(tmp_path / "a", **MADE)
    with pytest.raises(ArtifactError, match="missing, though the manifest"):
        verify(tmp_path / "a")


def test_fingerprint_of_a_file_is_that_of_its_content(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text("hello")
        assert file_fingerprint(tmp_path / name) == "2cf24dba5fb0a30e"
    with pytest.raises(DataError, match="expected a file that can be read"):
        file_fingerprint(tmp_path / "absent")


def test_held_folder_is_refused_to_others_until_the_holder_ends(tmp_path):
    script = "import sys; from pathlib import Path; from dogeared.locks import hold\n"
    script += f"with hold(Path({str(tmp_path / 'run')!r})): print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout.readline() == b"held\n"
        refused = pytest.raises(ArtifactError, match=f"process {holder.pid} is working in this directory")
        with refused, hold(tmp_path / "run"):
            pass
        holder.kill()
    for _ in range(2):
        with hold(tmp_path / "run"):
            assert (tmp_path / "run" / ".lock").read_text() == str(os.getpid())


def test_text_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "state.json"
    write_atomically(file, '{"step": 1, "é": 2}')
    assert json.loads(file.read_text(encoding="utf-8")) == {"step": 1, "é": 2}

    def fail(handle):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(file, "half")
    assert json.loads(file.read_text(encoding="utf-8")) == {"step": 1, "é": 2}


def test_a_file_of_another_size_is_found_without_reading_it(tmp_path):
    make(tmp_path / "a")
    check_sizes(tmp_path / "a")
    os.truncate(tmp_path / "a" / "inner" / "data.txt", 3)
    with pytest.raises(ArtifactError, match=r"inner/data.txt: altered or cut since it was finished; delete"):
        check_sizes(tmp_path / "a")
    (tmp_path / "a" / "inner" / "data.txt").unlink()
    with pytest.raises(ArtifactError, match="missing, though the manifest"):
        check_sizes(tmp_path / "a")


def test_a_manifest_without_sizes_is_one_of_before(tmp_path):
    make(tmp_path / "a")
    file = tmp_path / "a" / MANIFEST
    told = json.loads(file.read_text())
    assert told.pop("sizes") == {"inner/data.txt": 5}
    file.write_text(json.dumps(told))
    check_sizes(tmp_path / "a")
    verify(tmp_path / "a")


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": 3},
        {"settings": []},
        {"inputs": {"data": 3}},
        {"files": {"../../etc/passwd": "0"}},
        {"files": {"/etc/passwd": "0"}},
        {"sizes": {"inner/data.txt": "5"}},
        {"facts": "none"},
    ],
)
def test_manifest_of_wrong_types_is_refused(tmp_path, changes):
    make(tmp_path / "a")
    file = tmp_path / "a" / MANIFEST
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(ArtifactError, match="the manifest cannot be read"):
        read_manifest(tmp_path / "a")


@pytest.mark.parametrize("content", ["[" * 100_000, '{"kind": "\\ud800", "settings": {}, "inputs": {}}'])
def test_manifest_that_no_code_of_ours_wrote_is_refused(tmp_path, content):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / MANIFEST).write_text(content)
    with pytest.raises(ArtifactError, match="the manifest cannot be read"):
        read_manifest(tmp_path / "a")
