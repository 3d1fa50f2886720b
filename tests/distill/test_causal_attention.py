"""What a question looks at, against the library's own attention weights of the whole prompt at once."""

import math
from dataclasses import replace
from typing import ClassVar

import pytest
import torch

from dogeared.distill import causal_attention
from dogeared.distill.causal_attention import CausalAttention, best_heads, passage_attention
from dogeared.errors import ModelError
from dogeared.records import Passage, Question
from tiny_causal import CAUSAL, tiny_causal
from tiny_readers import PASSAGES, QUESTIONS, tiny_readings


@pytest.fixture(params=CAUSAL)
def kind(request):
    return request.param


def eager_rows(kind, question, passages, share):
    """The mean over the question's rows of the eager weights, by layer, head and passage token; and whose tokens."""
    model, tokenizer = tiny_causal(kind)
    model.set_attn_implementation("eager")
    ids = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    owner = [-1] * len(ids)
    for number, passage in enumerate(passages):
        tokens = tokenizer(f"{passage.title} {passage.text}", add_special_tokens=False)["input_ids"][:share]
        ids, owner = ids + tokens, owner + [number] * len(tokens)
    ends = tokenizer(f"Question: {question} Answer:", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        weights = model(input_ids=torch.tensor([ids + ends]), output_attentions=True).attentions
    return torch.stack(weights)[:, 0, :, len(ids) :, : len(ids)].mean(dim=2), owner


def by_hand(kind, question, passages, *, share=10_000, heads=None):
    (asked, owner), (empty, _) = (eager_rows(kind, text, passages, share) for text in (question, "N/A"))
    calibrated = (asked - empty).flatten(0, 1)
    summed = (calibrated if heads is None else calibrated[heads]).sum(dim=0).tolist()
    values = []
    for number in range(len(passages)):
        own = [value for value, whose in zip(summed, owner, strict=True) if whose == number]
        mean = sum(own) / len(own)
        spread = math.sqrt(sum((value - mean) ** 2 for value in own) / len(own))
        values.append(sum(value for value in own if value >= mean - 2 * spread))
    return values


def test_it_equals_the_librarys_weights(kind, tmp_path):
    readings = tiny_readings(tmp_path)
    found = list(CausalAttention(*tiny_causal(kind)).relevance(readings))
    assert [item.question_id for item in found] == [question.id for question in readings.questions]
    for index, item in enumerate(found):
        assert item.passage_ids == readings.passage_ids(index)
        expected = by_hand(kind, readings.questions[index].text, readings.passages(index)) if item.passage_ids else []
        assert list(item.relevance) == pytest.approx(expected, abs=1e-5)
    assert len({round(value, 4) for value in found[4].relevance}) == 4


def test_a_question_without_content_says_nothing(kind):
    of_token, _ = CausalAttention(*tiny_causal(kind)).of_question("N/A", PASSAGES[:3])
    torch.testing.assert_close(of_token, torch.zeros_like(of_token), rtol=0.0, atol=1e-6)


def test_passages_are_cut_to_equal_shares(kind, tmp_path):
    model, tokenizer = tiny_causal(kind)
    ends = len(tokenizer(f"Question: {QUESTIONS[0]} Answer:", add_special_tokens=False)["input_ids"])
    for rest in (2, 0):
        teacher = CausalAttention(model, tokenizer, max_length_tokens=ends + 1 + 3 * 5 + rest)
        of_token, owner = teacher.of_question(QUESTIONS[0], PASSAGES[:3])
        assert [int((owner == number).sum()) for number in range(3)] == [5, 3, 5]  # the second has three in all
    assert owner[0] == (0 if tokenizer.bos_token_id is None else -1)
    values = passage_attention(of_token.flatten(0, 1), owner, num_passages=3).tolist()
    assert values == pytest.approx(by_hand(kind, QUESTIONS[0], PASSAGES[:3], share=5), abs=1e-5)
    least = CausalAttention(model, tokenizer, max_length_tokens=ends + 1 + 3).of_question(QUESTIONS[0], PASSAGES[:3])
    assert [int((least[1] == number).sum()) for number in range(3)] == [1, 1, 1]
    with pytest.raises(ModelError, match=r"teacher\.max_length_tokens: expected room for 3 passages and a question of"):
        CausalAttention(model, tokenizer, max_length_tokens=ends + 3).of_question(QUESTIONS[0], PASSAGES[:3])


def test_recording_changes_nothing_and_leaves_nothing_behind(kind):
    model, tokenizer = tiny_causal(kind)
    ids, before = torch.tensor([[5, 6, 7, 8]]), model.config._attn_implementation
    with torch.no_grad():
        logits = model(input_ids=ids).logits
        first, _ = CausalAttention(model, tokenizer).of_question(QUESTIONS[0], PASSAGES[:2])
        second, _ = CausalAttention(model, tokenizer).of_question(QUESTIONS[0], PASSAGES[:2])
        assert torch.equal(model(input_ids=ids).logits, logits)
    assert torch.equal(first, second)
    assert model.config._attn_implementation == before


def test_by_hand_tokens_far_below_the_mean_are_left_out():
    of_token = torch.tensor([[0.5, 0.5, 0.5, 0.5, 0.5, -9.0, 9.0, 1.0], [0.5, 0.5, 0.5, 0.5, 0.5, -9.0, 9.0, 2.0]])
    owner = torch.tensor([0, 0, 0, 0, 0, 0, -1, 1])
    assert passage_attention(of_token, owner, num_passages=2).tolist() == [5.0, 3.0]


def test_heads_that_look_at_useful_passages_are_the_best():
    mass = [torch.tensor([[0.1, 0.9], [0.5, 0.4], [0.3, 0.3]]), torch.tensor([[0.9, 0.0, 0.1], [0, 1, 1], [1, 2, 1.5]])]
    useful = [torch.tensor([True, False]), torch.tensor([False, True, True])]
    # Head 0: (0.1 + 0.1) / 2; head 1: (0.5 + 2) / 2; head 2: (0.3 + 3.5) / 2.
    assert best_heads(mass, useful, num_heads=2).tolist() == [2, 1]
    assert best_heads(mass, useful, num_heads=9).tolist() == [2, 1, 0]


def test_chosen_heads_alone_are_asked(kind, tmp_path):
    plain = tiny_readings(tmp_path)
    answers = {3: ("Rome",), 4: ("Paris",), 5: ("the",)}
    readings = replace(
        plain, questions=[replace(q, answers=answers.get(index, ())) for index, q in enumerate(plain.questions)]
    )
    model, tokenizer = tiny_causal(kind)
    found = list(CausalAttention(model, tokenizer, num_heads=2).relevance(readings))
    # Only the questions 3 and 4 have passages both with and without an answer: their second and their third.
    scores = 0
    for index, useful in ((3, 1), (4, 2)):
        assert answers[index][0] in readings.passages(index)[useful].text
        (asked, owner), (empty, _) = (
            eager_rows(kind, text, readings.passages(index), 10_000) for text in (plain.questions[index].text, "N/A")
        )
        mine = torch.tensor(owner) == useful
        scores = scores + (asked - empty).flatten(0, 1)[:, mine].sum(dim=1)
    heads = scores.topk(2).indices.tolist()
    expected = by_hand(kind, readings.questions[2].text, readings.passages(2), heads=heads)
    assert list(found[2].relevance) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ModelError, match=r"teacher\.num_heads: expected questions with an answer"):
        list(CausalAttention(model, tokenizer, num_heads=2).relevance(plain))


@pytest.mark.parametrize("last", [0, 1])
def test_the_model_runs_no_further_than_the_last_layer_that_matters(kind, last):
    """What is recorded is the same, and layers behind it are never run, neither for passages nor for questions."""
    model, tokenizer = tiny_causal(kind)
    blocks = model.model.layers if kind == "llama" else model.transformer.h
    ran = [[] for _ in blocks]
    for number, block in enumerate(blocks):
        block.register_forward_pre_hook(lambda module, inputs, number=number: ran[number].append(1))
    teacher = CausalAttention(model, tokenizer)
    whole, owner = teacher.of_question(QUESTIONS[0], PASSAGES[:3])
    for runs in ran:
        assert len(runs) == 3
        runs.clear()
    part, same = teacher.of_question(QUESTIONS[0], PASSAGES[:3], last_layer=last)
    torch.testing.assert_close(part, whole[: last + 1], rtol=0, atol=0)
    assert torch.equal(same, owner)
    assert [len(runs) for runs in ran] == [3] * (last + 1) + [0] * (len(blocks) - last - 1)


def test_named_heads_are_asked_and_others_refused(kind, tmp_path):
    readings, (model, tokenizer) = tiny_readings(tmp_path), tiny_causal(kind)
    found = list(CausalAttention(model, tokenizer, heads=[(1, 1), (0, 0)]).relevance(readings))
    per_layer = model.config.num_attention_heads
    expected = by_hand(kind, readings.questions[3].text, readings.passages(3), heads=[per_layer + 1, 0])
    assert list(found[3].relevance) == pytest.approx(expected, abs=1e-5)
    blocks = model.model.layers if kind == "llama" else model.transformer.h
    blocks[1].register_forward_pre_hook(lambda module, inputs: pytest.fail("no head of this layer is asked"))
    list(CausalAttention(model, tokenizer, heads=[(0, 0)]).relevance(readings))
    for layer, head in ((len(blocks), 0), (0, per_layer), (9, 1)):
        with pytest.raises(ModelError, match=rf"teacher\.heads: expected heads of \d layers .* got {layer}\.{head};"):
            CausalAttention(model, tokenizer, heads=[(0, 0), (layer, head)])


def test_a_passage_without_a_title_begins_with_its_text_and_ends_with_a_gap(kind, monkeypatch):
    model, tokenizer = tiny_causal(kind)
    encode, texts = tokenizer.encode, []
    monkeypatch.setattr(tokenizer, "encode", lambda text, **rest: texts.append(text) or encode(text, **rest))
    CausalAttention(model, tokenizer).of_question(QUESTIONS[0], [replace(PASSAGES[0], title=""), PASSAGES[1]])
    assert f"{PASSAGES[0].text}\n\n" in texts
    assert f"song\n{PASSAGES[1].text}\n\n" in texts


def test_heads_are_chosen_by_answers_of_the_language_and_on_the_first_few_questions_that_tell(kind, monkeypatch):
    found = {"a": ["首都是北京。", "Anna wrote the red book"], "b": ["Cora", "北京"], "c": ["Ghent", "北京 north"]}

    class Few:
        questions: ClassVar = [Question(id=name, text=QUESTIONS[0], answers=("北京",)) for name in found]

        def passages(self, index):
            return [Passage(id=text, title="", text=text) for text in found["abc"[index]]]

        def __len__(self):
            return len(found)

    model, tokenizer = tiny_causal(kind)
    monkeypatch.setattr(causal_attention, "_NUM_EXAMPLES", 2)
    asked = []
    chinese = CausalAttention(model, tokenizer, num_heads=1, language="zh")
    of_question = chinese.of_question
    monkeypatch.setattr(chinese, "of_question", lambda text, read: asked.append(read) or of_question(text, read))
    assert len(chinese.choose_heads(Few())) == 1
    assert asked == [Few().passages(0), Few().passages(1)]
    asked.clear()
    plain = CausalAttention(model, tokenizer, num_heads=1)  # words between spaces: of the first there is none
    of_question = plain.of_question
    monkeypatch.setattr(plain, "of_question", lambda text, read: asked.append(read) or of_question(text, read))
    plain.choose_heads(Few())
    assert asked == [Few().passages(1), Few().passages(2)]


@pytest.mark.parametrize("scaling", [None, 0.3])
@pytest.mark.parametrize("masked", [False, True])
def test_by_hand_a_token_looks_at_what_stands_before_it_and_is_not_masked(scaling, masked):
    """Two heads of queries share one of keys; two tokens ask, of five that are seen."""
    draw = torch.Generator().manual_seed(0)
    query, key = torch.randn(1, 2, 2, 3, generator=draw), torch.randn(1, 1, 5, 3, generator=draw)
    mask = torch.ones(1, 1, 2, 5, dtype=torch.bool)
    mask[..., 1] = False
    found = causal_attention._looked_at(query, key, mask if masked else None, scaling)
    for head in range(2):
        expected = [0.0] * 5
        for row, number in ((0, 4), (1, 5)):  # the fourth token sees four, the fifth all
            seen = [place for place in range(number) if not (masked and place == 1)]
            weights = [math.exp((query[0, head, row] @ key[0, 0, p]).item() * (scaling or 3**-0.5)) for p in seen]
            for place, weight in zip(seen, weights, strict=True):
                expected[place] += weight / sum(weights) / 2
        assert found[head].tolist() == pytest.approx(expected, abs=1e-6)
