"""Names of models: shipped, in folders, on the hub, and nowhere."""

from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import RepositoryNotFoundError

from dogeared.errors import ModelError
from dogeared.models import forget_last_call, resolve_model


@pytest.fixture
def hub(monkeypatch):
    """A hub that can be told how to answer."""
    answers = {}

    def repo_info(_, name, *, timeout):
        assert timeout > 0
        if isinstance(answers.get(name), Exception):
            raise answers[name]

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", repo_info)
    return answers


def test_shipped_models_are_folders():
    assert resolve_model("demo:reader").endswith("reader")
    with pytest.raises(ModelError, match="demo:encoder, demo:reader"):
        resolve_model("demo:writer")


def test_a_folder_needs_no_dot_before_it(tmp_path, monkeypatch, hub):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    with pytest.raises(ModelError, match=r"config\.json"):
        resolve_model("mine")
    (tmp_path / "mine" / "config.json").write_text("{}")
    assert resolve_model("mine") == "mine"
    with pytest.raises(ModelError, match=r"config\.json"):
        resolve_model("./yours")


def test_a_model_of_the_hub_keeps_its_name(hub):
    assert resolve_model("someone/model") == "someone/model"


def test_a_model_that_the_hub_does_not_have(hub):
    hub["someone/model"] = RepositoryNotFoundError(
        "404",
        response=SimpleNamespace(headers={}, request=None, status_code=404),  # type: ignore[arg-type]
    )
    with pytest.raises(ModelError, match="no such model"):
        resolve_model("someone/model")


def test_without_a_network_a_model_fetched_before_is_taken(hub, tmp_path, monkeypatch, caplog):
    hub["someone/model"] = OSError("no route")
    with pytest.raises(ModelError, match=r"cannot be reached .no route.*never fetched"):
        resolve_model("someone/model")
    config = tmp_path / "config.json"
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: str(config))
    assert resolve_model("someone/model") == str(tmp_path)
    assert "as it was fetched before" in caplog.text


def test_a_tokenizer_is_saved_the_same_whatever_it_was_last_asked(tiny_models, tmp_path):
    """What a training that was interrupted after its last step saves must have the bits of one that was not."""
    from transformers import AutoTokenizer

    saved = []
    for length in (None, 5, 9):
        tokenizer = AutoTokenizer.from_pretrained(tiny_models / "encoder")
        if length is not None:
            tokenizer(["a text"], truncation=True, max_length=length, padding="max_length")
        forget_last_call(tokenizer)
        tokenizer.save_pretrained(tmp_path / str(length))
        saved.append((tmp_path / str(length) / "tokenizer.json").read_bytes())
    assert saved[0] == saved[1] == saved[2]


def test_a_module_without_a_tokenizer_has_nothing_to_forget():
    forget_last_call(None)
