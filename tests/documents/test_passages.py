"""Documents are cut into passages of whole sentences that overlap."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dogeared.data.formats import iter_passages
from dogeared.documents.passages import (
    CutSettings,
    cut_sentences,
    cut_text,
    find_documents,
    iter_document_passages,
    write_document_passages,
)
from dogeared.errors import DataError

STOP, ASKED, CLOSED = "\u3002", "\uff1f", "\u201d"  # the full-width stop and question mark, and a closing quote


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One. ", "Two! ", "Three?"]),
        ("Dr. Wu met J. K. Rowling. They spoke.", ["Dr. Wu met J. K. Rowling. ", "They spoke."]),
        ("It is 3.14, e.g. nearly. So.", ["It is 3.14, e.g. nearly. ", "So."]),
        ('He said "Go." She went.', ['He said "Go." ', "She went."]),
        ("no end at all", ["no end at all"]),
        ("was in the U.S. army. Then", ["was in the U.S. army. ", "Then"]),
        ("", []),
        (
            f"\u6ca1\u6709\u4eba{STOP}\u8c01\u6765{ASKED}{CLOSED}\u8d70",
            [f"\u6ca1\u6709\u4eba{STOP}", f"\u8c01\u6765{ASKED}{CLOSED}", "\u8d70"],
        ),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text, sentences):
    assert cut_sentences(text) == sentences


@given(st.text(alphabet="ab .!?\u3002\u597d\n", max_size=60))
def test_sentences_together_are_the_text(text):
    assert "".join(cut_sentences(text)) == text


def numbered(count):
    return tuple(f"This is sentence number {n}." for n in range(count))


def test_passages_are_full_overlap_by_a_sentence_and_lose_none():
    passages = list(cut_text(numbered(7), CutSettings(max_words=15, overlap_words=5)))
    found = [[int(word.rstrip(".")) for word in text.split() if word.rstrip(".").isdigit()] for text in passages]
    assert found == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]


@pytest.mark.parametrize("characters", ["天地玄黄", "あいうえ", "アイウエ", "\U00020000\U00020001\U00020002\U00020003"])
def test_a_character_counts_half_a_word_and_passages_overlap_by_a_sentence(characters):
    sentences = [character * 9 + STOP for character in characters]  # of ten signs each, which are five words
    passages = list(cut_text(("".join(sentences),), CutSettings(max_words=10, overlap_words=5)))
    assert passages == ["".join(sentences[first : first + 2]) for first in range(3)]


def test_paragraphs_of_chinese_are_joined_without_a_blank():
    assert list(cut_text((f"天地{STOP}", f"玄黄{STOP}", "In English."), CutSettings())) == [
        f"天地{STOP}玄黄{STOP} In English."
    ]


@pytest.mark.parametrize(
    ("paragraphs", "text"),
    [
        (("“Born in Paris”", "London is large."), "“Born in Paris” London is large."),
        (("Wait…", "Then she spoke."), "Wait… Then she spoke."),
        (("The house of the boys’", "Sam came."), "The house of the boys’ Sam came."),  # noqa: RUF001 - a closing quote
        (("He said “天地”", "玄黄"), "He said “天地”玄黄"),
        (("“天地…”", "“玄黄”"), "“天地…”“玄黄”"),
        (("天地", "Two"), "天地 Two"),
        (("One", "天地"), "One 天地"),
    ],
)
def test_paragraphs_are_joined_without_a_blank_only_where_both_sides_have_none_between_words(paragraphs, text):
    assert list(cut_text(paragraphs, CutSettings())) == [text]


def test_without_overlap_each_sentence_stands_once():
    passages = list(cut_text(numbered(5), CutSettings(max_words=10, overlap_words=0)))
    assert " ".join(passages) == " ".join(numbered(5))
    assert [len(text.split()) for text in passages] == [10, 10, 5]


def test_sentence_longer_than_a_passage_is_cut_between_words():
    words = [f"w{n}" for n in range(25)]
    passages = list(cut_text((" ".join(words) + ".",), CutSettings(max_words=10, overlap_words=0)))
    assert [len(text.split()) for text in passages] == [10, 10, 5]
    assert " ".join(passages) == " ".join(words) + "."


def test_chinese_is_cut_on_its_own_marks_and_counts_half():
    sentence = "\u654f\u6377\u7684\u68d5\u8272\u72d0\u72f8\u8df3\u8fc7" + STOP  # ten characters: five words
    passages = list(cut_text((sentence * 4,), CutSettings(max_words=10, overlap_words=0)))
    assert passages == [sentence * 2, sentence * 2]
    overlapping = list(cut_text((sentence * 3,), CutSettings(max_words=10, overlap_words=5)))
    assert overlapping == [sentence * 2, sentence * 2]


def test_chinese_without_marks_is_cut_all_the_same():
    assert list(cut_text(("\u597d" * 50,), CutSettings(max_words=10, overlap_words=0))) == ["\u597d" * 20] * 2 + [
        "\u597d" * 10
    ]


@given(st.lists(st.text(alphabet="ab .!\u597d\u3002", max_size=80), max_size=4))
def test_no_passage_is_empty_or_too_long_and_no_word_is_lost(paragraphs):
    settings = CutSettings(max_words=10, overlap_words=0)
    texts = list(cut_text(tuple(paragraphs), settings))
    assert all(text.strip() for text in texts)
    assert "".join("".join(texts).split()) == "".join("".join(paragraphs).split())


def test_overlap_of_more_than_half_is_refused():
    with pytest.raises(ValidationError, match="at most half"):
        CutSettings(max_words=20, overlap_words=11)


@pytest.fixture
def folder(tmp_path):
    inner = tmp_path / "docs" / "my guide"
    inner.mkdir(parents=True)
    (tmp_path / "docs" / "b.md").write_text("# Title\n\nOne.\n\n## Part\n\nTwo.\n")
    (inner / "50%.txt").write_text("Three.")
    (inner / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "docs" / ".hidden.txt").write_text("no")
    return tmp_path / "docs"


def test_a_folder_becomes_passages_with_ids_that_any_table_can_hold(folder, caplog):
    passages = list(iter_document_passages(folder))
    assert [(p.id, p.title, p.text) for p in passages] == [
        ("b.md#0", "Title", "One."),
        ("b.md#1", "Title: Part", "Two."),
        ("my%20guide/50%25.txt#0", "50%", "Three."),
    ]
    assert "1 of .png" in caplog.text


def test_a_document_that_cannot_be_read_is_raised_or_left_out(folder):
    (folder / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="UTF-8"):
        list(iter_document_passages(folder))
    errors = []
    assert len(list(iter_document_passages(folder, on_error=errors.append))) == 3
    assert [error.file for error in errors] == [str(folder / "a.txt")]


def test_the_written_file_is_read_by_every_command(folder, tmp_path):
    out = tmp_path / "new" / "passages.jsonl"
    assert write_document_passages(folder, out) == (3, [])
    assert [p.text for p in iter_passages(out)] == ["One.", "Two.", "Three."]
    assert set(json.loads(out.read_text().splitlines()[0])) == {"id", "title", "text"}


def test_an_error_leaves_nothing_half_written_behind(folder, tmp_path):
    out = tmp_path / "new" / "passages.jsonl"
    (folder / "z.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="UTF-8"):
        write_document_passages(folder, out)
    with pytest.raises(DataError, match="none of this name"):
        write_document_passages(folder / "nothing", out)
    assert list(out.parent.iterdir()) == []
    write_document_passages(folder, out, skip_bad_documents=True)
    assert list(out.parent.iterdir()) == [out]


def test_a_name_that_is_not_utf8_gives_an_id_that_is(folder, tmp_path):
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("Four.")
    write_document_passages(folder, tmp_path / "p.jsonl")
    ids = {p.id: p.title for p in iter_passages(tmp_path / "p.jsonl")}
    assert ids["caf%E9.txt#0"] == "caf\N{REPLACEMENT CHARACTER}"


def test_one_document_is_a_folder_of_one(folder):
    assert [p.id for p in iter_document_passages(folder / "b.md")] == ["b.md#0", "b.md#1"]


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_no_folder_and_no_document_are_errors(tmp_path, make):
    make(tmp_path / "none")
    with pytest.raises(DataError, match="expected"):
        find_documents(tmp_path / "none")
