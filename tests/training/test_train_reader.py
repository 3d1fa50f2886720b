"""Training a reader: which questions, which passages and which answers it gets to see."""

from dataclasses import replace

import pytest
import torch

from dogeared.compute import multiplies_bfloat16
from dogeared.data.corpus import build_corpus
from dogeared.data.readings import Readings
from dogeared.errors import TrainingError
from dogeared.evaluation.answers import exact_match
from dogeared.reader.answering import answer_questions
from dogeared.reader.fid import FusionInDecoder, ReaderSettings
from dogeared.records import Passage, Question, Ranking
from dogeared.training import dev_measure, loop
from dogeared.training.optim import adamw
from dogeared.training.train_reader import ReaderTraining, train_reader
from tiny_readers import tiny_reader

SETTINGS = ReaderTraining(steps=3, questions_per_step=4, learning_rate=0.01, precision="fp32", max_gradient_norm=1e9)

PASSAGES = [Passage(id=str(number), title="", text=f"{name} was born in {place} .") for number, (name, place) in
            enumerate([("she", "the north"), ("he", "the south"), ("she", "a house"), ("he", "the sea")])]  # fmt: skip
QUESTIONS = [
    Question(id="north", text="where was she born ?", answers=("the north",)),
    Question(id="south", text="where was he born ?", answers=("the south", "the sea")),
    Question(id="house", text="in which house ?", answers=("a house",)),
    Question(id="nowhere", text="where not ?", answers=("on the roof of the world",)),
]
RANKINGS = {
    "north": ("3", "2", "0", "1"),
    "south": ("0", "1", "2", "3"),
    "house": ("2", "0", "1"),
    "nowhere": ("0", "1"),
}


@pytest.fixture
def reader(tiny_models):
    reader = FusionInDecoder.load(
        ReaderSettings(model=str(tiny_models / "reader"), num_passages=4, max_length_tokens=32, max_answer_tokens=6)
    )
    reader.seen = []
    make = reader.batch

    def noted(questions, passages, *, answers=None, **rest):
        if answers is not None:
            reader.seen.append(list(zip(questions, passages, answers, strict=True)))
        return make(questions, passages, answers=answers, **rest)

    reader.batch = noted
    return reader


def readings(folder, questions=QUESTIONS, passages=PASSAGES, rankings=RANKINGS):
    return Readings(
        questions=questions,
        rankings={
            name: Ranking(question_id=name, passage_ids=ids, scores=(0.0,) * len(ids)) for name, ids in rankings.items()
        },
        corpus=build_corpus(passages, folder / "corpus"),
        num_passages=4,
    )


def train(reader, read, folder, *, seed=1, dev=None, language="en", **changes):
    settings = SETTINGS.model_copy(update=changes)
    return train_reader(reader, read, settings, seed=seed, folder=folder / "work", dev_readings=dev, language=language)


def test_a_reader_changes_and_its_loss_falls(reader, tmp_path):
    before = {name: value.detach().clone() for name, value in reader.named_parameters()}
    state = train(reader, readings(tmp_path), tmp_path, steps=30)
    assert sum(state.losses[-5:]) < sum(state.losses[:5]) / 2
    assert not any(torch.equal(before[name], value) for name, value in reader.named_parameters())


@pytest.mark.skipif(
    not multiplies_bfloat16(torch.device("cpu")), reason="this processor multiplies no matrices in bfloat16"
)
def test_a_reader_trained_in_bfloat16_learns_as_in_float32(reader, tmp_path):
    start = {name: value.clone() for name, value in reader.state_dict().items()}
    losses, moved = [], []
    for precision in ("fp32", "bf16"):
        reader.load_state_dict(start)
        folder = tmp_path / precision
        state = train(reader, readings(folder), folder, precision=precision, steps=8)
        losses.append(torch.tensor(state.losses))
        assert all(value.dtype == torch.float32 for value in reader.state_dict().values())
        moved.append(torch.cat([(value - start[name]).flatten() for name, value in reader.named_parameters()]))
    assert losses[1].isfinite().all() and not torch.equal(*losses)
    assert losses[1][-1] < losses[1][0]
    torch.testing.assert_close(*losses, rtol=0.05, atol=0)
    assert torch.cosine_similarity(*moved, dim=0) > 0.9


def test_each_step_reads_all_passages_of_each_question_in_the_order_of_the_ranking(reader, tmp_path):
    train(reader, readings(tmp_path), tmp_path)
    wanted = {question.text: [PASSAGES[int(i)] for i in RANKINGS[question.id]] for question in QUESTIONS}
    assert len(reader.seen) == 3
    for batch in reader.seen:
        assert {text: passages for text, passages, _ in batch} == wanted


def test_the_curriculum_gives_one_passage_that_holds_an_answer(reader, tmp_path):
    train(reader, readings(tmp_path), tmp_path, steps=12, curriculum_steps=10, questions_per_step=3)
    given = [item for batch in reader.seen[:10] for item in batch]
    answers = {question.text: question.answers for question in QUESTIONS}
    for text, passages, _ in given:
        assert len(passages) == 1
        assert any(f" {answer} " in passages[0].text for answer in answers[text])
    # The question that no passage answers waits for the real thing; one with two such passages gets now one, now other.
    assert {text for text, _, _ in given} == {question.text for question in QUESTIONS[:3]}
    assert {passages[0].id for text, passages, _ in given if text == QUESTIONS[1].text} == {"1", "3"}
    assert {len(passages) for batch in reader.seen[10:] for _, passages, _ in batch} <= {2, 3, 4}


def test_a_curriculum_without_any_passage_that_holds_an_answer_is_an_error(reader, tmp_path):
    with pytest.raises(TrainingError, match=r"no ranking of the 1 training questions has one.*curriculum_steps = 0"):
        train(reader, readings(tmp_path, QUESTIONS[3:]), tmp_path, curriculum_steps=1)


def test_answers_are_looked_for_in_the_language_of_the_run(reader, tmp_path):
    read = readings(
        tmp_path,
        [Question(id="q", text="首都?", answers=("北京",))],
        [Passage(id="p", title="", text="首都是北京。"), Passage(id="r", title="", text="首都是东京。")],
        {"q": ("r", "p")},
    )
    with pytest.raises(TrainingError):
        train(reader, read, tmp_path, curriculum_steps=3)
    train(reader, read, tmp_path, curriculum_steps=3, language="zh")
    assert {passages[0].id for batch in reader.seen for _, passages, _ in batch} == {"p"}


def test_questions_without_answers_are_left_out_and_counted_aloud(reader, tmp_path, caplog):
    unanswered = [Question(id=str(number), text=f"unanswered {number} ?") for number in range(2)]
    train(reader, readings(tmp_path, [unanswered[0], *QUESTIONS, unanswered[1]]), tmp_path)
    assert "2 of 6 training questions have no answer" in caplog.text
    assert {text for batch in reader.seen for text, _, _ in batch} == {question.text for question in QUESTIONS}


def test_where_no_question_has_an_answer_there_is_nothing_to_learn(reader, tmp_path):
    unanswered = readings(tmp_path, [Question(id="q", text="why ?")])
    with pytest.raises(TrainingError, match="none of the 1 training questions has one"):
        train(reader, unanswered, tmp_path)
    assert train(reader, unanswered, tmp_path, steps=0).step == 0


def test_answers_are_drawn_anew_and_by_the_seed(reader, tmp_path):
    question = Question(id="south", text="where ?", answers=("the north", "the south", "the sea"))
    read = readings(tmp_path, [question])
    drawn = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        reader.seen.clear()
        train(reader, read, tmp_path / name, steps=8, questions_per_step=2, seed=seed)
        drawn.append([answer for batch in reader.seen for _, _, answer in batch])
    assert set(drawn[0]) == set(question.answers)
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_step_in_parts_has_the_gradient_of_the_whole_though_answers_differ_in_length(reader, tmp_path):
    read = readings(tmp_path)
    gradients = []
    for size in (0, 1, 3):
        seen = {}
        hooks = [
            parameter.register_post_accumulate_grad_hook(
                lambda p, name=name, seen=seen: seen.update({name: p.grad.clone()})
            )
            for name, parameter in reader.named_parameters()
        ]
        start = {name: value.clone() for name, value in reader.state_dict().items()}
        train(reader, read, tmp_path / str(size), steps=1, questions_per_batch=size)
        reader.load_state_dict(start)
        for hook in hooks:
            hook.remove()
        gradients.append(seen)
    assert [len(batch) for batch in reader.seen] == [4, 1, 1, 1, 1, 3, 1]
    whole, *parts = gradients
    assert max(value.abs().max() for value in whole.values()) > 0.01
    for part in parts:
        for name, value in whole.items():
            torch.testing.assert_close(part[name], value, atol=1e-5, rtol=0)


def test_the_best_weights_on_dev_are_kept(reader, tmp_path):
    dev = readings(tmp_path, QUESTIONS[:3])
    state = train(reader, readings(tmp_path), tmp_path, steps=40, dev=dev, evaluate_every_steps=8, evaluate_questions=2)
    assert list(state.evaluations) == [8, 16, 24, 32, 40]
    assert set(state.evaluations.values()) <= {0.0, 0.5, 1.0}, "only two questions are asked"
    part = readings(tmp_path, QUESTIONS[:2])
    right = [exact_match(a, q.answers) for a, q in zip(answer_questions(reader, part), QUESTIONS[:2], strict=True)]
    assert sum(right) / 2 == max(state.evaluations.values()) == state.evaluations[state.best_step]


def test_dev_questions_without_answers_are_passed_over(reader, tmp_path, monkeypatch):
    asked = []

    def noting(reader, read, **named):
        asked.append([question.id for question in read.questions])
        return answer_questions(reader, read, **named)

    monkeypatch.setattr(dev_measure, "answer_questions", noting)
    dev = readings(tmp_path, [*(Question(id=f"open{number}", text="where ?") for number in range(3)), *QUESTIONS[:3]])
    state = train(reader, readings(tmp_path), tmp_path, steps=4, dev=dev, evaluate_every_steps=2, evaluate_questions=2)
    assert list(state.evaluations) == [2, 4]
    assert asked == [["north", "south"]] * 2


@pytest.mark.parametrize("hint_weight", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["t5", "bart", "bert2bert"])
def test_a_decoder_of_any_kind_learns_at_its_pace(kind, hint_weight, tmp_path, monkeypatch):
    made = []

    def noting(*arguments, **named):
        made.append(adamw(*arguments, **named))
        return made[-1]

    monkeypatch.setattr(loop, "adamw", noting)
    any_reader = tiny_reader(kind, tmp_path)
    settings = SETTINGS.model_copy(update={"steps": 0, "decoder_pace": 2.5, "hint_weight": hint_weight})
    train_reader(any_reader, readings(tmp_path), settings, seed=0, folder=tmp_path / "work")
    (optimizer,) = made
    pace_of = {id(one): group["pace"] for group in optimizer.param_groups for one in group["params"]}
    shared = {id(one) for one in any_reader.model.get_encoder().parameters()}
    own = [one for one in any_reader.model.get_decoder().parameters() if id(one) not in shared]
    assert own
    assert {pace_of[id(one)] for one in own} == {2.5}
    assert {pace_of[id(one)] for one in any_reader.model.get_encoder().parameters()} == {1.0}


def test_dev_questions_without_answers_cannot_be_measured_on(reader, tmp_path, caplog):
    dev = readings(tmp_path, [Question(id="north", text="where ?")])
    state = train(reader, readings(tmp_path), tmp_path, dev=dev, evaluate_every_steps=1)
    assert state.evaluations == {}
    assert "evaluate_every_steps bears on nothing" in caplog.text


def test_a_target_that_the_file_names_is_what_is_learned(reader, tmp_path):
    questions = [replace(QUESTIONS[1], target="the sea"), replace(QUESTIONS[0], answers=(), target="a house")]
    settings = SETTINGS.model_copy(update={"steps": 6})
    train_reader(reader, readings(tmp_path, questions), settings, seed=0, folder=tmp_path / "work")
    taught = {(question, answer) for batch in reader.seen for question, _, answer in batch}
    assert taught == {("where was he born ?", "the sea"), ("where was she born ?", "a house")}


def test_the_same_seed_draws_the_same_answers(reader, tmp_path):
    """Of several right answers each comes up, and the same ones in every process and every run."""
    drawn = []
    for number in range(2):
        reader.seen.clear()
        settings = SETTINGS.model_copy(update={"steps": 6})
        train_reader(reader, readings(tmp_path / str(number)), settings, seed=5, folder=tmp_path / f"work-{number}")
        drawn.append([(question, answer) for batch in reader.seen for question, _, answer in batch])
    assert drawn[0] == drawn[1]
    assert {answer for question, answer in drawn[0] if "he born" in question and "she" not in question} == {
        "the south",
        "the sea",
    }
