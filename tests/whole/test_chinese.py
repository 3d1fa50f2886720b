"""The whole way in Chinese, from passages alone to a report: no model, no word list and no setting that says so."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dogeared import api
from dogeared.data.formats import iter_passages, iter_questions
from dogeared.retrieval.bm25 import BM25Retriever, BM25Settings

ROOT = Path(__file__).parent.parent.parent
DATA = ROOT.parent / "shared" / "data"

NAMES = "赵钱孙李周吴郑王冯陈褚卫"
CITIES = "北南东西中高青白黄长汉江"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twelve people, each with a passage, of whom the first eight are asked about to train with."""
    folder = tmp_path_factory.mktemp("chinese")
    passages, questions = [], []
    for number, (name, city) in enumerate(zip(NAMES, CITIES, strict=True)):
        person, place, year = f"{name}先生", f"{city}州市", 1900 + number
        text = (
            f"{person}于{year}年出生在{place}。他小时候在当地上学\uff0c后来成为一名教师。"
            f"他写了很多书\uff0c其中最有名的一本讲的是{place}的历史。"
        )
        passages.append({"id": f"p{number}", "title": person, "text": text})
        split = "train" if number < 8 else "dev" if number < 10 else "test"
        asked = {
            f"{person}在哪里出生\uff1f": place,
            f"{person}哪一年出生\uff1f": f"{year} 年",
        }
        for part, (question, answer) in enumerate(asked.items()):
            row = {"id": f"q{number}-{part}", "question": question, "answers": [answer]}
            questions.append({**row, "gold": [f"p{number}"], "split": split})
    for name, rows in (("passages", passages), ("questions", questions)):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def encoder(data):
    """What the script makes of the passages alone, in a few steps."""
    script = [sys.executable, str(ROOT / "scripts" / "small_encoder.py"), str(data / "passages.jsonl")]
    size = [
        "--dim",
        "32",
        "--layers",
        "1",
        "--window",
        "32",
        "--batch",
        "8",
        "--max-length",
        "128",
        "--word-steps",
        "2",
        "--pair-steps",
        "2",
    ]
    out = data / "encoder"
    done = subprocess.run([*script, "--out", str(out), *size], capture_output=True, text=True, check=True)
    assert "words, step 2: loss" in done.stdout
    return out


def test_a_run_in_chinese(data, encoder, caplog):
    results = api.run(
        questions=data / "questions.jsonl",
        passages=data / "passages.jsonl",
        out=data / "run",
        preset=None,
        overrides=[
            f"retriever.model={encoder}",
            f"reader.model={encoder}",
            "reader.kind=extractive",
            "teacher.kind=passage_posterior",
            "num_passages=12",
            "reader.num_passages=4",
            "reader.max_length_tokens=128",
            "reader_training.steps=40",
            "reader_training.questions_per_step=8",
            "reader_training.learning_rate=0.005",
            "reader_training.warmup_steps=2",
            "retriever.max_length_tokens=128",
            "retriever_training.steps=2",
            "retriever_training.questions_per_step=4",
            "retriever_training.num_passages=4",
            "rounds.max=1",
        ],
    )
    assert "found Chinese in the questions" in caplog.text
    experiment = json.loads((data / "run" / "experiment.json").read_text(encoding="utf-8"))
    assert (experiment["language"], experiment["bm25"]["language"]) == ("zh", "zh")
    # BM25 finds the person's passage first, by the rare character of the name; answers are found in it whatever blanks.
    first = results["rounds"][0]["retriever"]["test"]
    assert first["success@1"] == first["answer_success@1"] == 1.0
    lines = (data / "run" / "round-0" / "measures" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    predictions = [json.loads(line) for line in lines]
    passages = {passage.text for passage in iter_passages(data / "passages.jsonl")}
    assert all(any(row["prediction"] in text for text in passages) for row in predictions)
    assert any(row["f1"] > 0 for row in predictions)
    assert "先生" in (data / "run" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "least"), [("xquad_zh", 0.9), ("cmrc2018", 0.9)])
def test_bm25_finds_real_chinese_passages(name, least):
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    retriever = BM25Retriever.build(iter_passages(folder / "passages.jsonl"), BM25Settings(language="zh"))
    given = iter_questions(folder / "questions.jsonl", on_error=lambda _: None)
    questions = [one.question for one in given if one.question.split == "test"]
    rankings = retriever.retrieve(questions, 1)
    found = [ranking.passage_ids[:1] == question.gold for ranking, question in zip(rankings, questions, strict=True)]
    assert sum(found) / len(found) > least
