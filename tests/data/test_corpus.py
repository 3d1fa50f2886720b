"""The corpus and its index of ids: what goes in comes out, by row and by id, from the disk and not from memory."""

import gc
import random
import tracemalloc

import datasets
import numpy as np
import pyarrow as pa
import pytest

from dogeared.data import corpus as corpus_module
from dogeared.data import ids as ids_module
from dogeared.data.corpus import Corpus, build_corpus
from dogeared.data.ids import IdIndex, SeenIds, hash_id, hash_ids
from dogeared.errors import ArtifactError, DataError
from dogeared.records import Passage


def passages(num):
    return [
        Passage(id=f"p{number}", title=f"Title {number % 7}", text=f"Text {number} 北京 é") for number in range(num)
    ]


@pytest.fixture
def small_batches(monkeypatch):
    """Make 23 passages stand in three batches of 10, 10 and 3."""
    monkeypatch.setattr(corpus_module, "_ROWS_PER_BATCH", 10)


def test_passages_come_back_by_row_by_rows_and_in_batches(tmp_path, small_batches):
    all_passages = passages(23)
    build_corpus(iter(all_passages), tmp_path / "deep" / "corpus")
    corpus = Corpus.open(tmp_path / "deep" / "corpus")
    assert len(corpus) == 23
    assert [corpus.passage(row) for row in range(23)] == all_passages
    rows = [22, 0, 10, 9, 0, 20]
    assert corpus.passages(rows) == [all_passages[row] for row in rows]
    assert corpus.passages(np.array(rows)) == [all_passages[row] for row in rows]
    assert corpus.ids(rows) == ["p22", "p0", "p10", "p9", "p0", "p20"]
    assert corpus.passages([]) == corpus.ids([]) == corpus.rows_of([]) == []
    batches = list(corpus.iter_batches(8))
    assert [len(batch) for batch in batches] == [8, 8, 7]
    assert [passage for batch in batches for passage in batch] == all_passages


@pytest.mark.parametrize("row", [-1, 23, np.int64(99)])
def test_row_outside_is_an_index_error_and_not_another_passage(tmp_path, small_batches, row):
    with pytest.raises(IndexError, match="of a corpus of 23 passages"):
        build_corpus(passages(23), tmp_path).passage(row)


def test_rows_are_found_by_id(tmp_path, small_batches):
    corpus = build_corpus(passages(23), tmp_path)
    assert [corpus.row_of(f"p{row}") for row in range(23)] == list(range(23))
    assert corpus.rows_of(["p22", "p0", "p22", "p11"]) == [22, 0, 22, 11]
    assert "p22" in corpus
    assert "p23" not in corpus


@pytest.mark.parametrize("find", [lambda corpus: corpus.row_of("x"), lambda corpus: corpus.rows_of(["p1", "x"])])
def test_absent_id_is_an_error_that_names_it_and_the_corpus(tmp_path, find):
    corpus = build_corpus(passages(5), tmp_path)
    with pytest.raises(DataError, match="one of the 5 passages, found 'x'; does it come from another corpus") as raised:
        find(corpus)
    assert raised.value.file == str(tmp_path)


def test_ids_of_one_hash_are_told_apart_by_the_ids_themselves(tmp_path, monkeypatch):
    # Every id gets one of three hashes, so that each hash has many rows.
    monkeypatch.setattr(ids_module, "_digest", lambda text: bytes([len(text) % 3]) + bytes(7))
    corpus = build_corpus(passages(120), tmp_path)
    wanted = [f"p{row}" for row in range(120)]
    assert [corpus.row_of(passage_id) for passage_id in wanted] == list(range(120))
    assert corpus.rows_of(wanted) == list(range(120))
    assert "q1" not in corpus
    with pytest.raises(DataError, match="found 'q1'"):
        corpus.rows_of(["p1", "q1"])
    twice = [*passages(120), Passage(id="p7", title="", text="other")]
    with pytest.raises(DataError, match="found 'p7' in rows 7 and 120"):
        build_corpus(twice, tmp_path)


def test_repeated_id_is_an_error_that_names_both_rows(tmp_path):
    twice = [*passages(5), Passage(id="p3", title="", text="other")]
    with pytest.raises(DataError, match=r"found 'p3' in rows 3 and 5 \(counted from 0\)") as raised:
        build_corpus(twice, tmp_path)
    assert raised.value.field == "id"


def test_no_passage_is_an_error(tmp_path):
    with pytest.raises(DataError, match="expected passages, got none"):
        build_corpus([], tmp_path)


def test_building_again_replaces_what_stood_there(tmp_path):
    build_corpus(passages(23), tmp_path)
    assert [passage.id for passage in build_corpus(passages(3), tmp_path).passages(range(3))] == ["p0", "p1", "p2"]
    assert len(Corpus.open(tmp_path)) == 3


def test_file_opens_as_a_dataset_of_hugging_face(tmp_path, small_batches):
    build_corpus(passages(23), tmp_path)
    dataset = datasets.Dataset.from_file(str(tmp_path / "passages.arrow"))
    assert dataset[22] == {"id": "p22", "title": "Title 1", "text": "Text 22 北京 é"}
    assert len(dataset) == 23


@pytest.mark.parametrize("name", ["passages.arrow", "id_hashes.npy", "id_rows.npy"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
def test_damaged_corpus_is_not_opened(tmp_path, small_batches, name, damage):
    build_corpus(passages(23), tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    if damage != "missing":
        (tmp_path / name).write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    with pytest.raises(ArtifactError, match="expected a corpus, found none that is whole"):
        Corpus.open(tmp_path)


def test_passages_and_index_of_two_corpora_are_not_one_corpus(tmp_path):
    build_corpus(passages(3), tmp_path / "a")
    build_corpus(passages(4), tmp_path / "b")
    (tmp_path / "a" / "passages.arrow").replace(tmp_path / "b" / "passages.arrow")
    with pytest.raises(ArtifactError, match="3 passages, but 4 ids in the index"):
        Corpus.open(tmp_path / "b")


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"id": ["a"], "body": ["b"]}),
        pa.table({name: pa.array(["a"], pa.large_string()) for name in ("id", "title", "text")}),
    ],
)
def test_other_arrow_file_is_not_taken_for_a_corpus(tmp_path, table):
    build_corpus(passages(3), tmp_path)
    with pa.OSFile(str(tmp_path / "passages.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(ArtifactError, match="columns"):
        Corpus.open(tmp_path)


def test_neither_building_nor_reading_holds_the_passages_in_memory(tmp_path):
    num, length = 40_000, 1000
    stream = (Passage(id=str(number), title="", text=f"{number:0{length}d}") for number in range(num))
    gc.collect()
    arrow_before = pa.total_allocated_bytes()
    tracemalloc.start()
    corpus = build_corpus(stream, tmp_path)
    built = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    rows = random.Random(0).sample(range(num), 100)
    assert [int(passage.text) for passage in corpus.passages(rows)] == rows
    assert sum(len(batch) for batch in corpus.iter_batches(64)) == num
    _, read = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "passages.arrow").stat().st_size > num * length
    assert built < num * length / 4
    assert read < num * length / 4
    assert pa.total_allocated_bytes() - arrow_before < num * length / 20


# ---- ids


def test_hash_of_an_id_is_the_same_everywhere():
    # The first 8 bytes that coreutils gives: printf p1 | b2sum -l 64, read from the last byte to the first.
    assert hash_id("p1") == 0x91CE9478C96516E8
    assert hash_ids(["p1", "北京", "p1"]).tolist() == [hash_id("p1"), hash_id("北京"), hash_id("p1")]
    assert hash_ids([]).tolist() == []


@pytest.mark.parametrize("num_recent", [1, 7, 1000])
def test_seen_ids_are_those_that_were_added(num_recent):
    seen = SeenIds(num_recent=num_recent)
    random_numbers = random.Random(1)
    known = set()
    for number in (random_numbers.randrange(60) for _ in range(200)):
        assert (str(number) in seen) == (number in known)
        assert seen.add(str(number)) == (number not in known)
        known.add(number)
        assert len(seen) == len(known)


def test_index_gives_the_row_of_each_hash(tmp_path):
    index = IdIndex.write(hash_ids(["c", "a", "b", "a", "c", "a"]), tmp_path)
    assert [index.rows(text) for text in "abcd"] == [[1, 3, 5], [2], [0, 4], []]
    assert sorted(index.shared_hashes()) == [[0, 4], [1, 3, 5]]
    assert isinstance(IdIndex.open(tmp_path)._hashes, np.memmap)
