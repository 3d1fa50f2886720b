"""The benchmark that says how many questions one needs: what it draws, and its runs on tiny models."""

import json

from benchmarks.learning_curve import draw, main, table


def drawn(file):
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return {split: {row["id"] for row in rows if row["split"] == split} for split in ("train", "dev", "test")}


def test_each_smaller_set_is_part_of_each_larger_one(tmp_path, tiny_data):
    """Six training questions, of which two, four and all are drawn; dev and test questions stay."""
    source = tiny_data / "questions.jsonl"
    counts = {count: draw(source, count, tmp_path / f"{count}.jsonl", seed=0) for count in (2, 4, 100)}
    assert counts == {2: 2, 4: 4, 100: 6}
    two, four, whole = (drawn(tmp_path / f"{count}.jsonl") for count in counts)
    assert two["train"] < four["train"] < whole["train"]
    assert whole == drawn(source)
    assert two["dev"] == whole["dev"]
    assert two["test"] == whole["test"]


def test_the_table_names_what_is_measured() -> None:
    """Two rows that no training made, then one for each number of questions."""
    measured = {"test": {"success@1": 0.5, "success@5": 0.75, "success@20": 0.875, "mrr@10": 0.625}}
    first_round = {"retriever": measured, "reader": {"test": {"em": 0.25}}, "teacher_check": {"first_teacher": 0.875}}
    results = {"untouched": measured, "rounds": [first_round], "taught": measured}
    assert table([(1_000, results)]).splitlines() == [
        "| training questions | reader's EM | reader puts an answer first (dev) "
        "| Success@1 | Success@5 | Success@20 | MRR@10 |",
        "|---|---|---|---|---|---|---|",
        "| none: untouched student | | | 0.500 | 0.750 | 0.875 | 0.625 |",
        "| none: first retrieval | | | 0.500 | 0.750 | 0.875 | 0.625 |",
        "| 1,000 | 0.250 | 0.875 | 0.500 | 0.750 | 0.875 | 0.625 |",
    ]


def test_a_curve_of_tiny_models(tmp_path, tiny_data, tiny_settings, capsys):
    settings = [part for setting in tiny_settings if "rounds" not in setting for part in ("--set", setting)]
    main(["--out", str(tmp_path), "--data", str(tiny_data), "--counts", "4", "6", *settings])
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[0] for row in rows[4:]] == ["| 4", "| 6"]
    assert all(0 <= float(cell) <= 1 for row in rows[4:] for cell in row.strip("| ").split(" | ")[1:])
