"""Passages added to a finished run and removed from it: found or gone, with nothing but new ones encoded."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dogeared import api
from dogeared.cli import app
from dogeared.errors import ArtifactError, DataError
from dogeared.locks import hold
from dogeared.pipeline.config import load_experiment
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.doctor import examine
from dogeared.pipeline.editing import add_passages, remove_passages
from dogeared.pipeline.layout import RunFolder
from dogeared.retrieval.bm25 import BM25Retriever
from dogeared.retrieval.dual_encoder import DualEncoder
from dogeared.retrieval.vectors import StoredVectors
from dogeared.service import QuestionAnswering


@pytest.fixture
def run(tiny_run, tmp_path):
    copy = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    results = copy / "results.json"
    results.write_text(json.dumps(json.loads(results.read_text()) | {"best": 1}))
    return copy


@pytest.fixture
def more(tmp_path):
    file = tmp_path / "more.jsonl"
    rows = [{"id": f"new-{n}", "title": f"the house {n}", "text": "she was born in the sea zanzibar"} for n in range(3)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def vectors(run, name="round-1"):
    return StoredVectors.open(RunFolder(run).as_edited().folder(name).vectors).vectors


def test_new_passages_are_found_and_only_they_are_encoded(run, more, monkeypatch):
    make, encoded = DualEncoder.passage_chunks, []
    monkeypatch.setattr(
        DualEncoder, "passage_chunks", lambda self, given, **rest: (encoded.extend(given), make(self, given, **rest))[1]
    )
    results, before = (run / "results.json").read_bytes(), np.array(vectors(run))
    assert add_passages(run, more) == 33
    assert {passage.id for passage in encoded} == {"new-0", "new-1", "new-2"}
    after = vectors(run)
    assert after.shape == (33, before.shape[1])
    np.testing.assert_array_equal(after[:30], before)
    assert np.abs(after[30:]).max(axis=1).min() > 0
    assert (run / "results.json").read_bytes() == results
    assert examine(run) == []
    words = BM25Retriever.load(RunFolder(run).as_edited().words)
    service = QuestionAnswering.open(run, hybrid=True, both=True)
    assert {found.passage.id for found in service.search("zanzibar", k=3)} == {"new-0", "new-1", "new-2"}
    assert service.search("zanzibar", k=1, side="before")[0].passage.text.endswith("zanzibar")
    ids = {found.passage.id for found in QuestionAnswering.open(run).search("the sea", k=33)}
    assert len(ids) == 33
    corpus = Dataset.open(RunFolder(run).as_edited().data).corpus
    fresh = BM25Retriever.build(corpus.passages(range(33)), words.settings)
    asked = Dataset.open(run / "data").questions
    assert words.retrieve(asked, 9) == fresh.retrieve(asked, 9)


def test_removed_passages_are_gone_and_the_rest_keeps_its_vectors(run, more):
    before, ids = np.array(vectors(run)), Dataset.open(run / "data").corpus.ids(range(30))
    assert remove_passages(run, [ids[3], ids[0], ids[3]]) == 28
    kept = [row for row in range(30) if row not in (0, 3)]
    np.testing.assert_array_equal(vectors(run), before[kept])
    assert Dataset.open(RunFolder(run).as_edited().data).corpus.ids(range(28)) == [ids[row] for row in kept]
    found = [one.passage.id for one in QuestionAnswering.open(run).search("who was born", k=99)]
    assert sorted(found) == sorted(ids[row] for row in kept)
    assert add_passages(run, more) == 31
    assert remove_passages(run, ["new-1"]) == 30
    assert [path.name for path in (run / "edited").iterdir()] == ["000003"]
    assert examine(run) == []
    assert len(Dataset.open(run / "data").corpus) == 30, "the run's own passages stay"


def test_a_killed_edit_changes_nothing_and_can_be_done_again(run, more, monkeypatch):
    add_passages(run, more)

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("dogeared.pipeline.editing.carry_vectors", killed)
        remove_passages(run, ["new-0"])
    assert len(QuestionAnswering.open(run).search("the sea", k=99)) == 33
    assert {finding.is_wrong for finding in examine(run)} == {False}, "half a state is noted, and nothing is wrong"
    assert remove_passages(run, ["new-0"]) == 32
    assert examine(run) == []


def test_what_cannot_be_is_refused_and_leaves_all_as_it_was(run, more):
    ids = Dataset.open(run / "data").corpus.ids(range(30))
    with pytest.raises(DataError, match="expected the id of one of the 30 passages, found 'nobody'"):
        remove_passages(run, ["nobody"])
    with pytest.raises(DataError, match="keep at least one passage"):
        remove_passages(run, ids)
    add_passages(run, more)
    with pytest.raises(DataError, match="'new-0', which is taken"):
        add_passages(run, more)
    with hold(run), pytest.raises(ArtifactError, match="is working in this directory"):
        add_passages(run, more)
    assert len(Dataset.open(RunFolder(run).as_edited().data).corpus) == 33


def test_the_commands(run, more):
    done = CliRunner().invoke(app, ["add-passages", str(run), str(more)])
    assert (done.exit_code, done.stdout) == (0, f"33 passages in {run}\n")
    done = CliRunner().invoke(app, ["remove-passages", str(run), "new-0", "new-2"])
    assert (done.exit_code, done.stdout) == (0, f"31 passages left in {run}\n")


def test_a_run_that_is_trained_further_finds_the_changed_passages(run, more, tiny_data, tiny_settings):
    ids = Dataset.open(run / "data").corpus.ids(range(30))
    add_passages(run, more)
    remove_passages(run, [ids[4], "new-1"])
    experiment = load_experiment(overrides=[*tiny_settings, "rounds.max=2", "rounds.patience=9"])
    files = {name: tiny_data / f"{name}.jsonl" for name in ("questions", "passages")}
    api.run_experiment(experiment, **files, out=run)
    results = run / "results.json"
    results.write_text(json.dumps(json.loads(results.read_text()) | {"best": 2}))
    service = QuestionAnswering.open(run)
    found = {one.passage.id for one in service.search("zanzibar", k=99)}
    assert found == {*ids, "new-0", "new-2"} - {ids[4]}
    kept = [row for row in range(30) if row != 4]
    base = StoredVectors.open(RunFolder(run).round(2).vectors).vectors
    np.testing.assert_array_equal(vectors(run, "round-2")[:29], base[kept])
    assert vectors(run, "round-2").shape == (31, base.shape[1])
    assert examine(run) == []
    before = sorted(path.name for path in (run / "edited").iterdir())
    api.run_experiment(experiment, **files, out=run)
    assert sorted(path.name for path in (run / "edited").iterdir()) == before, "nothing is done twice"
    assert remove_passages(run, ["new-0"]) == 30
