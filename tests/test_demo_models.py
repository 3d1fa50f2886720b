"""The models in the package: small, loadable by plain transformers, and able to spell anyone's name."""

from importlib.resources import files
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, T5ForConditionalGeneration

from dogeared.data.encyclopedia import generate

DEMO = Path(str(files("dogeared"))) / "demo"


def load(name):
    loader = T5ForConditionalGeneration if name == "reader" else AutoModel
    return loader.from_pretrained(DEMO / name, dtype=torch.float32)


def test_both_together_stay_under_twelve_megabytes():
    assert sum(path.stat().st_size for path in DEMO.rglob("*") if path.is_file()) < 12_000_000


@pytest.mark.parametrize("name", ["reader", "encoder"])
def test_a_model_is_small_and_loads_in_single_precision(name):
    model = load(name)
    assert 500_000 < sum(parameter.numel() for parameter in model.parameters()) < 3_000_000
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


@pytest.mark.parametrize("name", ["reader", "encoder"])
def test_tokenizers_spell_every_name_of_the_demo(name):
    tokenizer = AutoTokenizer.from_pretrained(DEMO / name)
    assert tokenizer.is_fast
    for person in generate().people:
        ids = tokenizer(person.name, add_special_tokens=False)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert len(ids) <= 8
        spelled = tokenizer.decode(ids)
        assert spelled == (person.name if name == "reader" else person.name.lower())


def test_the_reader_has_the_special_tokens_of_t5():
    tokenizer, config = AutoTokenizer.from_pretrained(DEMO / "reader"), load("reader").config
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer("a lute")["input_ids"][-1] == 1
    assert (config.pad_token_id, config.eos_token_id, config.decoder_start_token_id) == (0, 1, 0)
    assert config.vocab_size == len(tokenizer)


def test_the_encoder_has_the_special_tokens_of_bert():
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "encoder")
    ids = tokenizer("a lute")["input_ids"]
    assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
    assert load("encoder").config.vocab_size == len(tokenizer)
    assert not (DEMO / "encoder" / "modules.json").exists()
