"""Student and teacher are compared as the reference implementation compares them."""

import json

import pytest

from dogeared.evaluation.agreement import DEPTHS, agreement


def test_agreement_equals_the_reference(reference_folder):
    rows = json.loads((reference_folder / "ranking_agreement.json").read_text(encoding="utf-8"))
    assert len(rows) == 8
    for row in rows:
        measures = agreement(row["student_scores_in_teacher_order"])
        assert measures["inversions"] == row["inversions"]
        for k in DEPTHS:
            assert measures[f"overlap@{k}"] == pytest.approx(row["avg_topk"][str(k)], abs=1e-12)
            assert measures[f"depth@{k}"] == row["idx_topk"][str(k)]
