"""The figures that are stored keep to what the project aims at: whoever measures again and is slower is told.

A figure that is not as good as its aim fails here before it is published; either what made it slow is undone, or the
aim is changed in this file, for all to see.
"""

import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"

FASTER_THAN_TEXTBOOK = {
    "score_bf16": 12.0,
    "score_fp32": 4.0,
    "train_bf16": 4.5,
    "train_bf16_no_dropout": 4.5,
    "train_fp32": 2.0,
    "gpu_train": 4.5,
    "encode": 1.5,
    "search": 1 / 1.3,  # there the textbook is the bare product, which cannot be beaten by much
    "search_one": 1 / 1.3,
}
REACHED = {
    "train_fp32_no_dropout": 1.7,  # 2 is aimed at, and reached with the dropout that readers are trained with
}
"""Where an aim is not met yet: what was reached is not to be lost."""
TIMES_FLOOR = {"score_bf16": 2.0}
UTILISATION = {"gpu_score": 0.5, "gpu_train_no_dropout": 0.4}  # of the GPU's rate of matrix products
NOISE = 0.03  # relative: two measurements on one quiet machine differ by as much

ALL_PASSAGES = "645190"
PEAK_BYTES = 3e9
OPENING_SECONDS = 2.0


def stored(name: str) -> dict[str, dict]:
    return json.loads((BENCHMARKS / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize(("row", "ratio"), [*FASTER_THAN_TEXTBOOK.items(), *REACHED.items()])
def test_steps_are_as_much_faster_than_the_textbook_as_aimed_at_or_reached(row, ratio):
    assert stored("latest.json")[row]["ratio_to_textbook"] >= ratio * (1 - NOISE)


@pytest.mark.parametrize("row", TIMES_FLOOR)
def test_steps_are_as_near_to_the_floor_as_aimed_at(row):
    assert stored("latest.json")[row]["ratio_to_floor"] <= TIMES_FLOOR[row] * (1 + NOISE)


@pytest.mark.parametrize("row", ["search", "search_one"])
def test_an_exact_search_takes_no_longer_than_that_of_faiss(row):
    assert stored("latest.json")[row]["figures"]["times_faster_than_faiss_flat"] >= 1


@pytest.mark.parametrize("row", UTILISATION)
def test_a_gpu_is_used_as_much_as_aimed_at(row):
    assert stored("latest.json")[row]["figures"]["utilisation"] >= UTILISATION[row] * (1 - NOISE)


def test_ratios_are_those_of_the_seconds_beside_them():
    for row in stored("latest.json").values():
        for ratio, other, ours in (("textbook", "textbook_seconds", -1), ("floor", "floor_seconds", 1)):
            if row[other] is not None:
                assert row[f"ratio_to_{ratio}"] == pytest.approx((row["seconds"] / row[other]) ** ours)


def test_a_student_with_cached_gradients_needs_no_more_memory_for_more_passages():
    figures = stored("latest.json")["memory_student"]["figures"]
    few, many = (figures[f"peak_megabytes_cached_{each}_passages"] for each in (8, 32))
    assert many < 1.01 * few
    assert figures["peak_megabytes_plain_32_passages"] > 10 * many


@pytest.mark.parametrize("step", ["read", "index", "words", "exact", "opening", "open_run"])
def test_a_large_corpus_fits_into_the_memory_of_a_laptop(step):
    assert stored("scale.json")[step][ALL_PASSAGES]["peak_bytes"] < PEAK_BYTES


@pytest.mark.parametrize("step", ["opening", "open_run"])
def test_a_large_corpus_is_open_at_once(step):
    assert stored("scale.json")[step][ALL_PASSAGES]["seconds"] < OPENING_SECONDS
