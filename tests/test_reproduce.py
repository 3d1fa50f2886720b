"""The benchmark that fills the tables of docs/results.md: its runs, on tiny models, and how it writes them down."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.reproduce.runs import Laboratory, Measured, before_teaching
from benchmarks.reproduce.show import insert, render
from benchmarks.reproduce.tables import TABLES, Row, Table

from dogeared.locks import hold

TINY = Table(
    title="Tiny",
    rows=(Row(label="start", part="round-0"), Row(label="taught"), Row(label="told", supervised=True)),
    paper="Nothing.",
    has_reader=False,
    columns=("success@1", "success@5"),
)


def _seed(*values: float, dev: float = 0.5) -> Measured:
    test = {f"q{number}": {"success@1": value, "success@5": 1.0} for number, value in enumerate(values)}
    return Measured(test=test, dev={"d": {"success@1": dev}}, agreement={"overlap@1": 0.25, "inversion_rate": 0.5})


def test_a_table_shows_means_and_how_sure_a_change_is() -> None:
    """Of eight questions four are gained: by all 256 tosses, 2 of 16 for each sign are as far, so p is 0.125."""
    measured = {"start": [_seed(*[0.0] * 8)], "taught": [_seed(*[1.0] * 4, *[0.0] * 4)], "told": [_seed(*[1.0] * 8)]}
    text = render(3, TINY, measured, about="About.")
    assert "| start | 0.000 | 1.000 | 0.500 |  |" in text
    assert "| taught | 0.500 | 1.000 | 0.500 | +0.500 [" in text
    assert "p = 0.125" in text
    assert "| told (supervised) | 1.000 ↑ | 1.000 | 0.500 | +1.000 [" in text


def test_a_line_can_be_compared_with_another_than_the_first_and_agreement_is_shown() -> None:
    """The second start's round 1 loses all of eight: by 2 of 256 tosses, p is 0.008."""
    rows = tuple(Row(label=f"{name}{number}", against=f"{name}0") for name in "ab" for number in range(2))
    table = replace(TINY, rows=rows, has_agreement=True)
    ones, zeros = [_seed(*[1.0] * 8)], [_seed(*[0.0] * 8, dev=0.125)]
    text = render(3, table, {"a0": zeros, "a1": zeros, "b0": ones, "b1": zeros}, about="")
    assert "| same first passage | pairs in other order | Success@1 against its start |" in text
    assert "| b0 | 1.000 | 1.000 | 0.500 | 0.25 | 0.50 |  |" in text
    assert "| a1 | 0.000 | 1.000 | 0.125 | 0.25 | 0.50 | +0.000 [" in text
    assert "| b1 | 0.000 ↓ | 1.000 | 0.125 | 0.25 | 0.50 | -1.000 [-1.000, -1.000], p = 0.00" in text


def test_seeds_are_averaged_and_their_spread_is_shown() -> None:
    """Two seeds, 0.5 and 1.0."""
    text = render(3, TINY, {"start": [_seed(1.0, 0.0), _seed(1.0, 1.0)]}, about="")
    assert "| start | 0.750 (0.500-1.000) |" in text


def test_a_table_takes_the_place_of_its_older_version(tmp_path: Path) -> None:
    """What stands around it stays."""
    file = tmp_path / "results.md"
    file.write_text("# Results\n\nBefore.\n", encoding="utf-8")
    insert("one", 3, file)
    insert("other", 4, file)
    insert("two \\1", 3, file)
    assert file.read_text(encoding="utf-8") == (
        "# Results\n\nBefore.\n\n<!-- table 3 -->\ntwo \\1\n<!-- end of table 3 -->\n\n"
        "<!-- table 4 -->\nother\n<!-- end of table 4 -->\n"
    )


def test_the_settings_of_every_row_are_settings(tmp_path: Path) -> None:
    """No table asks for a setting that is not there, and each reference is one of its lines."""
    laboratory = Laboratory(out=tmp_path, data=tmp_path, student="student", sizes={})
    for table in TABLES.values():
        assert table.reference in table.rows
        assert {row.against for row in table.rows} <= {"", *(row.label for row in table.rows)}
        assert len({row.label for row in table.rows}) == len(table.rows)
        for row in table.rows:
            assert laboratory.experiment(row.settings, seed=1).seed == 1
            assert laboratory.experiment(before_teaching(row).settings).rounds.max == 0


def test_who_wants_what_another_process_makes_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And only for that: what has another name can be made meanwhile."""
    monkeypatch.setattr("benchmarks.reproduce.runs._PATIENCE_SECONDS", 0.01)
    laboratory = Laboratory(out=tmp_path, data=tmp_path, student="student", sizes={})
    entered = threading.Event()

    def want() -> None:
        with laboratory._alone("run-1"):
            entered.set()

    with hold(tmp_path / "locks" / "run-1"):
        waiting = threading.Thread(target=want)
        waiting.start()
        with laboratory._alone("run-2"):
            assert not entered.wait(0.2)
    waiting.join(10)
    assert entered.is_set()


@pytest.mark.slow
def test_rows_share_what_they_have_in_common(tmp_path: Path) -> None:
    """Whole, on the demo's models: two losses share everything up to the student; cuts and hybrids are measured."""
    from dogeared.data.encyclopedia import generate, write_encyclopedia

    data = tmp_path / "data"
    write_encyclopedia(generate(num_people=110), data)
    small = (
        "reader.model=demo:reader", "reader.num_passages=3", "reader_training.steps=2", "reader_training.hint_weight=0",
        "reader_training.decoder_pace=1", "retriever_training.steps=2", "retriever_training.num_passages=3",
        "num_passages=5", "relevance.num_last_layers=0",
    )  # fmt: skip
    laboratory = Laboratory(
        out=tmp_path / "out",
        data=data,
        student="demo:encoder",
        sizes={"train": 24, "dev": 8, "test": 8},
        settings=small,
    )
    laboratory.out.mkdir()
    laboratory._draw_questions()
    rows = {part: Row(label=part, part=part) for part in ("round-0", "round-1", "hybrid/round-1", "cut/relevance")}
    measured = {part: laboratory.run(row, seed=0) for part, row in rows.items()}
    found = {part: of_part.test for part, of_part in measured.items()}
    other = laboratory.run(Row(label="mse", settings=("retriever_training.loss=mse",)), seed=0).test
    assert all(len(of_part.dev) == 8 for of_part in measured.values())
    assert "overlap@1" in measured["round-1"].agreement
    assert set(found["round-0"]) == set(other)
    assert len(other) == 8
    assert {"success@1", "em"} <= set(next(iter(found["cut/relevance"].values())))
    readers = sorted((laboratory.out / "runs").glob("*/round-0/reader/manifest.json"))
    assert len(readers) == 2
    first, second = (json.loads(file.read_text(encoding="utf-8")) for file in readers)
    assert first == second  # seconds too: it was trained once
    for part in ("round-1", "hybrid/round-1"):
        alone = laboratory.run(rows[part], seed=0, has_reader=False).test
        assert {name: {**values, "em": found[part][name].get("em")} for name, values in alone.items()} == {
            name: {**values, "em": values.get("em")} for name, values in found[part].items()
        }
    start = laboratory.run(rows["round-0"], seed=0, has_reader=False).test
    assert {name: values["success@1"] for name, values in start.items()} == {
        name: values["success@1"] for name, values in found["round-0"].items()
    }
    by_words = Row(label="TF-IDF", settings=("start=tfidf",), part="round-0")
    assert laboratory.run(by_words, seed=0, has_reader=False).test.keys() == start.keys()
    assert not list((laboratory.out / "lines").glob("*/round-*/reader"))
