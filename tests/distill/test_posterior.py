"""The extractive reader as a teacher: the same as its spans added up one by one."""

import math

import pytest
import torch

from dogeared.distill.choosing import TeacherSettings, choose_teacher, own_judgement
from dogeared.distill.posterior import PassagePosterior
from dogeared.distill.relevance import PAPER
from dogeared.errors import ConfigError
from dogeared.pipeline.config import load_experiment
from dogeared.reader.extractive import ExtractiveReader
from dogeared.reader.fid import ReaderSettings
from tiny_readers import save_tiny, tiny_reader, tiny_readings


@pytest.fixture
def reader(tmp_path):
    torch.manual_seed(0)
    settings = {"model": str(save_tiny("bert", tmp_path / "bert")), "max_length_tokens": 64, "max_answer_tokens": 3}
    return ExtractiveReader.load(ReaderSettings(kind="extractive", **settings)).eval()


def test_relevance_is_the_share_of_each_passage(reader, tmp_path):
    readings = tiny_readings(tmp_path / "readings")
    found = list(PassagePosterior(reader, precision="fp32").relevance(readings))
    assert [item.question_id for item in found] == [question.id for question in readings.questions]
    for index, item in enumerate(found):
        assert item.passage_ids == readings.passage_ids(index)
        sums = []
        for one in readings.passages(index):
            text = f"{one.title}: {one.text}"
            pair = reader.tokenizer(
                [readings.questions[index].text],
                [text],
                return_tensors="pt",
                return_offsets_mapping=True,
                return_token_type_ids=True,
            )
            offsets = pair.pop("offset_mapping")[0].tolist()
            with torch.no_grad():
                said = reader.model(**pair)
            read = [
                place
                for place, (which, (begin, _)) in enumerate(zip(pair.sequence_ids(0), offsets, strict=True))
                if which == 1 and begin >= len(one.title) + 2
            ]
            sums.append(
                sum(
                    math.exp(said.start_logits[0, i] + said.end_logits[0, j])
                    for i in read
                    for j in read
                    if i <= j < i + 3
                )
            )
        assert list(item.relevance) == pytest.approx([math.log(one / sum(sums)) for one in sums], abs=1e-4)


def test_it_is_chosen_for_readers_that_mark_spans_alone(reader, tmp_path):
    settings = TeacherSettings(kind="passage_posterior")
    teacher = choose_teacher(settings, reader=reader, aggregation=PAPER, precision="fp32")
    assert isinstance(teacher, PassagePosterior)
    assert teacher.reader is reader
    assert teacher.precision == "fp32"
    assert PassagePosterior(reader).precision == "auto"
    assert own_judgement(reader.settings) == settings
    writes = tiny_reader("t5", tmp_path)
    assert own_judgement(writes.settings).kind == "cross_attention"
    with pytest.raises(
        ConfigError, match="adds up the likelihood of spans, which a reader that writes answers has not"
    ):
        choose_teacher(settings, reader=writes, aggregation=PAPER)
    for kind in ("cross_attention", "likelihood", "leave_one_out"):
        with pytest.raises(ConfigError, match=f'"{kind}" looks at a decoder, .*set teacher.kind = "passage_posterior"'):
            choose_teacher(TeacherSettings(kind=kind), reader=reader, aggregation=PAPER)


def test_settings_are_checked_before_any_work():
    with pytest.raises(ConfigError, match='"cross_attention" looks at a decoder'):
        load_experiment(overrides=["reader.kind=extractive"])
    with pytest.raises(ConfigError, match='"passage_posterior" adds up'):
        load_experiment(overrides=["teacher.kind=passage_posterior"])
    load_experiment(overrides=["reader.kind=extractive", "teacher.kind=passage_posterior"])
    load_experiment(overrides=["reader.kind=extractive", "teacher.kind=gold"])
