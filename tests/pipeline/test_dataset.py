"""A user's files become a dataset: whatever is guessed is said aloud, and what would go wrong later goes wrong here."""

import json
import tracemalloc

import pytest

from dogeared.errors import ArtifactError, DataError
from dogeared.pipeline.dataset import Dataset, prepare_data
from dogeared.records import Question, Ranking

PASSAGES = [{"id": "p1", "title": "One", "text": "first text"}, {"id": "p2", "title": "", "text": "second text"}]
QUESTIONS = [
    {"id": "a", "question": "which is first?", "answers": ["first"], "split": "train", "gold": ["p1"]},
    {"id": "b", "question": "which is second?", "answers": ["second"], "split": "dev"},
    {"id": "c", "question": "which is third?", "split": "test", "gold": ["p2"], "near_gold": ["p1"]},
]


def write(folder, name, rows):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


def prepare(folder, questions=QUESTIONS, passages=PASSAGES, **arguments):
    prepare_data(
        folder / "data",
        questions=write(folder, "questions.jsonl", questions),
        passages=None if passages is None else write(folder, "passages.jsonl", passages),
        **arguments,
    )
    return Dataset.open(folder / "data")


def changed(index, **changes):
    rows = [dict(row) for row in QUESTIONS]
    rows[index] |= changes
    return rows


def test_questions_passages_and_splits_come_back(tmp_path):
    dataset = prepare(tmp_path)
    assert dataset.split("test") == [
        Question(id="c", text="which is third?", answers=(), split="test", gold=("p2",), near_gold=("p1",))
    ]
    assert [question.id for question in dataset.questions] == ["a", "b", "c"]
    assert [passage.title for passage in dataset.corpus.passages([0, 1])] == ["One", ""]
    assert dataset.passage_texts(["p2", "p1"]) == ["second text", "first text"]
    facts = json.loads((tmp_path / "data" / "manifest.json").read_text())["facts"]
    assert facts["num_questions"] == {"train": 1, "dev": 1, "test": 1}
    assert (facts["num_passages"], facts["num_without_answers"], facts["num_skipped"]) == (2, 1, 0)
    assert facts["splits_given"] is True
    assert facts["cost"]["seconds"] >= 0
    with pytest.raises(DataError, match='start = "given" wants a ranking, and none of the corpus came'):
        dataset.given_rankings()


def test_splits_that_were_dealt_are_said_aloud(tmp_path, caplog):
    rows = [{"id": str(n), "question": f"number {n}?", "answers": ["first"]} for n in range(60)]
    dataset = prepare(tmp_path, rows)
    counts = {split: len(dataset.split(split)) for split in ("train", "dev", "test")}
    assert sum(counts.values()) == 60
    listed = ", ".join(f"{count} {split}" for split, count in counts.items())
    assert f"says no splits; dealt by seed 0 into {listed}" in caplog.text


def test_splits_that_were_given_are_not_talked_of(tmp_path, caplog):
    prepare(tmp_path)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        (changed(1, split="train"), "expected questions in the split dev to choose the best round by, found 2 train"),
        (changed(0, split="test"), "expected questions in the split train to learn from, found 0 train, 1 dev, 2 test"),
        (changed(1, answers=[]), "expected answers to the 1 dev questions, found none; .* gold passages never choose"),
        (changed(1, answers=[], gold=["p2"]), "expected answers to the 1 dev questions, found none"),
        (changed(2, gold=["p9"]), "question 'c' names the passage 'p9', which the corpus does not hold"),
        (changed(0, near_gold=["p1", "p9"]), r"near_gold\[1\]: question 'a' names the passage 'p9'"),
        ([*QUESTIONS[:2], {"id": "c", "question": "no split?"}], "expected all questions to carry a split or none"),
        (changed(2, id="a"), "expected each id once, found 'a' a second time"),
    ],
)
def test_data_that_cannot_work_are_refused(tmp_path, questions, message):
    with pytest.raises(DataError, match=message):
        prepare(tmp_path, questions)
    assert not (tmp_path / "data").exists()


def test_without_test_questions_the_results_are_those_on_dev(tmp_path, caplog):
    prepare(tmp_path, QUESTIONS[:2])
    assert "has no test questions; the results are those on dev alone" in caplog.text


def test_a_bad_row_stops_or_is_left_out_and_listed(tmp_path, caplog):
    questions = [*QUESTIONS, {"id": "d", "question": 5, "split": "train"}]
    passages = [*PASSAGES, {"id": "p3", "title": "no text"}]
    with pytest.raises(DataError, match=r"questions\.jsonl:4: question"):
        prepare(tmp_path, questions, passages)
    dataset = prepare(tmp_path, questions, passages, skip_bad_rows=True)
    assert (len(dataset.questions), len(dataset.corpus)) == (3, 2)
    lines = [json.loads(line) for line in (tmp_path / "data" / "skipped.jsonl").read_text().splitlines()]
    assert [(line["file"].rsplit("/", 1)[1], line["line"], line["field"]) for line in lines] == [
        ("questions.jsonl", 4, "question"),
        ("passages.jsonl", 3, "text"),
    ]
    assert "2 bad rows were left out; skipped.jsonl lists them" in caplog.text


def test_passages_and_rankings_can_come_with_the_questions(tmp_path):
    one, two = PASSAGES
    questions = [
        {**QUESTIONS[0], "ctxs": [{**one, "score": 1.5}, {**two, "score": 2.5}]},
        {**QUESTIONS[1], "ctxs": [two]},
        {**QUESTIONS[2], "ctxs": [one, two]},
    ]
    dataset = prepare(tmp_path, questions, passages=None)
    assert [passage.id for passage in dataset.corpus.passages([0, 1])] == ["p2", "p1"]
    assert dataset.given_rankings() == [
        Ranking(question_id="a", passage_ids=("p2", "p1"), scores=(2.5, 1.5)),
        Ranking(question_id="b", passage_ids=("p2",), scores=(0.0,)),
        Ranking(question_id="c", passage_ids=("p1", "p2"), scores=(0.0, -1.0)),
    ]


def test_without_a_file_of_passages_questions_must_bring_them(tmp_path):
    with pytest.raises(DataError, match=r"expected passages with the questions .* give a file with --passages"):
        prepare(tmp_path, passages=None)


def test_two_passages_of_one_id_are_refused(tmp_path):
    other = {**PASSAGES[0], "text": "another text"}
    questions = [{**QUESTIONS[0], "ctxs": PASSAGES}, {**QUESTIONS[1], "ctxs": [other]}, QUESTIONS[2]]
    with pytest.raises(DataError, match=r"two different ones for 'p1' .the second with question 'b'"):
        prepare(tmp_path, questions, passages=None)


def test_a_run_of_trec_is_a_ranking_to_start_from(tmp_path):
    run = tmp_path / "start.run"
    run.write_text("a Q0 p1 1 0.5 x\na Q0 p2 2 0.7 x\nb Q0 p2 1 3 x\nc Q0 p1 1 1 x\n")
    questions = [
        {**QUESTIONS[0], "ctxs": PASSAGES},
        *QUESTIONS[1:],
    ]  # the file of rankings wins over the questions' own
    dataset = prepare(tmp_path, questions, ranking=run)
    assert dataset.given_rankings()[0] == Ranking(question_id="a", passage_ids=("p2", "p1"), scores=(0.7, 0.5))
    assert [ranking.question_id for ranking in dataset.given_rankings()] == ["a", "b", "c"]


def test_a_ranking_of_another_corpus_is_refused(tmp_path):
    run = tmp_path / "start.run"
    run.write_text("a Q0 p7 1 0.5 x\n")
    with pytest.raises(
        DataError, match="the ranking of question 'a' names the passage 'p7', which is not in the corpus"
    ):
        prepare(tmp_path, ranking=run)


def test_passages_that_come_with_questions_are_no_ranking_of_another_corpus(tmp_path, caplog):
    other = {"id": "wiki:1", "title": "t", "text": "some other text"}
    dataset = prepare(tmp_path, [{**QUESTIONS[0], "ctxs": [other]}, *QUESTIONS[1:]])
    assert (
        "the ranking of question 'a' names the passage 'wiki:1', which is not in the corpus; what came" in caplog.text
    )
    assert len(dataset.corpus) == len(PASSAGES)
    with pytest.raises(DataError, match="none of the corpus came with the questions"):
        dataset.given_rankings()


def test_a_question_whose_gold_is_not_there_is_a_bad_row(tmp_path, caplog):
    questions = [*QUESTIONS, {**QUESTIONS[0], "id": "d", "gold": ["nowhere"]}]
    for name in ("strict", "lenient"):
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=r"questions\.jsonl: gold\[0\]: question 'd' names the passage 'nowhere'"):
        prepare(tmp_path / "strict", questions)
    dataset = prepare(tmp_path / "lenient", questions, skip_bad_rows=True)
    assert [question.id for question in dataset.questions] == ["a", "b", "c"]
    assert "1 bad rows were left out" in caplog.text


def test_lists_that_are_all_empty_are_no_ranking(tmp_path):
    """FiD's tools want ctxs of every question, so they are there where nothing was searched for."""
    dataset = prepare(tmp_path, [{**one, "ctxs": []} for one in QUESTIONS])
    with pytest.raises(DataError, match="none of the corpus came with the questions"):
        dataset.given_rankings()


def test_what_was_prepared_is_not_read_again_and_other_files_are_refused(tmp_path):
    prepare(tmp_path)
    made = (tmp_path / "data" / "manifest.json").stat().st_mtime_ns
    prepare(tmp_path)
    assert (tmp_path / "data" / "manifest.json").stat().st_mtime_ns == made
    with pytest.raises(ArtifactError, match="seed: 0 -> 1"):
        prepare(tmp_path, seed=1)
    with pytest.raises(ArtifactError, match="input questions: "):
        prepare(tmp_path, changed(0, question="other?"))
    with pytest.raises(ArtifactError, match=r'input passages: ".*" -> absent'):
        prepare(tmp_path, passages=None)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.jsonl: expected a file that can be read"):
        prepare_data(tmp_path / "data", questions=tmp_path / "absent.jsonl")


def test_passages_that_come_with_questions_are_not_held_in_memory(tmp_path):
    file = tmp_path / "fid.jsonl"
    with file.open("w", encoding="utf-8") as out:
        for number in range(2000):
            ctxs = [
                {"id": f"p{number}-{place}", "title": "t", "text": f"{number} {place} " + "word " * 400}
                for place in range(20)
            ]
            split = "dev" if number % 10 == 0 else "train"
            row = {"id": f"q{number}", "question": "what", "answers": ["word"], "ctxs": ctxs, "split": split}
            out.write(json.dumps(row) + "\n")
    assert file.stat().st_size > 60_000_000
    tracemalloc.start()
    prepare_data(tmp_path / "data", questions=file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30_000_000
    assert len(Dataset.open(tmp_path / "data").corpus) == 40_000
