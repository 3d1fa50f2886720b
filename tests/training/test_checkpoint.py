"""Checkpoints: everything comes back, the newest counts, and those of other settings are refused."""

import json

import pytest
import torch
from torch import nn

from dogeared.errors import ArtifactError
from dogeared.training.checkpoint import TrainingState, load_best, load_checkpoint, save_best, save_checkpoint
from dogeared.training.optim import adamw

SETTINGS = {"learning_rate": 0.1, "seed": 1}


class Tied(nn.Module):
    """Two layers that share a weight, as the embeddings of a T5 do."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.one = nn.Linear(3, 3)
        self.two = nn.Linear(3, 3)
        self.two.weight = self.one.weight


def trained(seed, num_steps):
    model = Tied(seed)
    optimizer = adamw(model, learning_rate=0.1, weight_decay=0.1)
    for step in range(num_steps):
        model.two(model.one(torch.full((2, 3), float(step + 1)))).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def save(folder, model, optimizer, **state):
    save_checkpoint(folder, model=model, optimizer=optimizer, state=TrainingState(**state), settings=SETTINGS)


def test_weights_optimizer_and_state_come_back(tmp_path):
    model, optimizer = trained(seed=0, num_steps=3)
    state = {"step": 3, "losses": [0.1, 1 / 3, 2.0], "evaluations": {2: 0.25, 3: 0.125}, "best_step": 2}
    save_best(tmp_path, model=model, step=2)
    save(tmp_path, model, optimizer, **state)
    other, other_optimizer = trained(seed=1, num_steps=0)
    found = load_checkpoint(tmp_path, model=other, optimizer=other_optimizer, settings=SETTINGS)
    assert found == TrainingState(**state)
    for one, two in ((model, other), (model, other)):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert other.two.weight is other.one.weight
    wanted, got = optimizer.state_dict(), other_optimizer.state_dict()
    assert wanted["state"].keys() == got["state"].keys() == {0, 1, 2}
    for number, values in wanted["state"].items():
        assert values.keys() == got["state"][number].keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(values[name], got["state"][number][name]) for name in values)


def test_without_a_checkpoint_a_training_starts_anew(tmp_path):
    model, optimizer = trained(seed=0, num_steps=0)
    before = model.one.weight.clone()
    found = load_checkpoint(tmp_path / "absent", model=model, optimizer=optimizer, settings=SETTINGS)
    assert found == TrainingState(step=0, losses=[], evaluations={}, best_step=None)
    assert torch.equal(model.one.weight, before)


def test_a_new_checkpoint_takes_the_place_of_older_ones_and_of_weights_that_are_best_no_more(tmp_path):
    model, optimizer = trained(seed=0, num_steps=1)
    save_best(tmp_path, model=model, step=9)
    save(tmp_path, model, optimizer, step=9, best_step=9)
    save_best(tmp_path, model=model, step=10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best-00000009", "best-00000010", "checkpoint-00000009"]
    save(tmp_path, model, optimizer, step=10, best_step=10)
    save(tmp_path, model, optimizer, step=11, best_step=10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best-00000010", "checkpoint-00000011"]


def test_the_newest_whole_checkpoint_is_the_one_that_counts(tmp_path):
    model, optimizer = trained(seed=0, num_steps=1)
    save(tmp_path, model, optimizer, step=9)
    (tmp_path / "checkpoint-00000010.partial").mkdir()  # what a kill while saving leaves behind
    (tmp_path / "checkpoint-00000010.partial" / "model.safetensors").write_bytes(b"half")
    assert load_checkpoint(tmp_path, model=model, optimizer=optimizer, settings=SETTINGS).step == 9


def test_best_weights_come_back(tmp_path):
    model, _ = trained(seed=0, num_steps=2)
    save_best(tmp_path, model=model, step=2)
    other, _ = trained(seed=1, num_steps=0)
    load_best(tmp_path, model=other, step=2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_a_checkpoint_of_other_settings_is_refused_by_name(tmp_path):
    model, optimizer = trained(seed=0, num_steps=1)
    save(tmp_path, model, optimizer, step=1)
    before = model.one.weight.clone()
    with pytest.raises(ArtifactError, match=r"learning_rate: 0\.1 -> 0\.2; seed: 1 -> 2"):
        load_checkpoint(tmp_path, model=model, optimizer=optimizer, settings={"learning_rate": 0.2, "seed": 2})
    assert torch.equal(model.one.weight, before)


def test_nothing_is_pickled(tmp_path):
    model, optimizer = trained(seed=0, num_steps=1)
    save(tmp_path, model, optimizer, step=1)
    kinds = {file.suffix for file in tmp_path.rglob("*") if file.is_file()}
    assert kinds == {".safetensors", ".json"}
    assert json.loads((tmp_path / "checkpoint-00000001" / "state.json").read_text())["step"] == 1
