"""What is done differently on a GPU: the parts on the CPU, against the plain way; the whole where there is a GPU."""

import sys
from contextlib import nullcontext
from typing import get_args

import pytest
import torch
from torch import nn
from transformers.models.t5.modeling_t5 import T5LayerNorm

from dogeared import attention, feed_forward, root_mean_square
from dogeared.ahead import Ahead
from dogeared.arriving import Arriving
from dogeared.compute import autocast
from dogeared.data.corpus import build_corpus
from dogeared.distill.losses import LossName
from dogeared.distill.teachers import CrossAttention
from dogeared.evaluation.answers import AnswerMatcher
from dogeared.reader.cross_attention import record_cross_attention
from dogeared.reader.extractive import ExtractiveReader
from dogeared.reader.fid import ReaderSettings
from dogeared.records import PassageRelevance, Question
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.rounded import round_between
from dogeared.training import loop
from dogeared.training.loop import LoopSettings, train
from dogeared.training.span_hint import HintedReader, hinted_batch
from dogeared.training.train_retriever import RetrieverTraining, Student, distillation_batch
from dogeared.training.train_supervised import Example, SupervisedStudent, SupervisedTraining, supervised_batch
from tiny_readers import KINDS, PASSAGES, QUESTIONS, save_tiny, tiny_reader, tiny_readings

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
FEW = [PASSAGES[:2], PASSAGES[2:3], PASSAGES[1:]]


@pytest.mark.parametrize("length", [8, 13])
@pytest.mark.parametrize("masked", [None, "where", "added", "later"])
def test_attention_with_a_bias_is_that_of_a_loop_and_so_are_its_gradients(length, masked):
    torch.manual_seed(0)
    inputs = [torch.randn(2, 3, length, 8) for _ in range(3)] + [torch.randn(1, 3, length, length)]
    where = (torch.arange(length) < torch.tensor([length, 5])[:, None])[:, None, None].expand(2, 1, length, length)
    added = torch.zeros(where.shape).masked_fill(~where, torch.finfo(torch.float32).min)
    mask = {"where": where, "added": added}.get(masked)  # what comes later is seen by no mask
    hidden = {None: torch.zeros(()), "later": torch.full((length, length), -torch.inf).triu(1)}.get(masked, added)

    def run(fast: bool) -> list[torch.Tensor]:
        query, key, value, bias = leaves = [one.clone().requires_grad_() for one in inputs]
        if fast:
            module = nn.Identity()
            module.is_causal = masked == "later"
            attended, _ = attention._attend_on_gpu(module, query, key, value, mask, bias, scaling=0.25)
        else:
            scores = query @ key.transpose(-1, -2) * 0.25 + bias + hidden
            attended = (scores.softmax(-1) @ value).transpose(1, 2)
        (attended * torch.linspace(-1, 1, 8)).sum().backward()
        return [attended.detach(), *(leaf.grad for leaf in leaves)]

    for got, expected in zip(run(True), run(False), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_mask_and_bias_are_put_together_once_with_rows_in_steps_of_eight():
    bias, where = torch.randn(1, 2, 13, 13, requires_grad=True) * 1, torch.rand(3, 1, 13, 13) > 0.2
    first, second = (attention._together(where, bias, for_gpu=torch.float32) for _ in range(2))
    assert first is second
    assert first.shape == (3, 2, 13, 13)
    assert first.stride() == (2 * 13 * 16, 13 * 16, 16, 1)
    for looks_back in (False, True):
        alone, again = (attention._together(None, bias, for_gpu=torch.float32, looks_back=looks_back) for _ in range(2))
        assert alone is again
        assert alone.stride()[2:] == (16, 1)
        assert (alone[..., 3, 4] < -1e30).all() == looks_back
    del where, first, second
    assert attention._together(None, bias, for_gpu=torch.float32) is not again
    del bias
    assert attention._last is None


def test_a_mask_that_is_gone_is_not_taken_for_none():
    bias, where = torch.randn(1, 2, 8, 8), torch.zeros(3, 1, 8, 8, dtype=torch.bool)
    attention._together(where, bias, for_gpu=torch.float32)
    del where
    assert attention._together(None, bias, for_gpu=torch.float32) is bias
    del bias
    assert attention._last is None


def test_a_bias_that_is_a_mask_already_does_not_keep_itself():
    bias = torch.randn(1, 2, 8, 8)
    assert attention._together(None, bias, for_gpu=torch.float32) is bias
    assert attention._last is None


def test_a_rectified_product_is_that_of_two_steps():
    torch.manual_seed(0)
    states, weight = torch.randn(2, 5, 16), torch.randn(24, 16)
    got = feed_forward._rectified_on_gpu(states, weight)
    torch.testing.assert_close(got, (states @ weight.T).relu(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norms_in_one_kernel_are_the_librarys(dtype):
    torch.manual_seed(0)
    states = torch.randn(3, 4, 16).to(dtype)
    exact = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 2e-2}
    of_t5, plain = T5LayerNorm(16), nn.Sequential(nn.LayerNorm(16))
    for norm in (of_t5, plain[0]):
        nn.init.normal_(norm.weight)
    expected = plain(states.float())
    round_between(plain)
    torch.testing.assert_close(plain[0].in_one_kernel(states).float(), expected, **exact)
    got = root_mean_square._in_one_kernel(states, of_t5)
    assert got.dtype == dtype
    torch.testing.assert_close(got.float(), of_t5(states.float()), **exact)


@pytest.fixture
def without_numbers(monkeypatch):
    """Tensors on the device ``meta`` have shapes and no numbers: whoever asks for one, as for a GPU's, fails."""
    for name, module in list(sys.modules.items()):
        if name.startswith("dogeared") and hasattr(module, "autocasts_to_bfloat16"):
            monkeypatch.setattr(module, "autocasts_to_bfloat16", lambda device: False)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    return torch.device("meta")


@pytest.mark.parametrize("kind", KINDS)
def test_no_number_is_asked_for_between_a_batch_and_its_gradients(kind, tmp_path, without_numbers):
    reader = tiny_reader(kind, tmp_path, num_passages=4)
    batch = reader.batch(QUESTIONS, FEW, answers=["Anna", "Rome", "the river"]).to(without_numbers)
    reader.to(without_numbers).train()
    reader(batch).backward()
    assert all(parameter.grad is not None for name, parameter in reader.named_parameters() if ".layer" in name)
    assert CrossAttention(reader)._of_batch(batch, None, None, most=4).shape == (3, 4)


def test_no_number_is_asked_for_where_a_reader_has_hints(tmp_path, without_numbers):
    reader = tiny_reader("t5", tmp_path, num_passages=4)
    answers = ["Anna", "Rome", "the river"]
    batch = hinted_batch(reader.batch(QUESTIONS, FEW, answers=answers), reader.tokenizer, [[text] for text in answers])
    hinted = HintedReader(reader, 0.5).to(without_numbers).train()
    hinted(batch.to(without_numbers)).backward()
    assert hinted.pointer.weight.grad is not None


def test_no_number_is_asked_for_where_a_reader_marks_spans(tmp_path, without_numbers):
    settings = ReaderSettings(kind="extractive", model=str(save_tiny("bert", tmp_path / "bert")), max_length_tokens=64)
    reader = ExtractiveReader.load(settings).train()
    batch = reader.batch(QUESTIONS, FEW, answers=[["Anna"], ["Rome"], ["the river"]]).to(without_numbers)
    reader.to(without_numbers)(batch).backward()
    assert all(parameter.grad is not None for parameter in reader.parameters())


def test_no_number_is_asked_for_where_labels_teach(tiny_models, without_numbers):
    encoder = DualEncoder.load(RetrieverSettings(model=str(tiny_models / "encoder")))
    settings = SupervisedTraining()
    examples = [
        Example(question=Question(id=text, text=text, gold=(right.id,)), positive=right, negatives=(PASSAGES[3],))
        for text, right in zip(QUESTIONS, PASSAGES[:3], strict=True)
    ]
    batch = supervised_batch(encoder, examples, settings, AnswerMatcher()).to(without_numbers)
    student = SupervisedStudent(encoder, settings).to(without_numbers).train()
    student(batch).backward()
    assert all(parameter.grad is not None for name, parameter in student.named_parameters() if "pooler" not in name)


@pytest.mark.parametrize("chunk_tokens", [0, 16])
@pytest.mark.parametrize("loss", get_args(LossName))
def test_no_number_of_a_student_is_asked_for(loss, chunk_tokens, tiny_models, tmp_path, without_numbers):
    encoder = DualEncoder.load(RetrieverSettings(model=str(tiny_models / "encoder")))
    settings = RetrieverTraining(num_passages=2, chunk_tokens=chunk_tokens, loss=loss)
    corpus = build_corpus(PASSAGES, tmp_path / "corpus")
    questions = [Question(id=str(number), text=text) for number, text in enumerate(QUESTIONS[:2])]
    relevance = {
        question.id: PassageRelevance(question_id=question.id, passage_ids=ids, relevance=(0.5, 0.25)[: len(ids)])
        for question, ids in zip(questions, [("0", "2"), ("3",)], strict=True)
    }
    batch = distillation_batch(encoder, questions, relevance, corpus, settings).to(without_numbers)
    student = Student(encoder, settings).to(without_numbers).train()
    student(batch).backward()
    assert all(parameter.grad is not None for name, parameter in student.named_parameters() if "pooler" not in name)


@on_a_gpu
@pytest.mark.parametrize("kind", ["t5", "mt5", "bart", "bert2bert"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_relevance_and_gradients_are_those_of_the_cpu(kind, precision, tmp_path):
    exact = {"rtol": 1e-3, "atol": 1e-3} if precision == "fp32" else {"rtol": 5e-2, "atol": 5e-2}
    found = {}
    for device in ("cpu", "cuda"):
        reader = tiny_reader(kind, tmp_path / device, num_passages=4).to(device)
        kept = precision if device == "cuda" else "fp32"
        readings = tiny_readings(tmp_path / f"corpus-{device}")
        relevance = [torch.tensor(one.relevance) for one in CrossAttention(reader, precision=kept).relevance(readings)]
        with autocast(kept, reader.device):
            loss = reader(reader.batch(QUESTIONS, FEW, answers=["Anna", "Rome", "the river"]))
        loss.backward()
        gradient = torch.cat([p.grad.flatten().cpu() for p in reader.parameters() if p.grad is not None])
        found[device] = (relevance, loss.detach().cpu(), gradient)
    for got, expected in zip(found["cuda"][0], found["cpu"][0], strict=True):
        torch.testing.assert_close(got, expected, **exact)
    torch.testing.assert_close(found["cuda"][1], found["cpu"][1], **exact)
    got, expected = found["cuda"][2], found["cpu"][2]
    assert (got - expected).norm() < (1e-3 if precision == "fp32" else 0.05) * expected.norm()


@on_a_gpu
def test_vectors_are_those_of_the_cpu(tiny_models):
    found = []
    for device, precision in (("cpu", "fp32"), ("cuda", "bf16")):
        encoder = DualEncoder.load(RetrieverSettings(model=str(tiny_models / "encoder"))).to(device).eval()
        chunks = tuple(chunk.to(encoder.device) for chunk in encoder.query_chunks(QUESTIONS))
        with torch.inference_mode(), autocast(precision, encoder.device):
            found.append(encoder.embed(chunks).cpu())
    assert torch.cosine_similarity(*found).min() > 0.9995


@on_a_gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("kind", ["t5", "bart", "bert2bert"])
def test_nothing_waits_for_the_gpu_between_a_batch_and_its_gradients(kind, tmp_path):
    reader = tiny_reader(kind, tmp_path, num_passages=4).to("cuda")
    batch = reader.batch(QUESTIONS, FEW, answers=["Anna", "Rome", "the river"])
    teacher = CrossAttention(reader, precision="bf16")
    with autocast("bf16", reader.device):
        reader(batch).backward()  # what is copied once is there now
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            reader(batch).backward()
            with torch.inference_mode(), record_cross_attention(reader.model, single_query=True):
                reader.look(reader.fuse(batch))
            teacher._of_batch(batch, None, None, most=4)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@on_a_gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_nothing_waits_for_the_gpu_from_step_to_step(tmp_path):
    reader = tiny_reader("t5", tmp_path, num_passages=4)
    settings = LoopSettings(steps=8, learning_rate=1e-3, dropout=0.1, precision="bf16")

    def batches_of_step(step):
        if step >= 2:  # before, memory is asked for, and the last step is looked at as nothing comes behind it
            torch.cuda.set_sync_debug_mode("error" if step < 7 else "default")
        return [reader.batch(QUESTIONS, FEW, answers=["Anna", "Rome", "the river"], device=torch.device("cpu"))]

    try:
        state = train(reader, batches_of_step, settings, seed=0, folder=tmp_path / "work", name="train")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert state.losses[-1] < state.losses[0]
    assert all(torch.isfinite(parameter).all() for parameter in reader.parameters())


@on_a_gpu
def test_what_arrives_is_not_waited_for_with_what_came_behind_it():
    torch.cuda.synchronize()
    small, large = torch.ones(4, device="cuda"), torch.randn(8192, 8192, device="cuda")
    product = large @ large
    torch.cuda.synchronize()
    arriving = Arriving(small * 3)
    for _ in range(40):
        product = large @ product / 1e4
    behind = torch.cuda.Event()
    behind.record()
    assert arriving.take().tolist() == [3.0] * 4
    assert not behind.query()


@on_a_gpu
def test_a_batch_arrives_whole_on_a_gpu(tmp_path):
    reader = tiny_reader("t5", tmp_path, num_passages=4)
    here = reader.batch(QUESTIONS, FEW, answers=["Anna", "Rome", "the river"])
    there = here.to(torch.device("cuda")).to(torch.device("cpu"))
    for got, expected in zip(there.chunks, here.chunks, strict=True):
        assert torch.equal(got.token_ids, expected.token_ids)
        assert torch.equal(got.places, expected.places)
    assert torch.equal(there.plan.slots, here.plan.slots)
    assert torch.equal(there.labels, here.labels)
    assert there.weight == here.weight > 0


@on_a_gpu
def test_a_training_made_ahead_is_the_same_as_one_that_is_not(tmp_path, monkeypatch):
    def losses(name: str, *, in_thread: bool) -> list[float]:
        # Whatever the loop asks for; the device that it trains on would have it made ahead both times.
        monkeypatch.setattr(loop, "Ahead", lambda work, **_: made.append(Ahead(work, in_thread=in_thread)) or made[-1])
        reader = tiny_reader("t5", tmp_path / name, num_passages=4)
        return train(
            reader,
            lambda step: [reader.batch(QUESTIONS, FEW, answers=["Anna", "Rome", "the river"])],
            LoopSettings(steps=4, learning_rate=1e-3, dropout=0.0),
            seed=0,
            folder=tmp_path / f"{name}-work",
            name="train",
        ).losses

    made: list[Ahead] = []
    first = losses("ahead", in_thread=True)
    assert first[-1] < first[0]
    assert first == pytest.approx(losses("not", in_thread=False), rel=1e-3)
    assert len(made) == 2
