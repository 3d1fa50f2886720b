"""BM25 gives the scores of its formula, in any script, and the same ones from disk."""

import itertools
import json
import logging
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from dogeared.errors import ArtifactError, DataError
from dogeared.records import Passage, Question
from dogeared.retrieval import bm25
from dogeared.retrieval.base import Retriever
from dogeared.retrieval.bm25 import BM25Retriever, BM25Settings

PASSAGES = [
    Passage(id="one", title="Rivers", text="the river runs to the sea"),
    Passage(id="two", title="", text="a river and a river and a lake"),
    Passage(id="three", title="Lakes", text="no outlet"),
    Passage(id="four", title="", text="?!"),
]
# The terms of PASSAGES, written out by hand; with language none, every word is one.
TERMS = [
    ["rivers", "the", "river", "runs", "to", "the", "sea"],
    ["a", "river", "and", "a", "river", "and", "a", "lake"],
    ["lakes", "no", "outlet"],
    [],
]


def ask(text, question_id="q"):
    return Question(id=question_id, text=text)


def retrieve(retriever, text, k=10):
    return retriever.retrieve([ask(text)], k)[0]


def bm25_by_hand(query, variant, k1, b):
    lengths = np.array([len(terms) for terms in TERMS])
    scores = np.zeros(len(TERMS))
    for term in query:
        counts = np.array([terms.count(term) for terms in TERMS])
        held = counts > 0
        if held.any():
            count, spread = counts[held], k1 * (1 - b + b * lengths[held] / lengths.mean())
            odds = (len(TERMS) - held.sum() + 0.5) / (held.sum() + 0.5)
            if variant == "lucene":
                scores[held] += math.log(1 + odds) * count / (count + spread)
            elif variant == "robertson":
                scores[held] += max(math.log(odds), 0) * count / (count + spread)
            else:
                scores[held] += math.log(len(TERMS) / held.sum()) * count * (k1 + 1) / (count + spread)
    return scores


@pytest.mark.parametrize("variant", ["lucene", "robertson", "atire"])
@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.9, 0.4), (0.0, 0.0)])
def test_scores_equal_the_formula(variant, k1, b):
    retriever = BM25Retriever.build(PASSAGES, BM25Settings(language="none", variant=variant, k1=k1, b=b))
    query = "lake lake the a unknown outlet"
    expected = bm25_by_hand(query.split(), variant, k1, b)
    found = retrieve(retriever, query)
    names = [passage.id for passage in PASSAGES]
    assert dict(zip(found.passage_ids, found.scores, strict=True)) == pytest.approx(
        {name: score for name, score in zip(names, expected, strict=True) if score > 0}, rel=1e-5
    )
    assert len(found.scores) == 3
    assert list(found.scores) == sorted(found.scores, reverse=True)


def test_rankings_follow_the_questions():
    retriever: Retriever = BM25Retriever.build(PASSAGES)
    rankings = retriever.retrieve([ask("sea", "x"), ask("outlet", "y")], 5)
    assert [(ranking.question_id, ranking.passage_ids) for ranking in rankings] == [("x", ("one",)), ("y", ("three",))]


def test_titles_are_indexed_with_texts():
    assert retrieve(BM25Retriever.build(PASSAGES), "lakes").passage_ids == ("three", "two")


def test_english_words_are_stemmed_and_stop_words_left_out():
    english, plain = BM25Retriever.build(PASSAGES), BM25Retriever.build(PASSAGES, BM25Settings(language="none"))
    assert set(retrieve(english, "The river's RIVERS").passage_ids) == {"one", "two"}
    assert retrieve(english, "the a and").passage_ids == ()
    assert retrieve(plain, "the").passage_ids == ("one",)
    assert retrieve(plain, "run").passage_ids == ()
    assert retrieve(english, "running").passage_ids == ("one",)


@pytest.mark.parametrize("language", ["en", "none"])
def test_words_of_plain_text_are_those_of_any_text(language, monkeypatch):
    plain = [letter for letter in map(chr, range(sys.maxunicode + 1)) if bm25._PLAIN.fullmatch(letter)]
    assert len(plain) >= 0x300 + 0x6A
    texts = [f"The rivers{c}run, {c} {c}tens of {c}{c}s 4{c}2_{c}" for c in plain]
    quick = bm25._Analyzer(language)
    found = [quick.terms(text) for text in texts]
    assert found[ord("-")][:2] == ["river", "run"] or language == "none"
    monkeypatch.setattr(bm25, "_PLAIN_RUN", None)
    monkeypatch.setattr(bm25, "_PLAIN", re.compile("(?!)"))
    assert found == [bm25._Analyzer(language).terms(text) for text in texts]


def test_stems_are_the_same_once_no_more_are_remembered(monkeypatch):
    words = "The ponies, running to ponies and caresses of the runners"
    stems = bm25._Analyzer("en").terms(words)
    assert stems == ["poni", "run", "poni", "caress", "runner"]
    monkeypatch.setattr(bm25, "_NUM_REMEMBERED", 0)
    assert bm25._Analyzer("en").terms(words) == stems


@pytest.mark.parametrize("language", ["en", "zh", "ja", "none"])
def test_a_chinese_sentence_is_found_by_its_parts(language):
    passages = [
        Passage(id="beijing", title="", text="中国的首都是北京。"),
        Passage(id="shanghai", title="", text="上海是中国最大的城市。"),
        Passage(id="swapped", title="", text="京剧在北方流行。"),
    ]
    retriever = BM25Retriever.build(passages, BM25Settings(language=language))
    assert retrieve(retriever, "北京是哪个国家的首都?").passage_ids[0] == "beijing"
    # All of its characters stand in both, but only one holds the pair.
    found = retrieve(retriever, "北京")
    assert found.passage_ids == ("beijing", "swapped")
    assert found.scores[0] > 1.5 * found.scores[1]


def test_japanese_korean_and_mixed_text():
    passages = [
        Passage(id="ja", title="", text="東京タワーは1958年に完成した。"),
        Passage(id="ko", title="", text="서울은 대한민국의 수도이다"),
        Passage(id="mixed", title="NFL", text="在NFL联盟中以\uff31\uff22身份传球308码"),
    ]
    retriever = BM25Retriever.build(passages, BM25Settings(language="zh"))
    for question, passage_id in {
        "ﾀﾜｰ": "ja", "1958": "ja", "수도": "ko", "nfl": "mixed", "qb": "mixed", "308": "mixed", "传球码": "mixed",
    }.items():  # fmt: skip
        assert retrieve(retriever, question).passage_ids == (passage_id,), question


def test_a_small_corpus_gives_short_rankings():
    retriever = BM25Retriever.build(PASSAGES)
    assert len(retrieve(retriever, "river lake sea", k=1000).passage_ids) == 3
    assert len(retrieve(retriever, "river lake sea", k=4).passage_ids) == 3
    assert len(retrieve(retriever, "river lake sea", k=2).passage_ids) == 2


@pytest.mark.parametrize("text", ["", "?!", "unknown words only", "the"])
def test_a_question_without_a_known_word_finds_nothing(text):
    found = retrieve(BM25Retriever.build(PASSAGES), text)
    assert (found.question_id, found.passage_ids, found.scores) == ("q", (), ())


def test_equal_scores_keep_the_order_of_the_corpus_for_every_k():
    texts = ["lake", "river", "lake", "lake lake", "lake", "sea", "lake"]
    retriever = BM25Retriever.build([Passage(id=str(row), title="", text=text) for row, text in enumerate(texts)])
    best_first = ("3", "0", "2", "4", "6")
    for k in range(1, 8):
        assert retrieve(retriever, "lake", k=k).passage_ids == best_first[:k]


def test_the_best_of_many_equal_a_full_sort():
    words = [f"w{number}" for number in range(12)]
    chance = np.random.default_rng(0)
    passages = [
        Passage(id=str(row), title="", text=" ".join(chance.choice(words, size=chance.integers(1, 9))))
        for row in range(300)
    ]
    retriever = BM25Retriever.build(passages)
    everything = retrieve(retriever, "w1 w2 w3", k=300)
    rows = [int(passage_id) for passage_id in everything.passage_ids]
    assert len(set(rows)) == len(rows) > 100
    assert all(
        (-better[0], better[1]) < (-worse[0], worse[1])
        for better, worse in itertools.pairwise(zip(everything.scores, rows, strict=True))
    )
    for k in (1, 7, 50):
        assert retrieve(retriever, "w1 w2 w3", k=k).passage_ids == everything.passage_ids[:k]


def test_a_saved_index_answers_alike(tmp_path):
    built = BM25Retriever.build(iter(PASSAGES), BM25Settings(k1=0.9, b=0.4))
    built.save(tmp_path)
    loaded = BM25Retriever.load(tmp_path)
    assert loaded.settings == BM25Settings(k1=0.9, b=0.4)
    questions = [ask(text) for text in ("river lake", "the sea", "nothing here")]
    assert loaded.retrieve(questions, 3) == built.retrieve(questions, 3)
    assert isinstance(loaded._index.scores["data"], np.memmap)


def test_a_saved_index_holds_no_pickle(tmp_path):
    BM25Retriever.build(PASSAGES).save(tmp_path)
    for file in tmp_path.iterdir():
        if file.suffix == ".npy":
            np.load(file, allow_pickle=False)
        else:
            json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("broken", ["settings.json", "passage_ids.json", "data.csc.index.npy"])
def test_a_missing_or_broken_file_is_named(tmp_path, broken):
    BM25Retriever.build(PASSAGES).save(tmp_path)
    (tmp_path / broken).write_text("{", encoding="utf-8")
    with pytest.raises(ArtifactError, match="expected a saved BM25 index"):
        BM25Retriever.load(tmp_path)
    (tmp_path / broken).unlink()
    with pytest.raises(ArtifactError, match=broken):
        BM25Retriever.load(tmp_path)


def test_passages_with_one_id_are_an_error():
    with pytest.raises(DataError, match="found two with 'one'"):
        BM25Retriever.build([PASSAGES[0], PASSAGES[1], PASSAGES[0]])


@pytest.mark.parametrize("passages", [[], [Passage(id="a", title="", text="?")]])
def test_passages_without_words_are_an_error(passages):
    with pytest.raises(DataError, match=f"none in {len(passages)} passages"):
        BM25Retriever.build(passages)


def test_settings_refuse_other_formulas():
    with pytest.raises(ValidationError):
        BM25Settings(variant="bm25+")  # it gives passages without any shared word a score
    with pytest.raises(ValidationError):
        BM25Settings(b=1.5)


def test_building_and_retrieving_show_no_progress_bar(capfd, caplog):
    with caplog.at_level(logging.INFO, logger="dogeared"):
        retrieve(BM25Retriever.build(PASSAGES), "river")
    assert capfd.readouterr() == ("", "")
    assert any("4 passages" in record.getMessage() for record in caplog.records)


def test_importing_loads_no_torch():
    program = "import sys, dogeared.retrieval.bm25; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_jax_is_left_alone(tmp_path: Path):
    """Where it is installed, bm25s would import it, and a GPU's memory would be gone."""
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").write_text("")
    (tmp_path / "jax" / "lax.py").write_text("raise SystemExit('jax was imported')")
    code = "import sys, dogeared.retrieval.bm25; assert 'jax' not in sys.modules; import jax; print(jax.__file__)"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) in done.stdout
