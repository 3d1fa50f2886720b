"""A cross-encoder's number is the logit of its model, pair by pair."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from dogeared.distill.cross_encoder import CrossEncoderTeacher
from dogeared.errors import ModelError
from tiny_readers import save_cross_encoder, tiny_readings, tiny_tokenizer


def test_it_equals_the_librarys_model_pair_by_pair(tmp_path):
    name = save_cross_encoder(tmp_path / "model")
    readings = tiny_readings(tmp_path)
    found = list(CrossEncoderTeacher(name, precision="fp32").relevance(readings))
    assert [item.question_id for item in found] == [question.id for question in readings.questions]
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(name).eval(), tiny_tokenizer("bert")
    seen = set()
    for index, item in enumerate(found):
        assert item.passage_ids == readings.passage_ids(index)
        assert len(item.relevance) == [0, 1, 2, 3, 4, 4, 0][index]
        for passage, value in zip(readings.passages(index), item.relevance, strict=True):
            pair = tokenizer(readings.questions[index].text, f"{passage.title} {passage.text}", return_tensors="pt")
            with torch.no_grad():
                assert value == pytest.approx(model(**pair).logits.item(), abs=1e-5)
            seen.add(round(value, 3))
    assert len(seen) > 5


def test_a_classifier_of_several_classes_is_refused(tmp_path):
    name = save_cross_encoder(tmp_path / "model", num_labels=3)
    with pytest.raises(ModelError, match="expected a cross-encoder with one number a pair"):
        CrossEncoderTeacher(name)


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        ModelError, match=r"teacher\.model: expected a cross-encoder that sentence-transformers can load"
    ):
        CrossEncoderTeacher(str(tmp_path))
