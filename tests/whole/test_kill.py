"""A run that is killed in every one of its steps ends as one that was never disturbed, to the bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dogeared.artifacts import read_manifest, verify

DRIVER = Path(__file__).with_name("kill_driver.py")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def driven(tmp_path_factory, tiny_data, tiny_settings):
    """What the driver saw, and the folder with its runs."""
    folder = tmp_path_factory.mktemp("kill")
    arguments = ["--questions", str(tiny_data / "questions.jsonl"), "--passages", str(tiny_data / "passages.jsonl")]
    for override in (*tiny_settings, "encoding.shard_passages=4"):
        arguments += ["--set", override]
    for part in ("reader_training", "retriever_training"):
        arguments += ["--set", f"{part}.save_every_seconds=0"]
    path = os.pathsep.join(filter(None, [str(DRIVER.parents[1]), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(folder), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), folder


def test_it_was_killed_in_every_step_and_mostly_in_the_middle(driven):
    found, _ = driven
    assert found["whole_code"] == 0, found["whole_messages"]
    assert len(found["killed"]) == 18
    long_steps = {step for step in found["killed"] if step.endswith(("reader", "round-1/retriever", "vectors"))}
    assert long_steps <= set(found["half_done"])


def test_no_finished_step_is_done_again(driven):
    found, _ = driven
    assert found["last_code"] == 0
    assert found["repeated"] == []


def test_the_end_is_that_of_an_undisturbed_run(driven):
    _, folder = driven
    whole, killed = folder / "whole", folder / "killed"
    manifests = sorted(path.parent.relative_to(whole) for path in whole.rglob("manifest.json"))
    assert len(manifests) == 18
    for name in manifests:
        verify(killed / name)
        one, two = read_manifest(whole / name), read_manifest(killed / name)
        assert one.files == two.files, name
        assert one.fingerprint == two.fingerprint
        assert {**one.facts, "cost": None} == {**two.facts, "cost": None}
    names = [{str(path.relative_to(out)) for path in out.rglob("*")} for out in (whole, killed)]
    assert names[0] == names[1], "nothing half done is left behind"

    def results(out):
        found = json.loads((out / "results.json").read_text())
        return {**found, "rounds": [{**entry, "steps": sorted(entry["steps"])} for entry in found["rounds"]]}

    assert results(whole) == results(killed)
    assert (whole / "experiment.json").read_text() == (killed / "experiment.json").read_text()


def test_a_run_that_is_killed_at_random_ends_the_same(driven):
    found, _ = driven
    trial = found["trial"]
    assert trial["faults"] == []
    assert len(trial["kills"]) >= 1
    assert found["trial_differs"] == []


def test_ctrl_c_saves_and_says_how_to_go_on(driven):
    found, folder = driven
    code, messages = found["interrupted"]["code"], found["interrupted"]["messages"]
    assert code == 130
    assert "train reader was stopped after step" in messages
    assert "Run the same command again to go on." in messages
    assert "Traceback" not in messages
    (checkpoint,) = (folder / "interrupted" / "round-0" / "reader.work").glob("checkpoint-*")
    step = int(checkpoint.name.rsplit("-", 1)[1])
    assert f"stopped after step {step} and saved" in messages
    assert json.loads((checkpoint / "state.json").read_text())["step"] == step < 2000


def test_sigterm_in_a_step_without_training_says_how_to_go_on(driven):
    found, _ = driven
    code, messages = found["terminated"]["code"], found["terminated"]["messages"]
    assert code == 143
    assert "dogeared: stopped by SIGTERM. Run the same command again to go on." in messages
    assert "Traceback" not in messages
