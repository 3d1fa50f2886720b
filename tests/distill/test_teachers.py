"""The teacher is the reader's cross-attention at the first step of its decoder, and nothing else."""

import logging
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dogeared.distill import teachers
from dogeared.distill.check import normalized_entropy
from dogeared.distill.relevance import Aggregation, passage_relevance
from dogeared.distill.teachers import CrossAttention, Teacher, fused_relevance, written_labels
from dogeared.errors import ConfigError
from dogeared.reader.cross_attention import record_cross_attention
from dogeared.reader.fid import FusionInDecoder
from dogeared.reader.text_tokens import text_tokens
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
    monkeypatch.setattr(teachers, "questions_per_batch", lambda settings, device, num_passages: size)
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


ANSWERS = ["Anna", "the old tower", "Ghent"]


def recorded(reader: FusionInDecoder, answer_ids: list[list[int]]) -> torch.Tensor:
    """The scores of a decoder that is fed its start token and the answers but for their last tokens."""
    width = max(map(len, answer_ids))
    fed = [[reader.start_token_id, *ids[:-1], *[0] * (width - len(ids))] for ids in answer_ids]
    with torch.inference_mode(), record_cross_attention(reader.model) as record:
        reader.decode(reader.fuse(reader.batch(QUESTIONS, FOUND)), torch.tensor(fed))
    return record.scores()


def test_given_answers_are_asked_at_each_of_their_tokens(reader: FusionInDecoder):
    batch = reader.batch(QUESTIONS, FOUND, answers=ANSWERS)
    ids = [[token for token in row if token >= 0] for row in batch.labels.tolist()]
    assert [len(row) for row in ids] == [2, 4, 2]
    scores = recorded(reader, ids)
    owners = batch.plan.passage_of_token
    expected = torch.zeros(3, 3)
    for question, length in enumerate([2, 4, 2]):
        of_steps = [passage_relevance(scores[:, :, :, step:], owners, num_passages=3) for step in range(length)]
        expected[question] = torch.stack(of_steps)[:, question].mean(dim=0)
    teacher = CrossAttention(reader, Aggregation(output_tokens="given"), precision="fp32")
    torch.testing.assert_close(teacher.of_batch(batch), expected, rtol=0.0, atol=1e-5)


def test_written_answers_end_with_their_end_token(reader: FusionInDecoder, monkeypatch: pytest.MonkeyPatch):
    end = reader.model.generation_config.eos_token_id
    written = torch.tensor([[0, 9, end, end, 0], [0, 8, 9, 10, 11]])
    monkeypatch.setattr(reader, "generate_ids", lambda fused: written)
    with torch.inference_mode():
        labels = written_labels(reader, reader.fuse(reader.batch(QUESTIONS[:2], FOUND[:2])))
    assert labels.tolist() == [[9, end, -100, -100], [8, 9, 10, 11]]


def test_what_the_reader_writes_is_asked_where_that_is_wanted(reader: FusionInDecoder):
    batch = reader.batch(QUESTIONS, FOUND)
    with torch.inference_mode():
        labels = written_labels(reader, reader.fuse(batch))
    asked = Aggregation(output_tokens="generated", over_output="max")
    given = Aggregation(output_tokens="given", over_output="max")
    generated = CrossAttention(reader, asked, precision="fp32").of_batch(batch)
    expected = CrossAttention(reader, given, precision="fp32").of_batch(replace(batch, labels=labels))
    torch.testing.assert_close(generated, expected, rtol=0.0, atol=1e-6)
    with torch.inference_mode():  # who has no answer at hand asks what is written
        fused = reader.fuse(batch)
        assert torch.equal(fused_relevance(reader, fused, given), fused_relevance(reader, fused, asked))
    assert (generated - teacher_of(reader).of_batch(batch))[0].abs().max() > 1e-5
    other = reader.batch(QUESTIONS, FOUND, answers=ANSWERS)  # a given answer is not what is written
    assert torch.equal(CrossAttention(reader, asked, precision="fp32").of_batch(other), generated)


def test_with_given_answers_questions_without_any_are_left_out_and_counted(
    reader: FusionInDecoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    plain = tiny_readings(tmp_path)
    questions = [replace(q, answers=("Anna",) if i % 2 else ()) for i, q in enumerate(plain.questions)]
    teacher = CrossAttention(reader, Aggregation(output_tokens="given"), precision="fp32")
    with caplog.at_level(logging.WARNING):
        judged = list(teacher.relevance(replace(plain, questions=questions)))
    assert [len(item.relevance) for item in judged] == [0, 1, 0, 3, 0, 4, 0]
    for index in (1, 3, 5):
        batch = reader.batch([questions[index].text], [plain.passages(index)], answers=["Anna"])
        assert list(judged[index].relevance) == pytest.approx(teacher.of_batch(batch)[0].tolist(), abs=1e-5)
    assert "4 of 7 questions have no answers" in caplog.text


def test_the_text_alone_is_asked_where_that_is_wanted(reader: FusionInDecoder, tmp_path: Path):
    alone = Aggregation(input_tokens="passage")
    readings = tiny_readings(tmp_path)
    judged = list(CrossAttention(reader, alone, precision="fp32").relevance(readings))
    for index in (2, 5):
        text, found = readings.questions[index].text, readings.passages(index)
        marks, batch = text_tokens(reader, [text], [found]), reader.batch([text], [found])
        with torch.inference_mode(), record_cross_attention(reader.model) as record:
            reader.first_step(reader.fuse(batch))
        of_token = record.scores()[:, 0, :, 0].mean(dim=(0, 1))
        owner = batch.plan.passage_of_token[0]
        expected = [of_token[(owner == number) & marks[0]].mean().item() for number in range(len(found))]
        assert list(judged[index].relevance) == pytest.approx(expected, abs=1e-5)


def test_more_layers_than_there_are_are_refused(reader: FusionInDecoder):
    teacher = CrossAttention(reader, Aggregation(num_last_layers=3), precision="fp32")
    with pytest.raises(ConfigError, match="expected at most the 2 layers of the reader's decoder, got 3"):
        teacher.of_batch(reader.batch(QUESTIONS, FOUND))
    every = CrossAttention(reader, Aggregation(num_last_layers=2), precision="fp32")
    batch = reader.batch(QUESTIONS, FOUND)
    assert torch.equal(every.of_batch(batch), teacher_of(reader).of_batch(batch))


def test_attention_times_the_length_of_values_equals_the_weights_by_hand(reader: FusionInDecoder):
    """Summed over everything it is the mass that flows into the decoder's sums from a passage."""
    batch = reader.batch(QUESTIONS, FOUND)
    every = {"over_tokens": "sum", "over_heads": "sum", "over_layers": "sum"}
    mass = Aggregation(quantity="probability_times_value_norm", **every)
    with torch.inference_mode():
        fused = reader.fuse(batch)
        relevance = fused_relevance(reader, fused, mass)
        with record_cross_attention(reader.model) as record:
            reader.first_step(fused)
        values = value_states(reader, fused.states)
    expected = torch.zeros(3, 3)
    for scores, value in zip(record.scores(), values, strict=True):
        weights = scores[:, :, 0].masked_fill(~fused.mask[:, None], -torch.inf).softmax(dim=-1)
        lengths = value.unflatten(-1, (2, -1)).square().sum(dim=-1).sqrt()
        for question, number in ((0, 0), (0, 1), (0, 2), (1, 0)):
            mine = fused.passage_of_token[question] == number
            expected[question, number] += (weights[question][:, mine] * lengths[question, mine].T).sum()
    torch.testing.assert_close(relevance.masked_fill(relevance.isneginf(), 0.0), expected, rtol=1e-5, atol=1e-5)


def value_states(reader: FusionInDecoder, states: torch.Tensor) -> list[torch.Tensor]:
    """The values of every cross-attention from its weights, without the library."""
    found = []
    for name, module in reader.model.named_modules():
        if name.endswith("EncDecAttention"):
            found.append(module.v(states))
        elif name.endswith("encoder_attn"):
            found.append(module.v_proj(states))
        elif name.endswith("crossattention.self"):
            found.append(module.value(states))
    return found
