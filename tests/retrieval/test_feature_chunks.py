"""A student's inputs: those of the model's own preprocessing, whichever way they were asked for."""

import gc
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn
from transformers import PreTrainedTokenizerFast

from dogeared import token_memory
from dogeared.retrieval import feature_chunks as module
from dogeared.retrieval import plain_inputs as plain_inputs_module
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.retrieval.feature_chunks import feature_chunks
from dogeared.retrieval.plain_inputs import plain_inputs
from dogeared.token_memory import text_key

TEXTS = ["a house in the north .", "when ?", "", "she was born in the sea , " * 4]


def model_of(kind: str, tiny_models, tiny_language_model):
    settings = {
        "shared": {"model": str(tiny_models / "encoder")},
        "separate": {"model": str(tiny_models / "encoder"), "encoders": "separate"},
        "sparse": {"model": str(tiny_language_model), "vectors": "sparse"},
        "multi": {"model": str(tiny_models / "encoder"), "vectors": "multi"},
    }[kind]
    return DualEncoder.load(RetrieverSettings(**settings, max_length_tokens=16)).model


@pytest.mark.parametrize("kind", ["shared", "separate", "sparse", "multi"])
@pytest.mark.parametrize("task", ["query", "document"])
def test_inputs_are_those_that_the_model_makes_itself(kind, task, tiny_models, tiny_language_model):
    model = model_of(kind, tiny_models, tiny_language_model)
    told = {"task": task} if kind in ("separate", "multi") else {}
    expected = model.preprocess(TEXTS, prompt=model.prompts.get(task) or None, **told)
    [chunk] = feature_chunks(model, TEXTS, task=task, max_chunk_tokens=10_000)
    assert set(chunk.features) == set(expected) | ({"task"} if kind == "multi" else set())
    for name, value in expected.items():
        got = chunk.features[name]
        if not isinstance(value, torch.Tensor):
            assert got == value
        elif value.ndim == 2:
            assert got.dtype == value.dtype
            assert got[:, : value.shape[1]][chunk.rows.argsort()].tolist() == value.tolist()


def asked_of(model, monkeypatch):
    asked, preprocess = [], model.preprocess
    monkeypatch.setattr(model, "preprocess", lambda texts, **told: asked.append(texts) or preprocess(texts, **told))
    return asked


def made_by_the_model(model, texts, **how):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "plain_inputs", lambda *_: None)
        return feature_chunks(model, texts, **how)


def assert_same(found, expected):
    assert len(found) == len(expected)
    for got, chunk in zip(found, expected, strict=True):
        assert got.rows.tolist() == chunk.rows.tolist()
        assert got.features.keys() == chunk.features.keys()
        for name, value in chunk.features.items():
            if isinstance(value, torch.Tensor):
                assert got.features[name].dtype == value.dtype
                assert got.features[name].tolist() == value.tolist()
            else:
                assert got.features[name] == value


@pytest.mark.parametrize("kind", ["shared", "separate", "sparse", "multi"])
@pytest.mark.parametrize("task", ["query", "document"])
@pytest.mark.parametrize("max_chunk_tokens", [20, 10_000])
@pytest.mark.parametrize("remembers", [False, True])
def test_inputs_made_of_tokens_are_those_that_the_model_makes(
    kind, task, max_chunk_tokens, remembers, tiny_models, tiny_language_model, monkeypatch
):
    monkeypatch.setattr(plain_inputs_module, "_NUM_CHECKED", 3)
    model = model_of(kind, tiny_models, tiny_language_model)
    how = {"task": task, "max_chunk_tokens": max_chunk_tokens}
    for texts in ([TEXTS[0]], TEXTS, TEXTS[::-1], [TEXTS[2]], [*TEXTS, *TEXTS]):
        expected = made_by_the_model(model, texts, **how)
        assert_same(feature_chunks(model, texts, **how, remembers=remembers), expected)
    asked = asked_of(model, monkeypatch)
    feature_chunks(model, ["the old sea", *TEXTS], **how, remembers=remembers)
    # Token vectors' inputs are no plain tokens, and made by the model each time.
    assert asked == ([["the old sea", *TEXTS]] if kind == "multi" else [])


def test_texts_that_are_remembered_become_tokens_once(tiny_models, monkeypatch):
    model = model_of("shared", tiny_models, None)
    made, real = [], plain_inputs_module.PlainInputs._tokens
    monkeypatch.setattr(
        plain_inputs_module.PlainInputs, "_tokens", lambda self, texts: made.extend(texts) or real(self, texts)
    )
    monkeypatch.setattr(plain_inputs_module, "_NUM_CHECKED", 1)
    how = {"task": "query", "max_chunk_tokens": 100, "remembers": True}
    feature_chunks(model, TEXTS[:2], **how)
    made.clear()
    feature_chunks(model, [*TEXTS[:3], TEXTS[2]], **how)
    feature_chunks(model, TEXTS[:2], **how)
    assert made == [TEXTS[2]]


def test_a_prompt_a_length_and_a_task_have_tokens_of_their_own(tiny_models):
    model = model_of("shared", tiny_models, None)
    lengths = []
    for task, prompt, most in (
        ("query", "", 16),
        ("query", "she was born : ", 16),
        ("query", "", 12),
        ("document", "the sea ", 16),
        ("query", "", 16),
        ("query", "", 10**30),  # as a tokenizer without a limit says
    ):
        model.prompts[task], model.max_seq_length = prompt, most
        how = {"task": task, "max_chunk_tokens": 100}
        found = feature_chunks(model, [TEXTS[0]], **how, remembers=True)
        assert_same(found, made_by_the_model(model, [TEXTS[0]], **how))
        lengths.append(int(found[0].features["attention_mask"].sum()))
    assert lengths[0] == lengths[4] == lengths[5] != lengths[1]


@pytest.mark.parametrize("fault", ["hole", "type", "padding", "token", "length", "of all", "new"])
def test_inputs_that_do_not_follow_from_tokens_are_made_by_the_model(fault, tiny_models, monkeypatch):
    model = model_of("shared", tiny_models, None)
    how = {"task": "query", "max_chunk_tokens": 100}
    feature_chunks(model, TEXTS[3:], **how, remembers=True)
    preprocess = model.preprocess

    def other(texts, **told):
        inputs = preprocess(texts, **told)
        if fault == "hole":
            inputs["attention_mask"][0][1] = 0
        elif fault == "type":
            inputs["token_type_ids"] = [[place % 2 for place in range(len(row))] for row in inputs["input_ids"]]
        elif fault == "padding":
            inputs["input_ids"][1][-1] = 3
        elif fault == "token":
            inputs["input_ids"][0][1] = 3
        elif fault == "length":
            inputs = {
                name: [row[:-1] for row in value] if isinstance(value, list) else value
                for name, value in inputs.items()
            }
        elif fault == "of all":
            inputs["modality"] = "image"
        else:
            inputs["another"] = 1
        return inputs

    monkeypatch.setattr(model, "preprocess", other)
    expected = made_by_the_model(model, TEXTS[:2], **how)
    asked = asked_of(model, monkeypatch)
    for _ in range(2):
        assert_same(feature_chunks(model, TEXTS[:2], **how, remembers=True), expected)
    assert asked == [TEXTS[:2]] * 3, "once to look at them, and then each time for all"


def metaspace_tokenizer() -> Tokenizer:
    """Unigrams that know where words begin, with spaces as they stand: as in T5 and XLM-R."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=["<s>", "</s>", "<unk>", "<pad>"], unk_token="<unk>"
    )
    tokenizer.train_from_iterator([text for text in TEXTS if text], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return tokenizer


def bytes_tokenizer() -> Tokenizer:
    """Pairs of bytes: as in RoBERTa."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>", "<unk>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([text for text in TEXTS if text], trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0), add_prefix_space=False)
    return tokenizer


TOKENIZERS = {
    name: PreTrainedTokenizerFast(tokenizer_object=make(), pad_token="<pad>", unk_token="<unk>", eos_token="</s>")
    for name, make in (("metaspace", metaspace_tokenizer), ("bytes", bytes_tokenizer))
}


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(sorted(TOKENIZERS)),
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), min_size=1, max_size=5),
    prompt=st.sampled_from(["", "query: "]),
    most=st.sampled_from([None, 7, 30]),
    side=st.sampled_from(["left", "right"]),
)
def test_every_text_has_the_tokens_that_a_tokenizer_gives_it(kind, texts, prompt, most, side):
    tokenizer = TOKENIZERS[kind]
    tokenizer.truncation_side = side

    def preprocess(some):
        given = [prompt + text for text in some]
        return dict(tokenizer(given, padding=True, truncation=most is not None, max_length=most))

    stand_in = nn.Module()
    stand_in.tokenizer, stand_in.max_seq_length = tokenizer, most
    plain = plain_inputs(stand_in, "query", prompt)
    plain.rows(["one", "two"], preprocess, remembers=False)
    assert plain.fits
    plain._num_checks = 0  # so that what follows was never looked at
    rows = plain.rows(texts, preprocess, remembers=False)
    expected = preprocess(texts)
    features = plain.features(rows, len(expected["input_ids"][0]))
    assert features.keys() == expected.keys()
    for name, value in expected.items():
        assert features[name].tolist() == value


def test_the_oldest_texts_are_forgotten_but_not_while_they_are_used(tiny_models, monkeypatch):
    monkeypatch.setattr(token_memory, "_MOST_TOKENS", 20)
    model = model_of("shared", tiny_models, None)
    size = {"task": "query", "max_chunk_tokens": 100, "remembers": True}
    [chunk] = feature_chunks(model, TEXTS, **size)
    assert int(chunk.features["attention_mask"].sum()) > 20
    known = plain_inputs(model, "query", model.prompts.get("query") or None)
    assert 0 < known.memory.num_tokens <= 20
    feature_chunks(model, TEXTS[1:2], **size)
    feature_chunks(model, [TEXTS[2], "the sea"], **size)
    assert text_key(TEXTS[2]) in known.memory


def test_what_is_remembered_goes_with_its_model(tiny_models):
    model = model_of("shared", tiny_models, None)
    feature_chunks(model, TEXTS, task="query", max_chunk_tokens=100, remembers=True)
    known = weakref.ref(plain_inputs(model, "query", model.prompts.get("query") or None))
    assert known() is not None
    del model
    gc.collect()
    assert known() is None
