"""Where the numbers of the reference implementation lie."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def reference_folder() -> Path:
    folder = Path(os.environ.get("DOGEARED_REFERENCE", REPOSITORY.parent / "shared" / "reference"))
    if not folder.is_dir():
        pytest.skip(
            f"the reference implementation's numbers are not at {folder}; name their folder in DOGEARED_REFERENCE"
        )
    return folder
