"""A directory that is either complete or absent.

An artifact is what a step leaves behind. It is written under a temporary name beside its place, synced, given a
manifest, and renamed: a reader of the final name sees all of it or nothing, whatever moment the power failed. The
manifest holds the settings and the fingerprints of the inputs it was made from, so that a later run can tell "done"
from "done, but for other settings" and name what differs.

This module does not know what is inside an artifact, nor any step of any pipeline.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dogeared.errors import ArtifactError, DataError, ResourceError
from dogeared.storage import fsync_folder, fsync_tree, told, write_atomically

__all__ = [
    "MANIFEST",
    "Manifest",
    "check_sizes",
    "check_unaltered",
    "claim",
    "differences",
    "discard_content",
    "file_fingerprint",
    "fingerprint",
    "is_discarded",
    "is_finished",
    "read_manifest",
    "verify",
    "write_artifact",
]

MANIFEST = "manifest.json"
_PARTIAL = ".partial"
_STALE = ".stale"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an artifact is and what it was made from.

    Attributes:
        kind: The name of the step that made it.
        settings: All settings that bear on the content, as plain JSON.
        inputs: Fingerprints of the artifacts and files it was made from, by role.
        facts: Anything else worth keeping: counts, seconds, measures. Not part of the fingerprint.
        files: SHA-256 of each file, by its path inside the artifact.
        sizes: The bytes of each file.
    """

    kind: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    facts: dict[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Equal for artifacts made in the same way from the same inputs."""
        return fingerprint({"kind": self.kind, "settings": self.settings, "inputs": self.inputs})


def fingerprint(value: Any) -> str:
    """Return 16 hexadecimal digits that stand for a JSON value; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def write_artifact(
    path: Path, *, kind: str, settings: Mapping[str, Any], inputs: Mapping[str, str]
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Give a folder to fill, and publish it under ``path`` when the block ends without an error.

    Args:
        path: Where the artifact shall stand. An artifact that stands there is replaced.
        kind: The name of the step.
        settings: What bears on the content, as plain JSON.
        inputs: Fingerprints of what it is made from, by role.

    Yields:
        The folder to write into, and a dictionary for facts that end up in the manifest.

    Raises:
        ArtifactError: Something that is no artifact stands at ``path``; it is left alone.
        ResourceError: The disk is full or cannot be written. What was half written is gone.
    """
    _check_replaceable(path)
    partial = path.with_name(path.name + _PARTIAL)
    facts: dict[str, Any] = {}
    try:
        with told(path):
            if partial.exists():
                shutil.rmtree(partial)
            partial.mkdir(parents=True)
            yield partial, facts
            files = {str(file.relative_to(partial)): file for file in _files(partial)}
            manifest = Manifest(
                kind=kind,
                settings=settings,
                inputs=inputs,
                facts=facts,
                files={name: _sha256(file) for name, file in files.items()},
                sizes={name: file.stat().st_size for name, file in files.items()},
            )
            _write_manifest(partial, manifest)
            fsync_tree(partial)
    except ResourceError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    stale = path.with_name(path.name + _STALE)
    if path.exists():
        # A directory cannot be replaced in one step; between the two renames the artifact is absent, never mixed.
        shutil.rmtree(stale, ignore_errors=True)
        path.rename(stale)
    partial.rename(path)
    fsync_folder(path.parent)
    shutil.rmtree(stale, ignore_errors=True)  # also one that a killed run left behind


def claim(folder: Path, *, kind: str, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> None:
    """Make a folder for unfinished work, or go on in it; its manifest tells which artifact the work is for.

    Raises:
        ArtifactError: There is work in it for another artifact, or one with other settings; the message names them.
    """
    if not (_files(folder) and is_finished(folder, kind=kind, settings=settings, inputs=inputs)):
        with told(folder):
            folder.mkdir(parents=True, exist_ok=True)
        _write_manifest(folder, Manifest(kind=kind, settings=settings, inputs=inputs))


def discard_content(path: Path) -> None:
    """Delete all that an artifact holds but its manifest: the step stays done, the disk is free again."""
    for file in _files(path):
        file.unlink()
    for folder in sorted((inner for inner in path.rglob("*") if inner.is_dir()), reverse=True):
        folder.rmdir()


def is_discarded(path: Path) -> bool:
    """Tell whether ``discard_content`` was here: there is a manifest, and not all that it lists."""
    return any(not (path / name).is_file() for name in read_manifest(path).files)


def file_fingerprint(file: Path) -> str:
    """Return 16 hexadecimal digits that stand for a file's content; its name does not matter.

    Raises:
        DataError: There is no such file, or it cannot be read.
    """
    try:
        return _sha256(file)[:16]
    except OSError as error:
        raise DataError(f"expected a file that can be read: {error.strerror}", file=file) from error


def read_manifest(path: Path) -> Manifest:
    """Read what an artifact says of itself.

    Raises:
        ArtifactError: Nothing finished stands at ``path``, or its manifest cannot be read.
    """
    file = path / MANIFEST
    if not file.is_file():
        raise ArtifactError(
            f"{path}: expected a finished artifact, found {'no manifest' if path.exists() else 'nothing'}"
        )
    try:
        manifest = Manifest(**json.loads(file.read_text(encoding="utf-8")))
        _check_types(manifest)
        return manifest
    except (ValueError, TypeError, RecursionError) as error:
        raise ArtifactError(
            f"{file}: the manifest cannot be read ({error}); delete {path} to have it made again"
        ) from error


def is_finished(path: Path, *, kind: str, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> bool:
    """Tell whether this very artifact stands at ``path`` already.

    Raises:
        ArtifactError: An artifact stands there, but made with other settings or inputs; the message names them.
    """
    if not (path / MANIFEST).is_file():
        return False
    found = read_manifest(path)
    wanted = Manifest(kind=kind, settings=settings, inputs=inputs)
    if found.fingerprint == wanted.fingerprint:
        return True
    named = differences({"kind": found.kind}, {"kind": kind})
    named += differences(found.settings, wanted.settings) + differences(found.inputs, wanted.inputs, prefix="input ")
    raise ArtifactError(
        f"{path} was made with other settings: {'; '.join(named)}. "
        "Mixing them would make the results belong to neither. Go back to the old settings, choose another run "
        f"directory, or delete {path} and all that was made after it."
    )


def verify(path: Path) -> None:
    """Compare every file of an artifact with its manifest: that it is there, its size, and its content.

    A file that this process has found sound is not read again as long as it has not changed.

    Raises:
        ArtifactError: A file is missing, or was altered or cut after the artifact was finished; the message names it.
    """
    for name, digest in read_manifest(path).files.items():
        file = path / name
        state = _state(file, path)
        if _found_sound.get(file.absolute()) != (digest, *state):
            if _sha256(file) != digest:
                raise _altered(file, path)
            _found_sound[file.absolute()] = digest, *state


def check_sizes(path: Path) -> None:
    """Compare every file of an artifact with its manifest by size, which takes no longer for a large one.

    Raises:
        ArtifactError: A file is missing, or has another size than when the artifact was finished.
    """
    for name, size in read_manifest(path).sizes.items():
        if _state(path / name, path)[0] != size:
            raise _altered(path / name, path)


def check_unaltered(path: Path) -> None:
    """Make sure that nothing of anybody's own would be lost if an artifact that stands at a path were replaced.

    Raises:
        ArtifactError: A file was put into it, or altered, since it was made.
    """
    if not (path / MANIFEST).is_file():
        return
    listed = read_manifest(path).files
    found = {str(file.relative_to(path)): file for file in _files(path)}
    own = [name for name, file in found.items() if name not in listed or _sha256(file) != listed[name]]
    if own:
        raise ArtifactError(
            f"{path}: expected what was made before, to replace it, found {', '.join(sorted(own))} put in or altered "
            "since, which would be lost; move it away, or choose another folder"
        )


def differences(old: Mapping[str, Any], new: Mapping[str, Any], *, prefix: str = "") -> list[str]:
    """List the keys in which two nested settings differ, as ``key: old -> new``.

    >>> differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}})
    ['b.c: 2 -> 3']
    """
    named = []
    for key in sorted(old.keys() | new.keys()):
        if isinstance(old.get(key), Mapping) and isinstance(new.get(key), Mapping):
            named += differences(old[key], new[key], prefix=f"{prefix}{key}.")
            continue
        # Compared as written, as fingerprints are: a tuple is a list, and a key that is null is not absent.
        before, after = (
            json.dumps(side[key], sort_keys=True, ensure_ascii=False) if key in side else "absent"
            for side in (old, new)
        )
        if before != after:
            named.append(f"{prefix}{key}: {before} -> {after}")
    return named


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    write_atomically(folder / MANIFEST, json.dumps(manifest.__dict__, indent=1, ensure_ascii=False))


def _check_types(manifest: Manifest) -> None:
    mappings = (manifest.settings, manifest.inputs, manifest.facts, manifest.files, manifest.sizes)
    if not isinstance(manifest.kind, str) or not all(isinstance(values, dict) for values in mappings):
        raise TypeError("expected a text as kind, and objects as all else")
    for values, wanted in ((manifest.inputs, str), (manifest.files, str), (manifest.sizes, int)):
        if not all(isinstance(value, wanted) for value in values.values()):
            raise TypeError("expected texts in inputs and files, and numbers in sizes")
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in (*manifest.files, *manifest.sizes)):
        raise ValueError("expected names of files inside the artifact, found one that leads elsewhere")
    json.dumps(manifest.__dict__, ensure_ascii=False).encode()  # half a character could not be fingerprinted


_found_sound: dict[Path, tuple[str, int, int]] = {}


def _state(file: Path, path: Path) -> tuple[int, int]:
    """Return the size of a file and when it was last written."""
    if not file.is_file():
        raise ArtifactError(f"{file}: missing, though the manifest beside it lists it; delete {path} to remake it")
    found = file.stat()
    return found.st_size, found.st_mtime_ns


def _altered(file: Path, path: Path) -> ArtifactError:
    return ArtifactError(f"{file}: altered or cut since it was finished; delete {path} to have it made again")


def _check_replaceable(path: Path) -> None:
    if (path / MANIFEST).is_file() or not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    raise ArtifactError(
        f"{path}: expected an artifact to replace, an empty folder or nothing, found something else; an artifact takes "
        "the place of all that stands there. Choose another path, or move it away"
    )


def _files(folder: Path) -> list[Path]:
    # Without the folder's own manifest, which cannot list itself; one deeper inside is a file like any other.
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
