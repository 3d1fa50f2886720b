"""A run is in the language that its settings say, or that its questions are in; what is found is said."""

import logging

import pytest

from dogeared.errors import ConfigError
from dogeared.pipeline.config import load_experiment
from dogeared.pipeline.dataset import prepare_data
from dogeared.pipeline.language import say_language, settle_language, settle_language_of
from dogeared.records import Question

CHINESE = Question(id="q", text="她在哪里出生", answers=("华沙",))
ENGLISH = Question(id="q", text="Where was she born?", answers=("Warsaw",))


def settled(question, *overrides):
    return settle_language_of(load_experiment(overrides=overrides), [question])


def test_what_is_not_said_is_found():
    chinese = settled(CHINESE)
    assert chinese.settled_language == "zh"
    assert (chinese.bm25.language, chinese.tfidf.language) == ("zh", "none")
    english = settled(ENGLISH)
    assert english.settled_language == "en"
    assert (english.bm25.language, english.tfidf.language) == ("en", "en")


def test_what_is_said_stands():
    assert settled(CHINESE, "language=en").settled_language == "en"
    said = settled(ENGLISH, "language=ja")
    assert (said.settled_language, said.bm25.language) == ("ja", "ja")
    kept = settled(CHINESE, "bm25.language=en", "tfidf.language=en", "bm25.k1=0.9")
    assert (kept.settled_language, kept.bm25.language, kept.bm25.k1, kept.tfidf.language) == ("zh", "en", 0.9, "en")
    assert settled(CHINESE, "bm25.k1=0.9").bm25.language == "zh"


def test_a_language_that_is_still_to_be_found_compares_nothing():
    with pytest.raises(ConfigError, match="set language"):
        _ = load_experiment().settled_language


def prepared(tmp_path, question):
    (tmp_path / "passages.jsonl").write_text('{"id": "p", "text": "\\u534e\\u6c99 Warsaw"}\n')
    row = f'{{"id": "ID", "question": "{question.text}", "answers": ["{question.answers[0]}"], "split": "ID"}}\n'
    lines = "".join(row.replace("ID", split) for split in ("train", "dev", "test"))
    (tmp_path / "questions.jsonl").write_text(lines, encoding="utf-8")
    data = tmp_path / "data"
    prepare_data(data, questions=tmp_path / "questions.jsonl", passages=tmp_path / "passages.jsonl")
    return data


@pytest.mark.parametrize(
    ("question", "language", "level", "said"),
    [
        (CHINESE, "auto", logging.WARNING, "found Chinese in the questions (Han and Kana are 100 % of their words)"),
        (ENGLISH, "auto", logging.INFO, 'so language = "en"'),
        (CHINESE, "en", logging.WARNING, 'the settings say "en", but the questions are in Chinese'),
        (ENGLISH, "zh", logging.WARNING, 'Set language = "en", or leave it out'),
        (CHINESE, "ja", None, ""),
        (ENGLISH, "en", None, ""),
    ],
)
def test_what_is_found_is_said(tmp_path, caplog, question, language, level, said):
    data = prepared(tmp_path, question)
    experiment = load_experiment(overrides=[f"language={language}"])
    with caplog.at_level(logging.INFO, logger="dogeared"):
        caplog.clear()
        say_language(experiment, data)
    assert [record.levelno for record in caplog.records] == ([] if level is None else [level])
    assert said in caplog.text
    found = settle_language(experiment, data).settled_language
    assert found == (language if language != "auto" else "zh" if question is CHINESE else "en")
