"""Every reader ends well on inputs that once broke it, on sound files, and on some drawn anew; see ``make fuzz``."""

from pathlib import Path

import pytest

from fuzz.readers import READERS, ends_well
from fuzz.run import FOUND, draw

# These want torch, or a parser that is slow.
FEW = ("safetensors", "torch-checkpoint", "model-config", "settings", "pdf", "parquet-questions", "parquet-passages")


@pytest.mark.parametrize("name", sorted(READERS))
def test_a_sound_file_is_taken(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    assert ends_well(reader, reader.seeds[0], tmp_path)


@pytest.mark.parametrize("name", sorted(READERS))
def test_drawn_inputs_end_well(name: str) -> None:
    draw(name, 5 if name in FEW else 20)


@pytest.mark.parametrize("file", sorted(FOUND.glob("*/*")), ids=lambda file: f"{file.parent.name}/{file.name}")
def test_what_once_broke_a_reader_ends_well(file: Path, tmp_path: Path) -> None:
    ends_well(READERS[file.parent.name], file.read_bytes(), tmp_path)
