"""States remembered: what the reader makes of a batch, with nothing encoded twice, within the bytes allowed."""

import pytest
import torch

from dogeared.records import Passage
from dogeared.serving.recent import RecentStates
from tiny_readers import PASSAGES, QUESTIONS, tiny_reader


@pytest.fixture
def reader(tmp_path):
    return tiny_reader("t5", tmp_path).eval()


@pytest.fixture
def encoded(reader, monkeypatch):
    """How many pairs were encoded in each call."""
    calls, fuse = [], type(reader).fuse

    def noted(self, batch, weights=None):
        calls.append(sum(len(chunk.rows) for chunk in batch.chunks))
        return fuse(self, batch, weights)

    monkeypatch.setattr(type(reader), "fuse", noted)
    return calls


def fused(recent, reader, *asked):
    with torch.inference_mode():
        return recent.fuse(reader, [question for question, _ in asked], [passages for _, passages in asked])


def test_what_is_remembered_is_what_the_reader_makes(reader, encoded):
    recent = RecentStates()
    asked = [(QUESTIONS[0], PASSAGES), (QUESTIONS[1], []), (QUESTIONS[1], PASSAGES[:1])]
    fused(recent, reader, asked[0])
    for _ in range(2):
        got = fused(recent, reader, *asked)
        with torch.inference_mode():
            wanted = reader.fuse(reader.batch([question for question, _ in asked], [found for _, found in asked]))
        torch.testing.assert_close(got.states, wanted.states, atol=1e-5, rtol=1e-5)
        for name in ("mask", "passage_of_token", "num_passages"):
            assert torch.equal(getattr(got, name), getattr(wanted, name)), name


def test_no_pair_is_encoded_twice(reader, encoded):
    recent, few = RecentStates(), PASSAGES[:1]
    fused(recent, reader, (QUESTIONS[0], few), (QUESTIONS[0], few))
    fused(recent, reader, (QUESTIONS[0], few))
    fused(recent, reader, (QUESTIONS[0], PASSAGES))
    fused(recent, reader, (QUESTIONS[1], few))
    assert encoded == [1, len(PASSAGES) - 1, 1]
    changed = Passage(id=few[0].id, title=few[0].title, text=few[0].text + " again")
    fused(recent, reader, (QUESTIONS[0], [changed]))
    assert encoded[-1] == 1, "the text counts, not the id"


def test_the_oldest_go(reader, encoded):
    size = fused(RecentStates(), reader, (QUESTIONS[0], PASSAGES[:1])).states.nbytes
    for limit, expected in ((0, [1, 1, 1]), (size, [1, 1, 1]), (10 * size, [1, 1])):
        encoded.clear()
        recent = RecentStates(max_bytes=limit)
        for question in (QUESTIONS[0], QUESTIONS[1], QUESTIONS[0]):
            fused(recent, reader, (question, PASSAGES[:1]))
        assert encoded == expected
