"""A reader made of a plain encoder learns to copy in steps that a fresh decoder does not get by with."""

import math
import re

import pytest
import torch

from dogeared.data.corpus import build_corpus
from dogeared.data.encyclopedia import generate
from dogeared.errors import ConfigError, ModelError, TrainingError
from dogeared.reader.copying import CopyingDecoder, make_copying_reader
from dogeared.reader.fid import FusionInDecoder, ReaderSettings
from dogeared.records import Passage
from dogeared.training.pretrain_reader import ReaderPretraining, pretrain_reader

SETTINGS = ReaderSettings(max_length_tokens=64, max_answer_tokens=8)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return build_corpus(generate(num_people=30).passages, tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def texts(corpus):
    return [passage.text for passage in corpus.passages(range(100))]


def copying_reader(texts, **decoder):
    shape = CopyingDecoder(layers=2, heads=4).model_copy(update=decoder)
    return make_copying_reader("demo:encoder", texts, decoder=shape, settings=SETTINGS)


def test_it_saves_and_loads_as_any_reader_does(texts, tmp_path):
    reader = copying_reader(texts).eval()
    reader.save(tmp_path / "reader")
    loaded = FusionInDecoder.load(SETTINGS.model_copy(update={"model": str(tmp_path / "reader")})).eval()
    passages = [[Passage(id="0", title="a", text=text) for text in texts[:2]]]
    batch = reader.batch(["Who?"], passages, answers=["nobody"])
    with torch.inference_mode():
        torch.testing.assert_close(loaded(batch), reader(batch))
    assert loaded.generate(batch) == reader.generate(batch)


def test_the_values_of_the_last_cross_attention_name_the_word_of_a_state(texts):
    reader = copying_reader(texts)
    tokens = reader.tokenizer(texts[0], return_tensors="pt")
    states = reader.model.get_encoder()(**tokens).last_hidden_state[0, 1:]
    last = reader.model.decoder.model.decoder.layers[-1].encoder_attn
    said = last.out_proj(last.v_proj(states))
    vectors = torch.nn.functional.layer_norm(reader.model.decoder.model.decoder.embed_tokens.weight, (128,))
    centered = vectors - vectors[tokens["input_ids"][0, 1:]].mean(dim=0)
    named = (said @ torch.nn.functional.normalize(centered, dim=1).T).argmax(dim=1)
    assert (named == tokens["input_ids"][0, 1:]).float().mean() > 0.8


def test_training_changes_encoder_and_decoder_and_lowers_the_loss(texts, corpus, tmp_path):
    reader = copying_reader(texts)
    before = {name: parameter.detach().clone() for name, parameter in reader.named_parameters()}
    settings = ReaderPretraining(steps=20, questions_per_step=16, learning_rate=5e-4, warmup_steps=5)
    losses = pretrain_reader(reader, corpus, settings, seed=1, folder=tmp_path).losses
    assert sum(losses[-5:]) < sum(losses[:5]) - 5
    for part in ("model.encoder.encoder.", "model.decoder."):
        changed = [not torch.equal(value, before[name]) for name, value in reader.named_parameters() if part in name]
        assert sum(changed) > 0.9 * len(changed)


def test_it_goes_on_where_it_was_stopped(texts, corpus, tmp_path):
    whole = copying_reader(texts)
    settings = ReaderPretraining(steps=6, questions_per_step=4, save_every_seconds=0)
    pretrain_reader(whole, corpus, settings, seed=1, folder=tmp_path / "whole")
    calls = 0

    def stop_after(original):
        def batch(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls > 3:
                raise KeyboardInterrupt
            return original(*arguments, **options)

        return batch

    begun = copying_reader(texts)
    begun.batch = stop_after(begun.batch)
    with pytest.raises(KeyboardInterrupt):
        pretrain_reader(begun, corpus, settings, seed=1, folder=tmp_path / "begun")
    resumed = copying_reader(texts)
    pretrain_reader(resumed, corpus, settings, seed=1, folder=tmp_path / "begun")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_what_cannot_be_is_said(texts, corpus, tmp_path):
    with pytest.raises(ModelError, match="divides the encoder's dimension 128, got 5"):
        copying_reader(texts, heads=5)
    with pytest.raises(ModelError, match="plain encoder"):
        make_copying_reader("demo:reader", texts)
    short = build_corpus([Passage(id=str(n), title="", text="too short") for n in range(3)], tmp_path / "short")
    with pytest.raises(TrainingError, match="a dozen words"):
        pretrain_reader(copying_reader(texts), short, ReaderPretraining(steps=1), seed=0, folder=tmp_path / "work")


def test_answers_longer_than_the_decoder_has_positions_are_refused(texts, tmp_path):
    longest = SETTINGS.model_copy(update={"max_answer_tokens": 256})
    reader = make_copying_reader("demo:encoder", texts, decoder=CopyingDecoder(heads=4), settings=longest).eval()
    passages = [[Passage(id="0", title="", text="a text")]]
    reader(reader.batch(["Who?"], passages, answers=["word " * 300]))  # so long an answer has its places
    reader.save(tmp_path / "reader")
    too_long = SETTINGS.model_copy(update={"max_answer_tokens": 257})
    with pytest.raises(ConfigError, match=r"reader\.max_answer_tokens: expected at most 256, .* got 257"):
        make_copying_reader("demo:encoder", texts, decoder=CopyingDecoder(heads=4), settings=too_long)
    with pytest.raises(ConfigError, match=r"expected at most 256, .* got 257"):
        FusionInDecoder.load(too_long.model_copy(update={"model": str(tmp_path / "reader")}))


def test_a_bad_loss_names_the_passages_of_its_gaps(texts, corpus, tmp_path):
    reader = copying_reader(texts)
    with torch.no_grad():
        next(reader.parameters()).fill_(math.nan)
    settings = ReaderPretraining(steps=1, questions_per_step=3, precision="fp32")
    with pytest.raises(TrainingError, match="pretrain reader: the loss of step 1") as raised:
        pretrain_reader(reader, corpus, settings, seed=1, folder=tmp_path)
    named = re.findall(r"'a gap in passage (.*?)'", str(raised.value))
    assert len(named) == 3
    assert all(name in corpus for name in named)


def test_one_passage_is_no_choice(texts, corpus, tmp_path):
    alone = build_corpus(corpus.passages([0]), tmp_path / "alone")
    with pytest.raises(TrainingError, match="learns to choose between passages: expected 2 or more, got 1"):
        pretrain_reader(copying_reader(texts), alone, ReaderPretraining(steps=1), seed=1, folder=tmp_path / "work")
