"""Batching changes nothing, and attention adds up."""

import pytest

from dogeared.distill.relevance import PAPER
from dogeared.pipeline.dataset import Dataset
from dogeared.reader.absorbed import cross_attention_modules
from dogeared.service import Asked
from dogeared.serving import reading
from dogeared.serving.recent import RecentStates
from dogeared.serving.threshold import choose_threshold, find_threshold
from dogeared.serving.words import cut_words, word_weights
from tiny_readers import KINDS, PASSAGES, tiny_reader
from tiny_readers import QUESTIONS as TINY_QUESTIONS

QUESTIONS = ["Who was it?", "Which instrument did the painter play in the town by the river?", "Where?"]


def test_several_questions_get_what_each_gets_alone(service, run_folder):
    asked = [Asked(question=text, k=k, attention=True) for text, k in zip(QUESTIONS, (None, 7, 2), strict=True)]
    asked += [Asked(question=one.text, attention=True) for one in Dataset.open(run_folder / "data").split("dev")]
    asked.append(Asked(question="Who?", side="before"))
    together = service.ask_many(asked)
    for one, many in zip([service.ask_many([each])[0] for each in asked], together, strict=True):
        assert (many.question, many.answer, many.answer_tokens) == (one.question, one.answer, one.answer_tokens)
        assert many.confidence == pytest.approx(one.confidence, rel=1e-4)
        assert [found.passage for found in many.passages] == [found.passage for found in one.passages]
        assert [found.relevance for found in many.passages] == pytest.approx(
            [found.relevance for found in one.passages], abs=1e-4
        )
        for left, right in zip(many.passages, one.passages, strict=True):
            if left.attention is not None:
                assert left.attention.token_share == pytest.approx(right.attention.token_share, abs=1e-4)


def test_attention_of_each_answer_token_adds_up_to_one(service, run_folder):
    question = Dataset.open(run_folder / "data").split("dev")[0].text
    (answered,) = service.ask_many([Asked(question=question, attention=True)])
    assert answered.answer_tokens
    assert len(answered.passages) == 4
    assert 0 < answered.confidence <= 1
    for token in range(len(answered.answer_tokens)):
        assert sum(found.attention.token_share[token] for found in answered.passages) == pytest.approx(1, abs=1e-4)
        for found in answered.passages:
            of_words = found.attention.token_relevance[token]
            assert len(of_words) == len(cut_words(found.passage.text))
            assert 0 < sum(of_words) < found.attention.token_share[token]  # question and title have the rest


@pytest.mark.parametrize("kind", KINDS)
def test_who_asks_for_no_attention_gets_the_same_without_its_being_recorded(kind, tmp_path, monkeypatch):
    reader = tiny_reader(kind, tmp_path, max_answer_tokens=3)
    record, recorded, asked_again = reading.record_cross_attention, [], []
    monkeypatch.setattr(reading, "record_cross_attention", lambda model: recorded.append(True) or record(model))
    labels = reading.labels_of_written

    def watching_from_here(*arguments):
        """Once the answer is written, the decoder has nothing more to say."""
        modules = cross_attention_modules(reader.model)
        hooks.extend(module.register_forward_hook(lambda *_: asked_again.append(True)) for module in modules)
        return labels(*arguments)

    monkeypatch.setattr(reading, "labels_of_written", watching_from_here)
    found = [PASSAGES[:3], [], PASSAGES[3:4]]
    made = {}
    for asked in (True, False):
        hooks, given = [], {"aggregation": PAPER, "precision": "fp32", "recent": RecentStates()}
        made[asked] = reading.read(reader, TINY_QUESTIONS, found, attention=[asked] * 3, **given)
        assert (len(recorded), len(asked_again)) == (3 if asked else 0, 3 * 2 if asked else 0)
        recorded.clear()
        asked_again.clear()
        for hook in hooks:
            hook.remove()
    for one, other in zip(made[True], made[False], strict=True):
        assert (other.answer, other.relevance) == (one.answer, one.relevance)
        assert other.confidence == one.confidence
        assert 0 < other.confidence < 1
        assert one.attention or not one.relevance
        assert other.attention == other.answer_tokens == ()


def test_words_are_offsets_into_the_text():
    text = "Ada was born\n in 東京."
    assert [text[start:end] for start, end in cut_words(text)] == ["Ada", "was", "born", "in", "東", "京", "."]
    assert word_weights([(0, 3), (3, 4), (14, 17), (-9, -2)], [(0, 3), (14, 15), (15, 16)]) == [
        (0, 0, 1.0),
        (2, 1, 0.5),
        (2, 2, 0.5),
    ]


def test_the_threshold_parts_right_from_wrong():
    chosen = choose_threshold([(0.9, True), (0.8, True), (0.7, False), (0.3, True), (0.2, False)])
    assert chosen.confidence == 0.8
    assert (chosen.right_shown, chosen.wrong_shown) == (pytest.approx(2 / 3), 0.0)
    for tells_nothing in ([], [(0.5, True)], [(0.5, False)], [(0.2, True), (0.9, False)]):
        assert choose_threshold(tells_nothing).confidence is None


def test_the_threshold_is_asked_for_once(service, run_folder, monkeypatch):
    (run_folder / "threshold.json").unlink(missing_ok=True)
    found = find_threshold(run_folder, service)
    assert found.num_questions == 6
    monkeypatch.setattr(type(service), "ask_many", None)
    assert find_threshold(run_folder, service) == found
