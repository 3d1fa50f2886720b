"""The step loop: what a step does, and that a training which was stopped goes on as if it had not been."""

import logging
import os
import signal
import threading
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dogeared.errors import ArtifactError, TrainingError
from dogeared.stopping import Stopped
from dogeared.training import loop
from dogeared.training.loop import LoopSettings, items_of_step, seed_of, train

SETTINGS = LoopSettings(
    steps=6, learning_rate=0.05, schedule="constant", precision="fp32", save_every_seconds=1000.0, max_gradient_norm=1e9
)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Numbers and what the model should make of them."""

    inputs: torch.Tensor
    targets: torch.Tensor

    @property
    def weight(self):
        return len(self.inputs)

    def to(self, device):
        return Batch(inputs=self.inputs.to(device), targets=self.targets.to(device))


class Model(nn.Module):
    """Two layers with dropout between them, and a mean squared error."""

    def __init__(self, dropout=0.5):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1))

    def forward(self, batch):
        return (self.layers(batch.inputs).squeeze(1) - batch.targets).square().mean()


def batches_of_step(step, sizes=(3, 1)):
    torch.manual_seed(1000 + step)
    whole = Batch(inputs=torch.randn(sum(sizes), 4), targets=torch.randn(sum(sizes)))
    parts = zip(whole.inputs.split(sizes), whole.targets.split(sizes), strict=True)
    return [Batch(inputs=inputs, targets=targets) for inputs, targets in parts]


def stopping_in(wanted, number=signal.SIGINT):
    """Batches among which a request to stop comes, in one step."""

    def batches_and_stop(step):
        if step == wanted:
            os.kill(os.getpid(), number)
        return batches_of_step(step)

    return batches_and_stop


def run(folder, model=None, *, batches=batches_of_step, seed=7, evaluate=None, **changes):
    model = model or Model()
    settings = SETTINGS.model_copy(update=changes)
    state = train(model, batches, settings, seed=seed, folder=folder, name="train toy", evaluate=evaluate)
    return model, state


def same_weights(one, two):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_a_step_changes_every_parameter(tmp_path):
    trained, state = run(tmp_path, steps=1)
    fresh = Model()
    assert not any(torch.equal(a, b) for a, b in zip(trained.parameters(), fresh.parameters(), strict=True))
    assert (state.step, len(state.losses), state.best_step) == (1, 1, None)
    assert not trained.training


def test_the_loop_is_the_plain_loop_of_torch(tmp_path):
    model, state = run(
        tmp_path, Model(dropout=0.0), schedule="linear", warmup_steps=2, weight_decay=0.1, max_gradient_norm=0.5
    )
    plain, losses = Model(dropout=0.0), []
    groups = [{"params": [p for p in plain.parameters() if (p.ndim >= 2) == wide]} for wide in (True, False)]
    groups[0]["weight_decay"], groups[1]["weight_decay"] = 0.1, 0.0
    optimizer = torch.optim.AdamW(groups, lr=0.05)
    for step, factor in enumerate([0.5, 1.0, 1.0, 0.75, 0.5, 0.25]):
        (batch,) = batches_of_step(step, sizes=(4,))
        loss = plain(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * factor
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert state.losses == pytest.approx(losses, abs=1e-6)
    for one, two in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=0)


def test_a_step_in_parts_has_the_gradient_of_the_whole(tmp_path):
    gradients = []
    for sizes in ((7,), (4, 1, 2)):
        model = Model(dropout=0.0)
        seen = {}
        for name, parameter in model.named_parameters():
            parameter.register_post_accumulate_grad_hook(
                lambda p, name=name, seen=seen: seen.update({name: p.grad * 1})
            )
        _, state = run(
            tmp_path / str(len(sizes)), model, steps=1, batches=lambda step, s=sizes: batches_of_step(step, s)
        )
        gradients.append((seen, state.losses))
    (whole, whole_losses), (parts, part_losses) = gradients
    assert whole_losses == pytest.approx(part_losses, abs=1e-6)
    for name in whole:
        assert whole[name].abs().max() > 1e-3
        torch.testing.assert_close(parts[name], whole[name], atol=1e-5, rtol=0)


def test_the_same_seed_gives_the_same_weights_and_another_others(tmp_path):
    one, two, other = (run(tmp_path / name, seed=seed)[0] for name, seed in (("a", 7), ("b", 7), ("c", 8)))
    assert same_weights(one, two)
    assert not same_weights(one, other)


@pytest.mark.parametrize("stopped_at", [1, 3, 5])
def test_a_training_that_failed_goes_on_to_the_very_same_weights(tmp_path, stopped_at):
    whole, whole_state = run(tmp_path / "whole")

    def batches_or_error(step):
        if step == stopped_at:
            raise OSError("the disk is gone")
        return batches_of_step(step)

    with pytest.raises(OSError, match="the disk is gone"):
        run(tmp_path / "part", batches=batches_or_error, save_every_seconds=0.0)
    asked_for = []

    def noted(step):
        asked_for.append(step)
        return batches_of_step(step)

    resumed, state = run(tmp_path / "part", batches=noted)
    assert asked_for == list(range(stopped_at, 6))
    assert state == whole_state
    assert same_weights(resumed, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_request_lets_the_step_finish_saves_and_goes_on_from_there(tmp_path, number, caplog):
    whole, whole_state = run(tmp_path / "whole")
    handlers = [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]

    with pytest.raises(KeyboardInterrupt, match="train toy was stopped after step 3 and saved"):
        run(tmp_path / "part", batches=stopping_in(2, number))
    assert f"{number.name}: finishing the current step, then saving" in caplog.text
    assert [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)] == handlers
    assert {path.name for path in (tmp_path / "part").iterdir()} == {"checkpoint-00000003", "curve.jsonl"}
    resumed, state = run(tmp_path / "part")
    assert state == whole_state
    assert same_weights(resumed, whole)


def test_a_stop_request_in_the_last_step_stops_too(tmp_path):
    whole, _ = run(tmp_path / "whole")

    with pytest.raises(KeyboardInterrupt, match="after step 6 and saved"):
        run(tmp_path / "part", batches=stopping_in(5))
    resumed, _ = run(tmp_path / "part", batches=lambda step: pytest.fail("all steps are done"))
    assert same_weights(resumed, whole)


def test_a_second_stop_request_does_not_wait_for_the_step(tmp_path):
    def batches_and_stop(step):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the second signal ends the step")

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, batches=batches_and_stop)
    assert not list(tmp_path.glob("checkpoint-*"))


def test_a_training_outside_of_the_main_thread_leaves_signals_alone(tmp_path):
    found = []
    thread = threading.Thread(target=lambda: found.append(run(tmp_path)[1].step))
    thread.start()
    thread.join()
    assert found == [6]


def test_a_loss_that_is_no_number_is_an_error_that_names_the_step(tmp_path):
    def batches(step):
        (batch,) = batches_of_step(step, sizes=(4,))
        return [batch if step < 2 else Batch(inputs=batch.inputs, targets=batch.targets * float("nan"))]

    with pytest.raises(TrainingError, match=r"train toy: the loss of step 3, .* is nan") as raised:
        run(tmp_path, batches=batches, save_every_seconds=0.0)
    assert "learning rate (0.05)" in str(raised.value)
    assert f"The last good checkpoint is {tmp_path / 'checkpoint-00000002'} before step 3." in str(raised.value)
    kept, state = run(tmp_path, batches=lambda step: batches_of_step(step, sizes=(4,)))
    assert len(state.losses) == 6
    assert same_weights(kept, run(tmp_path / "good", batches=lambda step: batches_of_step(step, sizes=(4,)))[0])


@pytest.mark.parametrize(
    ("size", "named"),
    [(2, "It is the loss of batch 2 of the step. Its questions: 'q2', 'q3'."), (0, "Its questions: 'q0', 'q1',")],
)
def test_a_loss_that_is_no_number_names_the_questions_of_its_batch(tmp_path, size, named):
    def batches(step):
        first, second = batches_of_step(step, sizes=(2, 2))
        return [first, Batch(inputs=second.inputs, targets=second.targets * float("nan"))]

    settings = LoopSettings(steps=3, questions_per_step=4, questions_per_batch=size, precision="fp32")
    with pytest.raises(TrainingError) as raised:
        train(
            Model(),
            batches if size else lambda step: batches(step)[1:],
            settings,
            seed=1,
            folder=tmp_path,
            name="toy",
            ids_of_step=lambda step: [f"q{number}" for number in range(4)],
        )
    assert named in str(raised.value)
    assert "The last good checkpoint is not there: none was made before step 1." in str(raised.value)


def test_a_gradient_that_is_no_number_does_not_reach_the_weights(tmp_path):
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2, 2))

        def forward(self, batch):
            return (self.weight.sum() - 4.0).abs().sqrt() + 1.0  # 1 at the start, where it is infinitely steep

    model = Root()
    with pytest.raises(TrainingError, match=r"the loss of step 1, or its gradient, is (nan|inf)"):
        run(tmp_path, model)
    assert torch.equal(model.weight, torch.ones(2, 2))


@pytest.fixture
def looked_at_later(monkeypatch):
    """As on a GPU: a step begins before the one before it is looked at."""
    monkeypatch.setattr(loop, "_is_looked_at_later", lambda *_: True)


def test_a_step_that_is_looked_at_later_is_looked_at_when_the_next_has_begun(tmp_path, looked_at_later, monkeypatch):
    events = []

    class Noted(loop.Arriving):
        def take(self):
            value = super().take()
            events.append(f"read {value.item():.6f}")
            return value

    monkeypatch.setattr(loop, "Arriving", Noted)
    _, state = run(tmp_path, batches=lambda step: events.append(f"begun {step}") or batches_of_step(step), steps=4)
    seen = [event for event in events if event.startswith("begun") or event[5:] in {f"{x:.6f}" for x in state.losses}]
    losses = [f"read {loss:.6f}" for loss in state.losses]
    assert seen == ["begun 0", "begun 1", losses[0], "begun 2", losses[1], "begun 3", losses[2], losses[3]]


@pytest.mark.parametrize("changes", [{}, {"save_every_seconds": 0.0}, {"evaluate_every_steps": 2}])
def test_a_training_that_is_looked_at_later_is_the_same(tmp_path, monkeypatch, changes):
    found = []
    for name, later in (("at once", False), ("later", True)):
        monkeypatch.setattr(loop, "_is_looked_at_later", lambda *_, later=later: later)
        model = Model()
        evaluate = Measured(model, [0.1, 0.3, 0.2]) if "evaluate_every_steps" in changes else None
        found.append((*run(tmp_path / name, model, evaluate=evaluate, **changes), (tmp_path / name / "curve.jsonl")))
    (model, state, curve), (other, other_state, other_curve) = found
    assert same_weights(model, other)
    assert state == other_state
    assert curve.read_text() == other_curve.read_text()


def test_a_training_that_is_looked_at_later_stops_and_goes_on(tmp_path, looked_at_later):
    whole, whole_state = run(tmp_path / "whole")

    with pytest.raises(KeyboardInterrupt, match="train toy was stopped after step 3 and saved"):
        run(tmp_path / "part", batches=stopping_in(2))
    resumed, state = run(tmp_path / "part")
    assert state == whole_state
    assert same_weights(resumed, whole)


@pytest.mark.parametrize("bad_step", [2, 5])
def test_a_loss_that_is_no_number_ends_the_training_before_it_is_saved_when_looked_at_later(
    tmp_path, looked_at_later, bad_step
):
    def batches(step):
        (batch,) = batches_of_step(step, sizes=(4,))
        return [batch if step != bad_step else Batch(inputs=batch.inputs, targets=batch.targets * float("nan"))]

    with pytest.raises(TrainingError, match=rf"train toy: the loss of step {bad_step + 1}, .* is nan"):
        run(tmp_path, batches=batches, save_every_seconds=0.0)
    kept, state = run(tmp_path, batches=lambda step: batches_of_step(step, sizes=(4,)))
    assert len(state.losses) == 6
    assert same_weights(kept, run(tmp_path / "good", batches=lambda step: batches_of_step(step, sizes=(4,)))[0])


class Measured:
    """Gives the measures of a list one by one, and notes in which mode the model was."""

    def __init__(self, model, values):
        self.model = model
        self.values = list(values)
        self.modes = []

    def __call__(self):
        self.modes.append(self.model.training)
        return self.values.pop(0)


def test_the_weights_of_the_best_measure_are_kept_and_the_earliest_of_equals(tmp_path):
    model = Model()
    evaluate = Measured(model, [0.1, 0.3, 0.3, 0.2])
    trained, state = run(tmp_path / "all", model, evaluate=evaluate, steps=7, evaluate_every_steps=2)
    assert state.evaluations == {2: 0.1, 4: 0.3, 6: 0.3, 7: 0.2}
    assert state.best_step == 4
    assert evaluate.modes == [False] * 4
    wanted, _ = run(tmp_path / "four", steps=4)
    assert same_weights(trained, wanted)
    assert len(state.losses) == 7


def test_the_best_weights_are_kept_across_a_stop(tmp_path):
    def batches_or_error(step):
        if step == 5:
            raise OSError("gone")
        return batches_of_step(step)

    model = Model()
    with pytest.raises(OSError, match="gone"):
        run(
            tmp_path / "a",
            model,
            batches=batches_or_error,
            evaluate=Measured(model, [0.5, 0.9]),
            evaluate_every_steps=2,
        )
    resumed = Model()
    trained, state = run(tmp_path / "a", resumed, evaluate=Measured(resumed, [0.7]), evaluate_every_steps=2)
    assert (state.best_step, state.evaluations) == (4, {2: 0.5, 4: 0.9, 6: 0.7})
    assert same_weights(trained, run(tmp_path / "four", steps=4)[0])


def test_measuring_does_not_change_what_is_trained(tmp_path):
    values = iter(range(6))

    def evaluate():
        torch.manual_seed(5)
        return float(next(values))  # each is better than the one before

    trained, _ = run(tmp_path / "a", evaluate=evaluate, evaluate_every_steps=1)
    assert same_weights(trained, run(tmp_path / "b")[0])


def test_an_interval_of_measures_without_a_measure_is_said_to_bear_on_nothing(tmp_path, caplog):
    run(tmp_path / "a", steps=1, evaluate_every_steps=1)
    assert "train toy: there is nothing to measure on; evaluate_every_steps bears on nothing" in caplog.text


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"steps": 7}, "steps: 6 -> 7"),
        ({"learning_rate": 0.1}, r"learning_rate: 0\.05 -> 0\.1"),
        ({"questions_per_batch": 2}, "questions_per_batch: 0 -> 2"),
        ({"seed": 8}, "seed: 7 -> 8"),
    ],
)
def test_a_training_does_not_go_on_with_other_settings(tmp_path, changes, named):
    run(tmp_path, save_every_seconds=0.0)
    with pytest.raises(ArtifactError, match=named):
        run(tmp_path, **changes)


def test_how_often_is_saved_may_change(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="dogeared")
    first, _ = run(tmp_path, save_every_seconds=0.0)
    second, _ = run(tmp_path, save_every_seconds=5.0, batches=lambda step: pytest.fail("all steps are done"))
    assert same_weights(first, second)
    assert "train toy: goes on after step 6 of 6" in caplog.text


def test_what_is_kept_of_freed_memory_goes_back_at_a_checkpoint_only_once_it_has_grown(tmp_path, monkeypatch):
    taken: list[int] = []
    held = iter([100.0, 100.0, 149.0, 151.0, 100.0, 90.0, 160.0])  # after the first step, then at each checkpoint
    monkeypatch.setattr("dogeared.training.loop.held_mb", lambda: next(held))
    monkeypatch.setattr("dogeared.training.loop.release_freed_memory", lambda: released.append(len(taken)))
    released: list[int] = []
    run(tmp_path, batches=lambda step: taken.append(step) or batches_of_step(step), save_every_seconds=0.0)
    assert released == [3, 6, 6]  # the last time is the end


def test_without_steps_nothing_changes(tmp_path):
    model, state = run(tmp_path, steps=0, batches=lambda step: pytest.fail("no step"))
    assert state.step == 0
    assert same_weights(model, Model())


@given(st.integers(1, 9), st.integers(1, 20), st.integers(0, 3))
def test_every_epoch_holds_each_item_once(num_items, items_per_step, seed):
    num_steps = 3 * num_items
    taken = []
    for step in range(num_steps):
        items = items_of_step(step, num_items=num_items, items_per_step=items_per_step, seed=seed)
        assert len(items) == items_per_step
        taken += items
    epochs = [taken[start : start + num_items] for start in range(0, len(taken), num_items)]
    assert all(sorted(epoch) == list(range(num_items)) for epoch in epochs)


def test_epochs_and_seeds_have_orders_of_their_own():
    epochs = [items_of_step(step, num_items=20, items_per_step=20, seed=1) for step in range(3)]
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert items_of_step(0, num_items=20, items_per_step=20, seed=2) != epochs[0]


def test_a_seed_is_the_same_everywhere():
    # From coreutils: printf '["step", 3]' | sha256sum | cut -c 1-12, as a number
    assert seed_of("step", 3) == int("9b4d8aafae4d", 16)


class Steep(Model):
    """Its gradients in float16 are too large by a known factor."""

    def __init__(self, factor=1.0, dropout=0.0):
        super().__init__(dropout)
        self.factor = factor

    def forward(self, batch):
        return super().forward(batch) * self.factor


def test_fp16_learns_what_fp32_learns(tmp_path):
    exact, _ = run(tmp_path / "32", Steep(0.1), steps=4)
    half, state = run(tmp_path / "16", Steep(0.1), steps=4, precision="fp16")
    assert state.skipped == []
    assert not same_weights(exact, half)
    for one, two in zip(exact.parameters(), half.parameters(), strict=True):
        torch.testing.assert_close(one, two, atol=0.02, rtol=0.02)


def test_fp16_skips_steps_whose_gradients_overflow_until_the_scale_fits(tmp_path, caplog):
    model, before = Steep(factor=100.0), Steep(factor=100.0)
    _, state = run(tmp_path / "first", model, steps=1, precision="fp16")
    assert state.skipped == [0]
    assert same_weights(model, before)
    assert state.scaling["scale"] == 2.0**15
    model = Steep(factor=100.0)
    _, state = run(tmp_path / "all", model, steps=20, precision="fp16")
    assert state.skipped[0] == 0
    assert len(state.skipped) < 12
    assert state.scaling["scale"] == 2.0 ** (16 - len(state.skipped))
    assert not same_weights(model, before)
    assert f"{len(state.skipped)} of 20 steps changed nothing" in caplog.text
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_fp16_goes_on_with_the_scale_it_had(tmp_path):
    whole, at_once = run(tmp_path / "whole", Steep(100.0, dropout=0.5), steps=12, precision="fp16")

    def stopping(step):
        if step == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return batches_of_step(step)

    with pytest.raises(Stopped):
        run(tmp_path / "parts", Steep(100.0, dropout=0.5), batches=stopping, steps=12, precision="fp16")
    resumed, state = run(tmp_path / "parts", Steep(100.0, dropout=0.5), steps=12, precision="fp16")
    assert same_weights(whole, resumed)
    assert (state.losses, state.skipped, state.scaling) == (at_once.losses, at_once.skipped, at_once.scaling)


def test_fp16_does_not_skip_for_ever(tmp_path):
    class Cusp(Model):
        """The root of zero has no slope: no scale makes this gradient finite."""

        def forward(self, batch):
            return (self.layers(batch.inputs) * 0).sum().abs().sqrt()

    with pytest.raises(TrainingError, match="step 17"):
        run(tmp_path, Cusp(dropout=0.0), steps=40, precision="fp16")
