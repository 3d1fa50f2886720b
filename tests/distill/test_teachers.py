"""The teacher is the reader's cross-attention at the first step of its decoder, and nothing else."""

import math
from pathlib import Path

import pytest
import torch

from dogeared.distill import teachers
from dogeared.distill.check import normalized_entropy
from dogeared.distill.relevance import passage_relevance
from dogeared.distill.teachers import CrossAttention, Teacher, fused_relevance
from dogeared.reader.cross_attention import record_cross_attention
from dogeared.reader.fid import FusionInDecoder
from tiny_readers import KINDS, PASSAGES, QUESTIONS, passage, tiny_reader, tiny_readings

FOUND = [PASSAGES[:3], PASSAGES[3:4], []]
CLOSE = {"rtol": 0.0, "atol": 1e-6}


@pytest.fixture(scope="module", params=KINDS)
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FusionInDecoder:
    return tiny_reader(request.param, tmp_path_factory.mktemp("reader"))


def teacher_of(reader: FusionInDecoder) -> CrossAttention:
    return CrossAttention(reader, precision="fp32")


def test_it_equals_the_scores_of_the_first_step_of_generation(reader: FusionInDecoder):
    batch = reader.batch(QUESTIONS, FOUND)
    with torch.inference_mode():
        fused = reader.fuse(batch)
        steps = []
        with record_cross_attention(reader.model) as record:
            hook = reader.model.get_decoder().register_forward_hook(lambda *_: steps.append(record.scores().clone()))
            reader.generate_ids(fused)
            hook.remove()
    assert len(steps) > 1
    expected = passage_relevance(steps[0], fused.passage_of_token, num_passages=3)
    later = passage_relevance(steps[1], fused.passage_of_token, num_passages=3)
    torch.testing.assert_close(teacher_of(reader).of_batch(batch), expected, **CLOSE)
    assert (later - expected)[0].abs().max() > 1e-5


def test_it_needs_no_answers_and_does_not_look_at_them(reader: FusionInDecoder):
    without = teacher_of(reader).of_batch(reader.batch(QUESTIONS, FOUND))
    for answers in (["Anna", "Rome", "the river"], ["tower", "Cora", "Oslo"]):
        assert torch.equal(teacher_of(reader).of_batch(reader.batch(QUESTIONS, FOUND, answers=answers)), without)


def test_absent_passages_have_minus_infinity(reader: FusionInDecoder):
    relevance = teacher_of(reader).of_batch(reader.batch(QUESTIONS, FOUND))
    assert torch.isfinite(relevance).tolist() == [[True] * 3, [True, False, False], [False] * 3]
    assert relevance[2].tolist() == [-math.inf] * 3


def test_its_softmax_is_neither_flat_nor_on_one_passage(reader: FusionInDecoder):
    relevance = teacher_of(reader).of_batch(reader.batch(QUESTIONS[:1], [PASSAGES]))
    entropy = normalized_entropy(relevance[0].tolist())
    assert 0.0 < entropy < 1.0
    assert relevance[0].std() > 1e-4


def test_another_passage_in_its_place_has_another_relevance(reader: FusionInDecoder):
    before = teacher_of(reader).of_batch(reader.batch(QUESTIONS[:1], [PASSAGES[:3]]))
    changed = [*PASSAGES[:2], passage(9, "a new blue song in Ghent")]
    after = teacher_of(reader).of_batch(reader.batch(QUESTIONS[:1], [changed]))
    assert (after - before)[0, 2].abs() > 1e-4


@pytest.mark.parametrize("size", [1, 2, 100])
def test_questions_come_in_order_with_their_own_passages(
    reader: FusionInDecoder, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(teachers, "questions_per_batch", lambda settings: size)
    readings = tiny_readings(tmp_path)
    teacher: Teacher = teacher_of(reader)
    judged = list(teacher.relevance(readings))
    assert [item.question_id for item in judged] == [question.id for question in readings.questions]
    for index, item in enumerate(judged):
        assert item.passage_ids == readings.passage_ids(index)
        assert len(item.relevance) == len(item.passage_ids) == [0, 1, 2, 3, 4, 4, 0][index]
        if item.passage_ids:
            own = reader.batch([readings.questions[index].text], [readings.passages(index)])
            assert list(item.relevance) == pytest.approx(teacher_of(reader).of_batch(own)[0].tolist(), abs=1e-5)


def test_dropout_is_off_and_weights_stay(reader: FusionInDecoder, tmp_path: Path):
    before = {name: tensor.clone() for name, tensor in reader.state_dict().items()}
    reader.train()
    readings = tiny_readings(tmp_path)
    first, second = (list(teacher_of(reader.train()).relevance(readings)) for _ in range(2))
    assert first == second
    assert not reader.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in reader.state_dict().items())


def test_states_encoded_before_give_the_same(reader: FusionInDecoder):
    batch = reader.batch(QUESTIONS, FOUND)
    with torch.inference_mode():
        fused = reader.fuse(batch)
        assert torch.equal(fused_relevance(reader, fused), teacher_of(reader).of_batch(batch))
