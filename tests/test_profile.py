"""Profiles: every operation has one kind, and shares of the wall's time add up."""

import re
import sys

import benchmarks.profile as profiles
import pytest


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("aten::mm", "matrix products"),
        ("mkldnn::_linear_pointwise", "matrix products"),
        ("aten::_softmax_backward_data", "attention beside products"),
        ("aten::native_layer_norm_backward", "norms"),
        ("aten::ge", "dropout"),
        ("aten::gelu_backward", "other arithmetic"),
        ("aten::add_", "additions into gradients"),
        ("aten::add", "other arithmetic"),
        ("_RectifiedAndDroppedBackward", "dropout"),
        ("aten::as_strided", "the rest"),
    ],
)
def test_the_longest_beginning_of_a_name_tells_the_kind(operation, kind):
    assert profiles.kind(operation) == kind


def test_the_shares_of_a_step_add_up_to_the_whole(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["profile", "train_fp32", "search", "encode", "--quick", "--data", str(tmp_path)])
    profiles.main()
    shown = capsys.readouterr().out
    for step in ("train_fp32", "search"):
        of_step = shown.split(f"\n{step}\n")[1].split("of these")[0]
        shares = {name: float(share) for share, name in re.findall(r"([\d.]+) %  (.+)", of_step)}
        # Clocks of the profiler and of the wall differ by little; "outside" is what is left.
        assert sum(shares.values()) == pytest.approx(100, abs=3)
        assert shares["matrix products"] > 0
    assert f"encode is left out: there is no {tmp_path}" in shown


def test_a_step_that_there_is_not_is_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["profile", "scoring"])
    with pytest.raises(SystemExit):
        profiles.main()
    assert "no step is called scoring; there are score_bf16" in capsys.readouterr().err
