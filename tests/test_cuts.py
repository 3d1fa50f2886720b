"""Texts that fill what a model reads are counted, and said once a step; nobody counts where nobody asked."""

import logging

import pytest
import torch

from dogeared.cuts import count_cuts, say_cuts
from dogeared.pipeline.making import make_artifact
from dogeared.reader.extractive import ExtractiveReader
from dogeared.reader.fid import ReaderSettings
from dogeared.records import Passage
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from tiny_readers import PASSAGES, QUESTIONS, save_tiny, tiny_reader

LONG = Passage(id="long", title="the book", text="the red book " * 100)


def test_a_step_says_once_how_many_were_cut(caplog: pytest.LogCaptureFixture):
    count_cuts("a.limit", 4, [9, 9])  # nobody asked
    with say_cuts("encode"):
        count_cuts("a.limit", 4, [1, 4, 3])
        count_cuts("a.limit", 4, [4])
        count_cuts("b.limit", 9, [8])
        count_cuts("none", None, [10**6])
        assert caplog.messages == []
    [message] = caplog.messages
    assert message.startswith("encode: 2 of 4 texts fill the 4 tokens of a.limit; what they have beyond was not read.")
    count_cuts("a.limit", 4, [9])
    assert len(caplog.messages) == 1


def test_a_step_that_fails_says_nothing_and_leaves_nothing_behind(caplog: pytest.LogCaptureFixture):
    with pytest.raises(KeyError), say_cuts("encode"):
        count_cuts("a.limit", 4, [4])
        raise KeyError
    with say_cuts("train"):
        pass
    assert caplog.messages == []


def readers(folder):
    settings = {"model": str(save_tiny("bert", folder / "bert")), "max_length_tokens": 64, "max_answer_tokens": 3}
    torch.manual_seed(0)
    yield tiny_reader("t5", folder)
    yield ExtractiveReader.load(ReaderSettings(kind="extractive", **settings))


def test_readers_count_the_pairs_that_they_cut(tmp_path, caplog: pytest.LogCaptureFixture):
    for reader in readers(tmp_path):
        caplog.clear()
        with say_cuts("score"):
            reader.batch(QUESTIONS[:2], [[LONG, *PASSAGES[:2]], [LONG]])
        [message] = caplog.messages
        assert message.startswith("score: 2 of 4 texts fill the 64 tokens of reader.max_length_tokens")


def test_a_student_counts_questions_and_passages(tmp_path, tiny_models, caplog: pytest.LogCaptureFixture):
    encoder = DualEncoder.load(RetrieverSettings(model=str(tiny_models / "encoder"), max_length_tokens=16))

    def work(folder, facts):
        encoder.query_chunks(["who", "who " * 50])
        encoder.passage_chunks([LONG, PASSAGES[1], LONG])
        (folder / "a").write_text("a")

    with caplog.at_level(logging.WARNING):
        make_artifact(tmp_path / "a", kind="encode", settings={}, inputs={}, work=work)
    [message] = caplog.messages
    assert message.startswith("encode: 3 of 5 texts fill the 16 tokens of retriever.max_length_tokens")
