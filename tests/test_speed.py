"""The benchmarks of speed run, and compare like with like."""

import json
import sys
import time

import pytest
import torch
from benchmarks.speed import __main__ as bench
from benchmarks.speed.apart import Apart
from benchmarks.speed.floor import ReaderShape, scoring_flops, training_flops
from benchmarks.speed.memory import _held
from benchmarks.speed.memory import measure as measure_memory
from benchmarks.speed.rows import Options, Row, Seconds, best_seconds
from benchmarks.speed.subject import make_subject
from benchmarks.speed.textbook import Textbook, make_textbook
from torch import nn

from dogeared.distill.teachers import CrossAttention
from dogeared.reader.fid import FusionInDecoder, ReaderSettings

SHAPE = ReaderShape(dim=4, heads=2, inner=6, feed_forward=8, layers=2, decoder_layers=3, vocabulary=10)


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speed") / "corpus"
    return make_subject(folder, quick=True, num_questions=3, num_passages=4, tokens=(20, 40), padded=48)


def test_a_pair_has_the_tokens_that_are_counted(subject):
    reader = FusionInDecoder(subject.model(), subject.tokenizer, ReaderSettings(num_passages=4))
    batch = reader.batch([subject.readings.questions[0].text], [subject.readings.passages(0)])
    assert sorted(subject.lengths[0]) == sorted(int(n) for chunk in batch.chunks for n in chunk.mask.sum(dim=1))


def test_the_textbook_scores_as_the_package_does(subject):
    reader = FusionInDecoder(subject.model(), subject.tokenizer, ReaderSettings(num_passages=4))
    judged = list(CrossAttention(reader, precision="fp32").relevance(subject.readings))
    textbook = Textbook(subject)
    for index, passages in enumerate(judged):
        assert passages.relevance == pytest.approx(textbook.score(index), abs=1e-5)


def test_the_textbook_learns_as_the_package_does(subject):
    textbook = Textbook(subject)
    loss = textbook.step(range(2))
    reader = FusionInDecoder(subject.model(), subject.tokenizer, ReaderSettings(num_passages=4))
    questions = subject.readings.questions[:2]
    batch = reader.batch(
        [question.text for question in questions],
        [subject.readings.passages(index) for index in range(2)],
        answers=[question.answers[0] for question in questions],
    )
    assert reader(batch).item() == pytest.approx(loss, abs=1e-5)


def test_every_gradient_is_that_of_the_library_s_model_question_by_question(subject, monkeypatch):
    class Keeps(torch.optim.SGD):
        def step(self):
            kept.update({name: p.grad.clone() for name, p in textbook.model.named_parameters()})

    kept = {}
    textbook = Textbook(subject)
    textbook.model.set_attn_implementation("eager")  # not even attention is anyone else's
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", lambda *_: None)
    textbook.optimizer = Keeps(textbook.model.parameters(), lr=0.0)
    textbook.step(range(3))
    reader = FusionInDecoder(subject.model(), subject.tokenizer, ReaderSettings(num_passages=4))
    questions = subject.readings.questions
    reader(
        reader.batch(
            [question.text for question in questions],
            [subject.readings.passages(index) for index in range(3)],
            answers=[question.answers[0] for question in questions],
        )
    ).backward()
    ours = {name: p.grad for name, p in reader.model.named_parameters()}
    assert ours.keys() == kept.keys()
    for name, expected in kept.items():
        assert expected.norm() > 0, name
        assert (ours[name] - expected).norm() < 1e-5 * expected.norm(), name


def test_operations_are_those_counted_by_hand():
    # One layer and one token: q, k, v, o are 4 * 4 * 6, the feed-forward 2 * 4 * 8; both products of attention 2 * 6.
    assert scoring_flops(SHAPE, [1]) == 2 * 2 * (96 + 64 + 12)
    assert scoring_flops(SHAPE, [2, 1]) == 2 * 2 * (3 * (96 + 64) + (4 + 1) * 12)
    # One output: own q, k, v, o, q and o of the other attention, and key and value of its own: eight products of 4 and
    # 6 numbers, each two operations; then two of both heads with the 4 numbers of each of three states.
    decoder = 3 * 2 * (8 * 24 + 2 * 32 + 2 * 6 + 2 * 2 * 3 * 4)
    assert training_flops(SHAPE, [2, 1], output=1) == 3 * (scoring_flops(SHAPE, [2, 1]) + decoder + 2 * 40)
    # Five outputs: three keys and values are fewer operations than five queries that go to states.
    decoder = 3 * 2 * (5 * (6 * 24 + 2 * 32 + 2 * 5 * 6) + 3 * 2 * 24 + 5 * 2 * 3 * 6)
    assert training_flops(SHAPE, [2, 1], output=5) == 3 * (scoring_flops(SHAPE, [2, 1]) + decoder + 5 * 2 * 40)


def test_the_best_time_of_each_side_counts():
    now = iter([0.0, 5.0, 5.0, 6.0, 10.0, 13.0, 20.0, 24.0])
    best = best_seconds({"a": lambda: None, "b": lambda: None}, repeats=2, clock=lambda: next(now))
    assert best == {"a": 3.0, "b": 1.0}


def test_a_side_may_say_itself_what_it_took():
    assert best_seconds({"a": lambda: Seconds(0.25)}, repeats=1, clock=time.perf_counter) == {"a": 0.25}


def test_the_textbook_of_another_process_reads_the_same_and_keeps_its_memory_to_itself(tmp_path):
    here = Textbook(make_subject(tmp_path / "here", quick=True, num_questions=2, seed=3))
    drawn = {"quick": True, "num_questions": 2, "seed": 3}
    with Apart(make_textbook, tmp_path / "there", "cpu", drawn) as there:
        assert there.call("score", 1) == here.score(1)
        assert there.call("step", range(2)) == pytest.approx(here.step(range(2)), abs=1e-6)
        assert there.call("step", range(2)) == pytest.approx(here.step(range(2)), abs=1e-6)  # both have learned
        assert 0 < there.seconds(time.perf_counter, "score", 0) < 60


def test_the_textbook_trains_with_dropout_once_it_is_told(tmp_path):
    textbook = Textbook(make_subject(tmp_path, quick=True, num_questions=2, seed=3))
    state = torch.get_rng_state()
    textbook.step(range(2))
    assert torch.equal(torch.get_rng_state(), state), "nothing is drawn without dropout"
    textbook.set_dropout(0.5)
    losses = []
    for _ in range(2):
        torch.set_rng_state(state)
        losses.append(textbook.step(range(2)))
    assert not torch.equal(torch.get_rng_state(), state)
    assert losses[0] == pytest.approx(losses[1], abs=0.02), "the same falls, a step of 1e-5 later"
    assert abs(textbook.step(range(2)) - losses[1]) > 0.05, "other elements fall"


def test_ratios():
    row = Row(unit="x", seconds=2.0, textbook_seconds=8.0, floor_seconds=0.5)
    assert (row.ratio_to_textbook, row.ratio_to_floor) == (4.0, 4.0)
    assert Row(unit="x", seconds=2.0).as_json()["ratio_to_floor"] is None


def test_the_command_measures_what_is_named_and_keeps_the_rest(tmp_path, monkeypatch, capsys):
    out = tmp_path / "latest.json"
    out.write_text('{"other": {"seconds": 1}, "score_fp32": {"seconds": 1}}')
    names = ["score_fp32", "train_fp32", "train_fp32_no_dropout"]
    arguments = ["speed", *names, "--quick", "--repeats", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr("benchmarks.speed.train._QUESTIONS", 2)
    monkeypatch.setattr("benchmarks.speed.score.matrix_rate", lambda *_, **__: 1e11)
    monkeypatch.setattr("benchmarks.speed.train.matrix_rate", lambda *_, **__: 1e11)
    bench.main()
    written = json.loads(out.read_text())
    assert written["other"] == {"seconds": 1}
    assert set(written) == {"other", *names}
    assert written["score_fp32"]["ratio_to_floor"] > 1
    assert written["train_fp32"]["ratio_to_textbook"] > 0
    losses = {written[name]["figures"]["first_loss"] for name in names[1:]}
    assert len(losses) == 2, "one of them is with dropout"
    shown = capsys.readouterr().out
    assert "score_fp32" in shown
    assert "times floor" in shown


def test_quick_figures_are_written_nowhere_unless_told(tmp_path, monkeypatch, capsys):
    latest = tmp_path / "latest.json"
    latest.write_text("{}")
    monkeypatch.setattr(bench, "LATEST", latest)
    monkeypatch.setattr("benchmarks.speed.score.measure", lambda options: {"score_fp32": Row(unit="x", seconds=1.0)})
    monkeypatch.setattr(sys, "argv", ["speed", "score", "--quick"])
    bench.main()
    assert latest.read_text() == "{}"
    assert "not written" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["speed", "score"])
    bench.main()
    assert set(json.loads(latest.read_text())) == {"score_fp32"}


def test_what_is_left_out_for_want_of_data_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.speed.score.measure", lambda options: {"score_fp32": Row(unit="x", seconds=1.0)})
    arguments = ["speed", "score", "encode", "--quick", "--data", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    bench.main()
    shown = capsys.readouterr()
    assert f"encode is left out: there is no {tmp_path / 'wiki_en' / 'passages.jsonl'}; --data names" in shown.err
    assert "score_fp32" in shown.out
    monkeypatch.setattr(sys, "argv", ["speed", "ask", *arguments[3:]])
    with pytest.raises(SystemExit):
        bench.main()
    assert "error: ask is left out: there is no" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["speed", "nothing"])
    with pytest.raises(SystemExit):
        bench.main()
    assert "nothing is called nothing; there are the groups score" in capsys.readouterr().err


def test_a_part_that_reads_data_is_named_and_so_is_a_gpu_that_is_not_there(tmp_path, monkeypatch):
    row = {"gpu_score": Row(unit="x", seconds=1.0)}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert bench.why_left_out("gpu", tmp_path, row).startswith("what of gpu reads it is left out: there is no ")
    assert bench.why_left_out("score", tmp_path, row) == ""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert bench.why_left_out("gpu", tmp_path, {}) == "gpu is left out: there is no GPU with CUDA"


def test_memory_is_measured_in_a_process_for_each_way(tmp_path):
    options = Options(scratch=tmp_path, data=tmp_path, quick=True)
    (row,) = measure_memory(options).values()
    for way in ("plain", "checkpointing"):
        # What a process holds may shrink beside it, as the system takes pages back; its peak does not.
        assert row.figures[f"peak_megabytes_{way}"] > max(0, row.figures[f"kept_megabytes_{way}"])
    assert row.ratio_to_textbook > 0
    assert measure_memory(Options(scratch=tmp_path, data=tmp_path, names=("score_bf16",))) == {}


def test_tensors_are_counted_where_most_are_held():
    kept: list[torch.Tensor] = []
    held, most = _held(lambda: kept.append(torch.ones(1_000_000) + torch.ones(1_000_000)))
    assert held == pytest.approx(4e6, rel=0.01)
    assert most == pytest.approx(12e6, rel=0.01)
