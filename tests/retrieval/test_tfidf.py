"""TF-IDF gives the scores of DrQA's formula, in any script, and the same ones from disk."""

import math

import pytest

from dogeared.errors import ArtifactError, DataError
from dogeared.records import Passage, Question
from dogeared.retrieval.base import Retriever
from dogeared.retrieval.tfidf import TfidfRetriever, TfidfSettings

# Eleven passages, of which eight hold words that no question asks for: with few passages a term in every other one
# weighs nothing.
PASSAGES = [
    Passage(id="deep", title="Lake", text="the deep lake, deep lake"),
    Passage(id="sea", title="", text="lake of the deep sea"),
    Passage(id="hill", title="Hills", text="a green hill"),
    *(Passage(id=f"other-{number}", title="", text=f"other{number}") for number in range(8)),
]


def ask(text):
    return Question(id="q", text=text)


def scores_of(retriever, text, k=20):
    (found,) = retriever.retrieve([ask(text)], k)
    assert list(found.scores) == sorted(found.scores, reverse=True)
    return dict(zip(found.passage_ids, found.scores, strict=True))


def rarity(num_holding, num_passages=11):
    return math.log((num_passages - num_holding + 0.5) / (num_holding + 0.5))


def test_scores_equal_the_formula_by_hand():
    """By hand: "deep" stands in two passages, twice in the first; "deep lake" in one, twice; and so on."""
    found = scores_of(TfidfRetriever.build(PASSAGES), "Deep, deep lake")
    word = rarity(2) ** 2
    deep_question, once, twice, thrice = math.log(3), math.log(2), math.log(3), math.log(4)
    first = word * (deep_question * twice + once * thrice) + rarity(1) ** 2 * once * twice
    second = word * (deep_question * once + once * once)
    assert found == pytest.approx({"deep": first, "sea": second}, rel=1e-5)


def test_pairs_cross_no_sign_no_stop_word_and_no_end_of_a_title():
    retriever = TfidfRetriever.build(PASSAGES)
    # In "lake, deep", "lake of the deep" and "Hills / a green" there is no pair; "deep sea" is one.
    without = scores_of(retriever, "lake ; deep")
    assert scores_of(retriever, "lake deep") == without
    single = scores_of(retriever, "deep ; sea")
    paired = scores_of(retriever, "deep sea")
    assert paired["sea"] == pytest.approx(single["sea"] + rarity(1) ** 2 * math.log(2) ** 2, rel=1e-5)
    assert scores_of(retriever, "hills green") == scores_of(retriever, "hills ; green")


def test_stop_words_find_nothing_and_count_where_none_are_left_out():
    assert scores_of(TfidfRetriever.build(PASSAGES), "the of a") == {}
    plain = TfidfRetriever.build(PASSAGES, TfidfSettings(language="none"))
    assert set(scores_of(plain, "of the")) == {"deep", "sea"}
    assert scores_of(plain, "of the")["sea"] > scores_of(plain, "of ; the")["sea"]


def test_a_term_in_most_passages_weighs_nothing_not_less():
    passages = [Passage(id=str(number), title="", text="common " + "rare" * (number == 3)) for number in range(4)]
    retriever = TfidfRetriever.build(passages)
    assert scores_of(retriever, "common") == {}
    assert scores_of(retriever, "common ; rare") == scores_of(retriever, "rare")
    assert scores_of(retriever, "unknown") == scores_of(retriever, "?!") == scores_of(retriever, " ") == {}


def test_fewer_buckets_take_different_terms_for_one():
    retriever = TfidfRetriever.build(PASSAGES, TfidfSettings(num_bucket_bits=1))
    assert set(scores_of(retriever, "unknown")) <= {passage.id for passage in PASSAGES}
    assert len(retriever._arrays["buckets"]) == 2
    assert len(TfidfRetriever.build(PASSAGES)._arrays["buckets"]) == 8 + len(
        {"lake", "deep", "deep lake", "sea", "deep sea", "hills", "green", "hill", "green hill"}
    )


def test_chinese_is_found_by_characters_and_pairs():
    passages = [
        Passage(id="beijing", title="", text="中国的首都是北京。"),
        Passage(id="swapped", title="", text="京剧在北方流行。"),
        *(Passage(id=f"other-{number}", title="", text=f"other{number}") for number in range(8)),
    ]
    found = scores_of(TfidfRetriever.build(passages), "北京")
    assert list(found) == ["beijing", "swapped"]
    assert found["beijing"] > 1.5 * found["swapped"]


def test_equal_scores_stand_as_indexed_and_k_cuts():
    passages = [Passage(id=name, title="", text="tarn") for name in ("z", "a", "m")]
    passages += [Passage(id=f"other-{number}", title="", text=f"other{number}") for number in range(8)]
    retriever: Retriever = TfidfRetriever.build(passages)
    assert [list(scores_of(retriever, "tarn", k)) for k in (1, 2, 9)] == [["z"], ["z", "a"], ["z", "a", "m"]]


def test_a_saved_index_returns_the_same(tmp_path):
    built = TfidfRetriever.build(PASSAGES, TfidfSettings(num_bucket_bits=18))
    built.save(tmp_path)
    loaded = TfidfRetriever.load(tmp_path)
    assert loaded.settings == built.settings
    for text in ("deep lake", "green hill", "nothing"):
        assert loaded.retrieve([ask(text)], 5) == built.retrieve([ask(text)], 5)
    weights = (tmp_path / "weights.npy").read_bytes()
    (tmp_path / "weights.npy").write_bytes(weights[:-8])
    with pytest.raises(ArtifactError, match="expected a saved TF-IDF index"):
        TfidfRetriever.load(tmp_path)
    with pytest.raises(ArtifactError, match="expected a saved TF-IDF index"):
        TfidfRetriever.load(tmp_path / "absent")


def test_passages_that_cannot_be_indexed_are_refused():
    with pytest.raises(DataError, match="found two with 'deep'"):
        TfidfRetriever.build([PASSAGES[0], PASSAGES[0]])
    for passages in ([], [Passage(id="a", title="", text="the ?!")]):
        with pytest.raises(DataError, match="expected passages with words"):
            TfidfRetriever.build(passages)
