"""Checkpoints are read without running what they may hold."""

import json

import pytest
import torch
from safetensors.torch import save_file

from dogeared.errors import ModelError
from dogeared.importing.tensors import read_checkpoint

ONE = {"a": torch.tensor([1.0]), "b": torch.tensor([2.0])}


class Runs:
    """Leaves a trace when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "model.pt"])
def test_a_folder_and_its_file_give_the_same(tmp_path, name):
    save_file(ONE, tmp_path / name) if name.endswith("safetensors") else torch.save(ONE, tmp_path / name)
    (tmp_path / "config.json").write_text('{"d_model": 4}')
    for source in (tmp_path, tmp_path / name):
        found = read_checkpoint(source)
        assert {key: value.item() for key, value in found.tensors.items()} == {"a": 1.0, "b": 2.0}
        assert found.config == {"d_model": 4}


def test_safetensors_are_taken_before_pickles(tmp_path, caplog):
    save_file(ONE, tmp_path / "model.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"not read")
    assert set(read_checkpoint(tmp_path).tensors) == {"a", "b"}
    assert caplog.text == ""


def test_parts_are_put_together(tmp_path):
    for name in ONE:
        save_file({name: ONE[name]}, tmp_path / f"{name}.safetensors")
    listed = {"weight_map": {name: f"{name}.safetensors" for name in ONE}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(listed))
    assert set(read_checkpoint(tmp_path).tensors) == {"a", "b"}


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    trace = tmp_path / "trace"
    torch.save({"a": torch.ones(1), "b": Runs(trace)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="only running code"):
        read_checkpoint(tmp_path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("model.safetensors", b"broken", "expected a file of tensors"),
        ("pytorch_model.bin", b"broken", "expected tensors"),
        ("other.txt", b"", "found none"),
    ],
)
def test_what_holds_no_tensors_is_an_error(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=reason):
        read_checkpoint(tmp_path)


def test_values_that_are_no_tensors_are_an_error(tmp_path):
    torch.save({"a": 1}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="found none"):
        read_checkpoint(tmp_path)


def test_nothing_there_is_an_error(tmp_path):
    with pytest.raises(ModelError, match="nothing of this name"):
        read_checkpoint(tmp_path / "none")
