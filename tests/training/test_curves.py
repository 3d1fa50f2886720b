"""The curve of a training: every step once, whatever happened in between, and the same to whoever else is told."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from dogeared.errors import ConfigError
from dogeared.pipeline.config import load_experiment
from dogeared.training.curves import Curve, TrackingSettings, curves_of
from dogeared.training.loop import LoopSettings, train


class Batch:
    """A few numbers."""

    weight = 2

    def __init__(self, step):
        self.values = torch.tensor([1.0, 2.0]) * (step + 1)

    def to(self, device):
        return self


class Model(nn.Module):
    """One weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, batch):
        return (self.weight * batch.values - 1).square().mean()


def run(out: Path, *, trackers=(), dies_at=None):
    """Train six steps that are measured and saved at every second; None where it died on the way."""

    def batches_of_step(step):
        if step == dies_at:
            raise RuntimeError("died")
        return [Batch(step)]

    settings = LoopSettings(
        steps=6, learning_rate=0.01, warmup_steps=2, precision="fp32", save_every_seconds=1000.0, evaluate_every_steps=2
    )
    folder = out.with_name(out.name + ".work")
    folder.mkdir(parents=True, exist_ok=True)
    with curves_of(out, TrackingSettings(trackers=list(trackers), project="toys")):
        try:
            return train(Model(), batches_of_step, settings, seed=0, folder=folder, name="toy", evaluate=lambda: 0.5)
        except RuntimeError:
            return None


def rows(out):
    text = (out.parent / "curves" / f"{out.name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_for_each_step(tmp_path):
    state = run(tmp_path / "reader")
    told = rows(tmp_path / "reader")
    assert [row["step"] for row in told] == [1, 2, 3, 4, 5, 6]
    assert [row["loss"] for row in told] == state.losses
    assert [row["learning_rate"] for row in told] == pytest.approx([0.005, 0.01, 0.01, 0.0075, 0.005, 0.0025])
    assert [row.get("dev") for row in told] == [None, 0.5, None, 0.5, None, 0.5]


def test_a_training_that_died_goes_on_in_the_same_curve(tmp_path):
    assert run(tmp_path / "a", dies_at=5) is None
    assert [row["step"] for row in rows(tmp_path / "a")] == [1, 2, 3, 4, 5]  # saved after 4
    with (tmp_path / "curves/a.jsonl").open("a") as stream:
        stream.write('{"step": 6, "lo')
    run(tmp_path / "a")
    run(tmp_path / "b")
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


def test_a_training_begun_anew_has_a_new_curve(tmp_path):
    run(tmp_path / "a")
    for file in (tmp_path / "a.work").iterdir():
        file.rename(tmp_path / file.name)
    run(tmp_path / "a")
    assert [row["step"] for row in rows(tmp_path / "a")] == [1, 2, 3, 4, 5, 6]


def test_what_is_no_number_is_not_written(tmp_path):
    curve = Curve(tmp_path / "c.jsonl", done=0)
    curve.add(1, {"loss": math.nan, "learning_rate": 0.5})
    curve.close()
    assert (tmp_path / "c.jsonl").read_text() == '{"step": 1, "learning_rate": 0.5}\n'


def test_a_run_has_a_curve_for_each_training(tiny_run):
    for name, steps in (("round-0/curves/reader", 3), ("round-1/curves/retriever", 3), ("round-1/curves/reader", 3)):
        assert len((tiny_run / f"{name}.jsonl").read_text().splitlines()) == steps


def test_a_tracker_that_is_not_there_is_told_before_any_work(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'pip install "dogeared\[swanlab\]"'):
        load_experiment(overrides=['tracking.trackers=["swanlab"]'])
    with pytest.raises(ConfigError, match=r"tracking\.trackers"):
        load_experiment(overrides=['tracking.trackers=["papyrus"]'])


def died_and_went_on(tmp_path, tracker):
    """Let a training die after five steps, four of them saved, and go on."""
    out = tmp_path / "mine/round-1/retriever"
    assert run(out, trackers=[tracker], dies_at=5) is None
    run(out, trackers=[tracker])
    return out, [row["loss"] for row in rows(out)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_every_step_once(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out, losses = died_and_went_on(tmp_path, "tensorboard")
    seen = EventAccumulator(str(out.parent / "curves/retriever")).Reload()
    assert [(one.step, one.value) for one in seen.Scalars("loss")] == [
        (step, pytest.approx(loss)) for step, loss in enumerate(losses, 1)
    ]
    assert [one.step for one in seen.Scalars("dev")] == [2, 4, 6]


@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_every_step_once(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    _, losses = died_and_went_on(tmp_path, "mlflow")
    client = mlflow.MlflowClient()
    (experiment,) = mlflow.search_experiments(filter_string="name = 'toys'")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name == "mine/round-1/retriever"
    history = client.get_metric_history(found.info.run_id, "loss")
    assert [(one.step, one.value) for one in history] == list(enumerate(losses, 1))
    assert found.data.params["learning_rate"] == "0.01"


@pytest.mark.filterwarnings("ignore")
def test_wandb_is_told_without_a_network(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    out, _ = died_and_went_on(tmp_path, "wandb")
    kept = list((out.parent / "curves/wandb").glob("offline-run-*/run-*.wandb"))
    assert kept
    assert len({file.stem for file in kept}) == 1  # both halves are one run


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["disabled", "offline"])
def test_swanlab_is_told_without_a_network(tmp_path, monkeypatch, mode):
    pytest.importorskip("swanlab", reason="the extra swanlab is not installed")
    monkeypatch.setenv("SWANLAB_MODE", mode)
    monkeypatch.setenv("SWANLAB_LOG_DIR", str(tmp_path / "swanlog"))
    monkeypatch.chdir(tmp_path)
    _, losses = died_and_went_on(tmp_path, "swanlab")
    assert len(losses) == 6
