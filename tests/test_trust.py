"""Nothing that is read can run code or lead out of its folder."""

import ast
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dogeared.errors import ModelError
from dogeared.importing.tensors import read_checkpoint
from dogeared.retrieval.token_projection import TokenProjection, has_token_projection

SOURCE = Path(__file__).parents[1] / "src/dogeared"
OWN = f"{TokenProjection.__module__}.{TokenProjection.__qualname__}"
LIBRARY = "sentence_transformers.models.Pooling"


def _calls() -> list[tuple[str, str, ast.Call]]:
    return [
        (f"{file.name}:{node.lineno}", ast.unparse(node.func), node)
        for file in sorted(SOURCE.rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]


def test_no_call_runs_code_that_was_read() -> None:
    """No eval, exec, compile of texts, no pickle, no shell."""
    forbidden = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "joblib.load"}
    named = [where for where, name, _ in _calls() if name in forbidden or "pickle" in name or "subprocess" in name]
    assert named == []


def test_no_module_imports_pickle() -> None:
    """Nor what is made of it."""
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"pickle", "dill", "joblib", "marshal", "shelve"} & {name.partition(".")[0] for name in names}, (
                file
            )


@pytest.mark.parametrize(
    ("name", "option", "wanted"), [("torch.load", "weights_only", True), ("np.load", "allow_pickle", False)]
)
def test_every_reader_of_arrays_is_told_to_refuse_objects(name: str, option: str, wanted: bool) -> None:
    """By the word itself, not by the library's default."""
    calls = [(where, call) for where, called, call in _calls() if called == name]
    assert calls
    for where, call in calls:
        told = {word.arg: getattr(word.value, "value", None) for word in call.keywords}
        assert told.get(option) is wanted, where


def _folder(tmp_path: Path, modules: object, **files: str) -> str:
    (tmp_path / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    for name, text in files.items():
        (tmp_path / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return str(tmp_path)


def test_our_own_module_is_trusted_among_the_librarys(tmp_path: Path) -> None:
    """That is all that an imported checkpoint needs."""
    assert has_token_projection(_folder(tmp_path, [{"type": LIBRARY}, {"type": OWN}], config__json="{}"))


@pytest.mark.parametrize(
    ("modules", "files"),
    [
        ([{"type": OWN}, {"type": "evil.Module"}], {}),
        ([{"type": OWN}, {"type": f"{OWN}.evil"}], {}),
        ([{"type": OWN}, {"type": 3}], {}),
        ([{"type": OWN}], {"config__json": '{"auto_map": {"AutoModel": "stranger/repo--evil.Model"}}'}),
        ([{"type": OWN}], {"evil__py": "raise SystemExit"}),
        ([{"type": LIBRARY}, {"note": OWN}], {}),
        ({"note": OWN}, {}),
    ],
)
def test_nothing_else_is_trusted(tmp_path: Path, modules: object, files: dict[str, str]) -> None:
    """A stranger's module, code in the folder, code that a configuration names, or our name in another place."""
    assert not has_token_projection(_folder(tmp_path, modules, **files))


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", "..", ""])
def test_an_index_cannot_lead_out_of_its_folder(tmp_path: Path, name: str) -> None:
    """Not even to a file that is there."""
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"a": torch.zeros(1)}, tmp_path / "secret.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}), encoding="utf-8")
    with pytest.raises(ModelError, match="leads elsewhere"):
        read_checkpoint(folder)


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": 3}', '{"other": {}}'])
def test_a_broken_index_is_named(tmp_path: Path, text: str) -> None:
    """With what was expected."""
    (tmp_path / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match="weight_map"):
        read_checkpoint(tmp_path)
