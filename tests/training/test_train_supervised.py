"""The baseline: its loss by a loop, its negatives by hand, and that it learns, repeats itself and goes on."""

import math

import pytest
import torch

from dogeared.data.corpus import build_corpus
from dogeared.errors import TrainingError
from dogeared.evaluation.answers import AnswerMatcher
from dogeared.records import Passage, Question, Ranking
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.retrieval.encoder_models import routes
from dogeared.training import loop
from dogeared.training.dropout import set_dropout
from dogeared.training.train_supervised import (
    Example,
    SupervisedStudent,
    SupervisedTraining,
    find_examples,
    supervised_batch,
    train_supervised,
)
from step_of_learning import gradients, held_at_every_chunk

SETTINGS = SupervisedTraining(
    steps=3, questions_per_step=3, learning_rate=1e-2, precision="fp32", dropout=0.0, save_every_seconds=0.0
)


@pytest.fixture
def load(tiny_models):
    def load(**settings):
        return DualEncoder.load(RetrieverSettings(model=str(tiny_models / "encoder"), max_length_tokens=32, **settings))

    return load


def passage(name, text, title=""):
    return Passage(id=name, title=title, text=text)


RIGHT = passage("right", "she was born in Paris")
SHARED = passage("shared", "Paris is where he was born too")
OTHER = passage("other", "he was born in London")
WRONG = passage("wrong", "a river and a lake")
COPY = passage("copy", WRONG.text)


def example(name, text, answer, positive, *negatives):
    question = Question(id=name, text=text, answers=(answer,))
    return Example(question=question, positive=positive, negatives=negatives)


EXAMPLES = [
    example("a", "where was she born", "Paris", RIGHT, WRONG),
    example("b", "where was he born", "Paris", SHARED, OTHER),
    example("c", "who lived in London", "London", OTHER, COPY),
]


def batch_of(encoder, examples=EXAMPLES, settings=SETTINGS):
    return supervised_batch(encoder, examples, settings, AnswerMatcher())


def test_what_is_right_for_a_question_is_never_its_negative_and_each_text_counts_once(load):
    batch = batch_of(load())
    # right, wrong, shared, other; the copy of "wrong" is the same text.
    assert batch.positive.tolist() == [0, 2, 3]
    assert batch.is_negative.int().tolist() == [[0, 1, 0, 1], [0, 1, 0, 1], [1, 1, 1, 0]]
    assert batch.weight == 3


def test_a_positive_that_two_questions_share_is_no_negative_of_either(load):
    twins = [example(name, name, name, RIGHT, WRONG) for name in ("x", "y")]
    batch = batch_of(load(), twins)
    assert batch.positive.tolist() == [0, 0]
    assert batch.is_negative.int().tolist() == [[0, 1], [0, 1]]


def test_gold_settings_go_by_id_and_by_the_text_of_the_positive(load):
    gold = SETTINGS.model_copy(update={"positives": "gold"})
    same = passage("same", RIGHT.text, title="elsewhere")
    examples = [
        Example(question=Question(id="a", text="a", gold=("right",), near_gold=("shared",)), positive=RIGHT,
                negatives=(WRONG,)),
        Example(question=Question(id="b", text="b", gold=("shared",)), positive=SHARED, negatives=(same,)),
    ]  # fmt: skip
    batch = batch_of(load(), examples, gold)
    # right, wrong, shared, same: near-gold and the positive's text under another title do not stand against "a".
    assert batch.is_negative.int().tolist() == [[0, 1, 0, 0], [1, 1, 0, 1]]


@pytest.mark.parametrize(("similarity", "temperature"), [("dot", 32**0.5), ("cosine", 0.05)])
def test_the_loss_is_the_cross_entropy_of_a_loop_over_all_pairs(load, similarity, temperature):
    encoder = load(similarity=similarity).eval()
    batch = batch_of(encoder)
    with torch.inference_mode():
        loss = SupervisedStudent(encoder, SETTINGS)(batch).item()
    texts = [RIGHT, WRONG, SHARED, OTHER]
    total = 0.0
    for row, example in enumerate(EXAMPLES):
        (query,) = encoder.model.encode_query([example.question.text], convert_to_numpy=True)
        powers = []
        for column, one in enumerate(texts):
            (vector,) = encoder.model.encode_document([f"context: {one.text}"], convert_to_numpy=True)
            power = math.exp(float(query @ vector) / temperature)
            if one is example.positive:
                right = power
            elif not batch.is_negative[row, column]:
                continue
            powers.append(power)
        total -= math.log(right / sum(powers))
    assert loss == pytest.approx(total / 3, rel=1e-4)


def test_padding_of_longer_neighbours_bears_on_nothing(load):
    encoder = load().eval()
    long = example("long", "where " * 20, "sea", passage("sea", "the sea " * 10))
    with torch.inference_mode():
        alone = SupervisedStudent(encoder, SETTINGS).score(batch_of(encoder))
        beside = SupervisedStudent(encoder, SETTINGS).score(batch_of(encoder, [*EXAMPLES, long]))
    torch.testing.assert_close(beside[:3, :4], alone, atol=1e-5, rtol=0)


def longer(number):
    """A question, and passages of other lengths than those of other numbers."""
    right = passage(f"right {number}", f"{number} " + "in Paris " * (number + 1))
    wrong = passage(f"wrong {number}", f"{number} " + "a river and a lake " * (6 - number))
    return example(str(number), "where was she born " * (number % 3 + 1), "Paris", right, wrong)


MANY = [longer(number) for number in range(6)]


@pytest.mark.parametrize("encoders", ["shared", "separate", "query_only"])
def test_cached_gradients_are_those_of_the_plain_loss(load, encoders):
    """In other chunks; then in the same, where dropout falls alike too."""
    encoder = load(encoders=encoders).train()
    chunked = SETTINGS.model_copy(update={"chunk_tokens": 40})
    batch = batch_of(encoder, MANY, chunked)
    assert len(batch.queries) > 1 and len(batch.passages) > 4
    set_dropout(encoder, 0.0)
    plain_loss, plain = gradients(SupervisedStudent(encoder, SETTINGS), batch_of(encoder, MANY))
    loss, cached = gradients(SupervisedStudent(encoder, chunked), batch)
    assert loss == pytest.approx(plain_loss, abs=1e-6)
    assert cached.keys() == plain.keys()
    for name, value in plain.items():
        torch.testing.assert_close(cached[name], value, atol=1e-6, rtol=1e-5)  # added up in another order
    set_dropout(encoder, 0.4)
    once, twice = (gradients(SupervisedStudent(encoder, one), batch) for one in (SETTINGS, chunked))
    assert once[0] == twice[0] != loss
    for name, value in once[1].items():
        torch.testing.assert_close(twice[1][name], value, atol=1e-7, rtol=0)


@pytest.mark.parametrize("chunk_tokens", [40, 0])
def test_only_one_chunk_s_activations_are_in_memory(load, chunk_tokens):
    encoder = load().train()
    batch = batch_of(encoder, MANY, SETTINGS.model_copy(update={"chunk_tokens": 40}))
    student = SupervisedStudent(encoder, SETTINGS.model_copy(update={"chunk_tokens": chunk_tokens}))
    counts = held_at_every_chunk(encoder, 64, lambda: student(batch))
    num_chunks = len(batch.passages) + len(batch.queries)
    assert num_chunks > 6
    if chunk_tokens:
        assert len(counts) == 2 * num_chunks, "each chunk is encoded twice"
        assert max(counts) <= 2
    else:
        assert len(counts) == num_chunks == max(counts)


def test_a_baseline_trained_by_chunks_is_another_artifact_only_where_it_is_asked_for():
    assert "chunk_tokens" not in SETTINGS.model_dump()
    assert SupervisedTraining(chunk_tokens=40).model_dump()["chunk_tokens"] == 40


def trained(load, folder, examples=EXAMPLES, **changes):
    encoder = load()
    state = train_supervised(encoder, examples, SETTINGS.model_copy(update=changes), seed=1, folder=folder)
    return encoder, state


def test_parameters_change_the_loss_falls_and_each_question_finds_its_own(load, tmp_path):
    before = {name: value.clone() for name, value in load().named_parameters()}
    encoder, state = trained(load, tmp_path, steps=40)
    # The pooler of a plain BERT stands behind the pooling and has no part in it.
    unchanged = {name for name, value in encoder.named_parameters() if torch.equal(before[name], value)}
    assert all("pooler" in name for name in unchanged)
    assert state.losses[-1] < 0.1 < state.losses[0]
    batch = batch_of(encoder)
    with torch.inference_mode():
        score = SupervisedStudent(encoder, SETTINGS).score(batch)
    for row, right in enumerate(batch.positive.tolist()):
        assert score[row, right] > score[row][batch.is_negative[row]].max()


def vectors(encoder):
    encoder.eval()
    with torch.inference_mode():
        return encoder.embed(batch_of(encoder).queries), encoder.embed(batch_of(encoder).passages)


def test_two_encoders_part_and_are_saved_and_loaded(load, tmp_path):
    encoder = load(encoders="separate")
    before = vectors(encoder)
    train_supervised(encoder, EXAMPLES, SETTINGS, seed=1, folder=tmp_path / "work")
    sides = [dict(side.named_parameters()) for side in routes(encoder.model).values()]
    learned = {name for name in sides[0] if name.endswith("weight") and "pooler" not in name}
    assert learned and not any(torch.equal(sides[0][name], sides[1][name]) for name in learned)
    trained = vectors(encoder)
    assert all((one - other).abs().max() > 1e-2 for one, other in zip(trained, before, strict=True))
    encoder.save(tmp_path / "saved")
    again = DualEncoder.load(RetrieverSettings(model=str(tmp_path / "saved"), max_length_tokens=32))
    assert again.has_two_encoders
    for one, other in zip(vectors(again), trained, strict=True):
        assert torch.equal(one, other)


def weights(encoder):
    return {name: value.clone() for name, value in encoder.state_dict().items()}


def test_the_same_seed_makes_the_same_bits_and_a_training_that_broke_down_too(load, tmp_path, monkeypatch):
    first, state = trained(load, tmp_path / "a", questions_per_step=2)
    second, _ = trained(load, tmp_path / "b", questions_per_step=2)
    step, done = loop._step, []

    def failing(*arguments):
        if len(done) == 2:
            raise OSError("the disk is gone")
        done.append(None)
        return step(*arguments)

    with monkeypatch.context() as patched, pytest.raises(OSError, match="the disk is gone"):
        patched.setattr(loop, "_step", failing)
        trained(load, tmp_path / "c", questions_per_step=2)
    third, again = trained(load, tmp_path / "c", questions_per_step=2)
    assert state.losses == again.losses
    for name, value in weights(first).items():
        assert torch.equal(value, weights(second)[name]) and torch.equal(value, weights(third)[name]), name


@pytest.fixture
def corpus(tmp_path):
    return build_corpus([RIGHT, SHARED, OTHER, WRONG, COPY], tmp_path / "corpus")


def ranked(*names):
    return {"q": Ranking(question_id="q", passage_ids=names, scores=tuple(float(-rank) for rank in range(len(names))))}


def ids(examples):
    return [(one.positive.id, [negative.id for negative in one.negatives]) for one in examples]


def test_positives_hold_the_answer_and_negatives_are_the_first_that_do_not(corpus):
    question = Question(id="q", text="?", answers=("Paris",), gold=("other",))
    rankings = ranked("wrong", "shared", "other", "right", "copy")
    two = SETTINGS.model_copy(update={"hard_negatives": 2})
    assert ids(find_examples([question], rankings, corpus, two)) == [("shared", ["wrong", "other"])]
    none = SETTINGS.model_copy(update={"hard_negatives": 0, "num_passages": 2})
    assert ids(find_examples([question], rankings, corpus, none)) == [("shared", [])]


def test_gold_is_looked_at_only_where_it_is_asked_for(corpus, caplog):
    rankings = ranked("wrong", "shared", "right")
    question = Question(id="q", text="?", answers=("Paris",), gold=("other",))
    without = Question(id="q", text="?", answers=("Paris",))
    by_answer = [ids(find_examples([one], rankings, corpus, SETTINGS)) for one in (question, without)]
    assert by_answer[0] == by_answer[1] == [("shared", ["wrong"])]
    assert "supervised" not in caplog.text
    gold = SETTINGS.model_copy(update={"positives": "gold", "hard_negatives": 3})
    # What holds an answer is no hard negative, gold or not.
    assert ids(find_examples([question], rankings, corpus, gold)) == [("other", ["wrong"])]
    assert "the positives are gold passages: this is a supervised baseline" in caplog.text


def test_questions_without_a_positive_are_counted_aloud(corpus, load, tmp_path, caplog):
    known = Question(id="q", text="?", answers=("Paris",))
    unknown = Question(id="r", text="?", answers=("Rome",))
    examples = find_examples([known, unknown], ranked("right"), corpus, SETTINGS)
    assert ids(examples) == [("right", [])]
    assert "1 of 2 training questions have no positive and teach nothing" in caplog.text
    with pytest.raises(TrainingError, match="expected training questions with a right passage"):
        train_supervised(load(), [], SETTINGS, seed=0, folder=tmp_path)
    alone = SETTINGS.model_copy(update={"questions_per_batch": 1})
    with pytest.raises(TrainingError, match="passages to stand against a positive"):
        train_supervised(load(), examples, alone, seed=0, folder=tmp_path)


def test_a_bad_loss_names_its_questions(load, tmp_path):
    encoder = load()
    with torch.no_grad():
        next(encoder.parameters()).fill_(math.nan)
    order = loop.items_of_step(0, num_items=3, items_per_step=3, seed=5)
    names = ", ".join(repr(EXAMPLES[index].question.id) for index in order)
    with pytest.raises(TrainingError, match=f"train baseline: the loss of step 1, .* Its questions: {names}[.]"):
        train_supervised(encoder, EXAMPLES, SETTINGS, seed=5, folder=tmp_path)
