"""Look over a run's directory: is everything in it whole, does it fit together, and what is to be done where not.

Every file of every artifact is compared with its manifest, and what each artifact was made from with what is there.
Nothing is changed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dogeared.artifacts import MANIFEST, Manifest, is_discarded, read_manifest, verify
from dogeared.errors import ArtifactError
from dogeared.locks import holder
from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.results import read_experiment, read_results

__all__ = ["Finding", "examine"]

_ALONE = ("data", "words")
"""What a run has one of, called in a manifest what its folder is called."""
_LEFT_BEHIND = {
    ".partial": "half of an artifact, left by a step that was interrupted; run again, and it is made anew",
    ".stale": "an artifact that another took the place of; run again, and it is removed",
    ".work": "a step that was interrupted; run again, and it goes on from here",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something worth saying.

    Attributes:
        path: Where.
        message: What is so, and what to do.
        is_wrong: Whether something is broken; else it is good to know.
    """

    path: Path
    message: str
    is_wrong: bool


def examine(folder: Path) -> list[Finding]:
    """Look at everything in a run's directory; what is broken comes first.

    Raises:
        ArtifactError: There is no such directory, or no artifact in it.
    """
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: expected the directory of a run, there is none")
    if not RunFolder(folder).data.exists() and (inner := _runs_below(folder)):
        raise ArtifactError(f"{folder}: expected the directory of a run, found one that holds runs, such as {inner[0]}")
    artifacts = sorted(file.parent for file in folder.rglob(MANIFEST) if file.parent != folder)
    artifacts = [path for path in artifacts if not _is_left_behind(path.relative_to(folder))]
    if not artifacts and not any(folder.glob("*.partial")):
        raise ArtifactError(f"{folder}: expected the directory of a run, found no artifact in it")
    findings = [*_of_artifacts(folder, artifacts), *_of_results(RunFolder(folder)), *_left_behind(folder)]
    if (process := holder(folder)) is not None:
        message = f"process {process} is working in this directory; what is unfinished is its work"
        findings.append(Finding(path=folder, message=message, is_wrong=False))
    return sorted(findings, key=lambda one: not one.is_wrong)


def _runs_below(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"*/{RunFolder(folder).results.name}"))


def _is_left_behind(path: Path) -> bool:
    return any(Path(part).suffix in _LEFT_BEHIND for part in path.parts)


def _of_artifacts(folder: Path, artifacts: list[Path]) -> Iterator[Finding]:
    manifests: dict[Path, Manifest] = {}
    for path in artifacts:
        try:
            manifests[path] = read_manifest(path)
            if _was_removed(path, manifests[path]):
                message = "its content was removed to save space, as rounds.keep says; its measures stand"
                yield Finding(path=path, message=message, is_wrong=False)
            else:
                verify(path)
        except ArtifactError as error:
            yield Finding(path=path, message=str(error), is_wrong=True)
    known = {manifest.fingerprint for manifest in manifests.values()}
    present = {path.name for path in manifests if path.parent == folder}
    missing: dict[str, list[Path]] = {}
    for path, manifest in manifests.items():
        if manifest.kind == "prepare_data":  # made from the user's files, not from artifacts
            continue
        for role, fingerprint in manifest.inputs.items():
            if fingerprint in known:
                continue
            if role in _ALONE and role not in present:
                missing.setdefault(role, []).append(path)
            else:
                message = (
                    f"made from other {role} than stands in this directory; delete {path} and run again, and it is "
                    "made from what is there"
                )
                yield Finding(path=path, message=message, is_wrong=True)
    for role, made in missing.items():
        message = (
            f"is missing, and {len(made)} artifacts were made from it; run again from the same files, and it is there"
        )
        yield Finding(path=folder / role, message=message, is_wrong=True)


def _was_removed(path: Path, manifest: Manifest) -> bool:
    return is_discarded(path) and not any((path / name).exists() for name in manifest.files)


def _of_results(run: RunFolder) -> Iterator[Finding]:
    if not run.results.is_file():
        message = "no round is finished yet; run again, and the run goes on"
        yield Finding(path=run.results, message=message, is_wrong=False)
        return
    for file, read in ((run.results, read_results), (run.experiment, read_experiment)):
        try:
            read(run)
        except ArtifactError as error:
            yield Finding(path=file, message=str(error).removeprefix(f"{file}: "), is_wrong=True)


def _left_behind(folder: Path) -> Iterator[Finding]:
    for suffix, message in _LEFT_BEHIND.items():
        for path in sorted(folder.rglob(f"*{suffix}")):
            yield Finding(path=path, message=message, is_wrong=False)
