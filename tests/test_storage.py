"""A disk that is full, read-only or not ours: a clear error, nothing half-written, and on again once that is mended."""

import errno
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dogeared import api
from dogeared.artifacts import verify, write_artifact
from dogeared.errors import ResourceError
from dogeared.locks import hold
from dogeared.storage import reserve, told, write_atomically

MADE = {"kind": "index", "settings": {}, "inputs": {}}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"this user may not mount a file system: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def fill(path: Path, num_bytes: int) -> None:
    with write_artifact(path, **MADE) as (folder, _):
        (folder / "data").write_bytes(b"x" * num_bytes)


def test_an_artifact_on_a_full_disk_is_absent_and_can_be_made_later(small_disk: Path) -> None:
    fill(small_disk / "a", 1_000_000)
    with pytest.raises(ResourceError, match=r"b: cannot be written, the disk is full; .* MB are free there") as raised:
        fill(small_disk / "b", 1_500_000)
    assert "make room" in str(raised.value)
    assert sorted(path.name for path in small_disk.iterdir()) == ["a"], "the room is free again"
    verify(small_disk / "a")
    remount(small_disk, "size=8m")
    fill(small_disk / "b", 1_500_000)
    verify(small_disk / "b")


def test_a_read_only_disk_is_said_and_written_later(small_disk: Path) -> None:
    remount(small_disk, "ro")
    with pytest.raises(ResourceError, match="the file system is read-only"):
        fill(small_disk / "a", 10)
    with pytest.raises(ResourceError, match="the file system is read-only"), hold(small_disk / "run"):
        pass
    with pytest.raises(ResourceError, match="the file system is read-only"):
        write_atomically(small_disk / "results.json", "{}")
    remount(small_disk, "rw")
    fill(small_disk / "a", 10)


def test_a_run_on_a_full_disk_goes_on_once_there_is_room(
    small_disk: Path, tiny_run: Path, tiny_data: Path, tiny_settings: tuple[str, ...]
) -> None:
    arguments = {
        "questions": tiny_data / "questions.jsonl",
        "passages": tiny_data / "passages.jsonl",
        "out": small_disk / "run",
        "preset": None,
        "overrides": tiny_settings,
    }
    remount(small_disk, "size=400k")
    with pytest.raises(ResourceError, match="the disk is full"):
        api.run(**arguments)
    finished = sorted(file.parent for file in (small_disk / "run").rglob("manifest.json"))
    assert finished
    assert not list((small_disk / "run").rglob("*.partial"))
    for path in finished:
        verify(path)
    remount(small_disk, "size=64m")
    assert api.run(**arguments)["best"] == api.run(**{**arguments, "out": tiny_run})["best"]


def test_the_room_for_vectors_is_taken_before_they_are_written(small_disk: Path) -> None:
    """Through memory a full disk could not be told: the process would be gone."""
    with pytest.raises(ResourceError, match="4 MB are needed for this file"):
        reserve(small_disk / "vectors.npy", 4 << 20)
    reserve(small_disk / "vectors.npy", 1 << 20)
    assert (small_disk / "vectors.npy").stat().st_blocks * 512 >= 1 << 20


@contextmanager
def short_files() -> Iterator[None]:
    """No file of this process may grow over 1,000 bytes, as under a quota: not the one either that tests report to."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_limit_of_files_is_told_and_leaves_the_old_content(tmp_path: Path) -> None:
    write_atomically(tmp_path / "state.json", "old")
    with short_files():
        with pytest.raises(ResourceError, match="a file may not grow more"):
            write_atomically(tmp_path / "state.json", "x" * 5000)
        with pytest.raises(ResourceError, match="a file may not grow more"):
            fill(tmp_path / "a", 5000)
    assert (tmp_path / "state.json").read_text() == "old"
    assert not (tmp_path / "a").exists()


def test_a_folder_of_somebody_else_is_said(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("the superuser may write everywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(ResourceError, match="this user may not write there"):
        fill(tmp_path / "a", 10)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the quota is used up"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "{folder}/a/file"), "this user may not write there"),
        (OSError(errno.EIO, "Input/output error", "{folder}/a/file"), "the disk failed"),
    ],
)
def test_what_the_system_and_the_libraries_say_is_explained(tmp_path: Path, error: Exception, said: str) -> None:
    if isinstance(error, OSError) and error.filename:
        error.filename = error.filename.format(folder=tmp_path)
    with pytest.raises(ResourceError, match=said), told(tmp_path / "a"):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        PermissionError(errno.EACCES, "Permission denied", "/somewhere/else"),
        FileNotFoundError(errno.ENOENT, "No such file", "x"),
        ValueError("a bug"),
    ],
)
def test_other_errors_are_left_as_they_are(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as raised, told(tmp_path / "a"):
        raise error
    assert raised.value is error


def test_nothing_asks_what_time_it_is() -> None:
    """A clock that jumps moves nothing: intervals are measured by the one that only goes forward."""
    package = Path(api.__file__).parent
    asking = ("time.time(", "datetime", "st_mtime <", "st_mtime >", "strftime", "time_ns()")
    found = [(file.name, word) for file in package.rglob("*.py") for word in asking if word in file.read_text()]
    assert found == []


def test_a_link_is_written_through_and_what_is_no_file_is_left_alone(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real.txt")
    write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"
    with pytest.raises(ResourceError, match="expected the name of a file to write, found a folder"):
        write_atomically(tmp_path, "text")
    with pytest.raises(ResourceError, match="expected the name of a file to write, found a device"):
        write_atomically(Path("/dev/null"), "text")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("name", ["file/run", "file"])
def test_a_file_where_a_folder_is_wanted_is_told(tmp_path, name):
    (tmp_path / "file").write_text("")
    told_so = r"cannot be written, (a part of it is no folder|something else stands there)"
    with pytest.raises(ResourceError, match=told_so), hold(tmp_path / name):
        pass
