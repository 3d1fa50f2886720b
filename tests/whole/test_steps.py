"""Steps on the artifacts of a finished run: what they refuse, go on with, and take their start from."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dogeared.artifacts import read_manifest
from dogeared.errors import ArtifactError
from dogeared.pipeline import making, steps
from dogeared.pipeline.config import load_experiment
from dogeared.pipeline.layout import RunFolder
from dogeared.training import loop


@pytest.fixture
def run(tiny_run):
    return RunFolder(tiny_run)


@pytest.fixture
def changed(tiny_settings):
    """Makes an experiment like the tiny one but for a few settings."""
    return lambda *overrides: load_experiment(overrides=[*tiny_settings, *overrides])


def fail_after(num_steps, monkeypatch):
    """Let training break down after some steps."""
    step = loop._step
    done = []

    def failing(*arguments):
        if len(done) == num_steps:
            raise OSError("the disk is gone")
        done.append(None)
        return step(*arguments)

    monkeypatch.setattr(loop, "_step", failing)


def train_reader(run, out, experiment):
    steps.train_reader(out, data=run.data, ranking=run.round(0).ranking, experiment=experiment, round_number=0)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("reader_training.learning_rate=0.02", r"reader_training\.learning_rate: 0\.01 -> 0\.02"),
        ("reader.num_passages=3", r"reader\.num_passages: 4 -> 3"),
        ("language=zh", 'language: "en" -> "zh"'),
        ("seed=1", r"seed: \d+ -> \d+"),
    ],
)
def test_a_finished_step_of_other_settings_is_refused_by_name(run, changed, override, named):
    with pytest.raises(ArtifactError, match=rf"reader was made with other settings: {named}\. "):
        train_reader(run, run.round(0).reader, changed(override))


def test_how_often_is_saved_bears_on_nothing(run, changed):
    train_reader(run, run.round(0).reader, changed("reader_training.save_every_seconds=1"))


def test_a_training_that_broke_down_goes_on_to_the_same_reader(run, changed, tmp_path, monkeypatch):
    experiment = changed("reader_training.save_every_seconds=0")
    with monkeypatch.context() as patched, pytest.raises(OSError, match="the disk is gone"):
        fail_after(2, patched)
        train_reader(run, tmp_path / "reader", experiment)
    assert (tmp_path / "reader.work" / "checkpoint-00000002").is_dir()
    with pytest.raises(ArtifactError, match=r"reader\.work was made with other settings: reader\.num_passages: 4 -> 3"):
        train_reader(run, tmp_path / "reader", changed("reader.num_passages=3"))
    train_reader(run, tmp_path / "reader", experiment)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves", "reader"]
    assert read_manifest(tmp_path / "reader").files == read_manifest(run.round(0).reader).files
    assert read_manifest(tmp_path / "reader").facts["losses"] == read_manifest(run.round(0).reader).facts["losses"]


def test_vectors_begun_with_one_student_are_not_finished_with_another(run, changed, tmp_path, monkeypatch):
    experiment = changed("encoding.shard_passages=8")

    def encode(retriever):
        steps.encode(tmp_path / "vectors", data=run.data, retriever=retriever, experiment=experiment)

    with monkeypatch.context() as patched, pytest.raises(OSError, match="the disk is gone"):
        real = steps.encode_corpus

        def failing(encoder, corpus, folder, settings, kind):
            make, asked = encoder.passage_chunks, []

            def passage_chunks(passages, **rest):
                if asked:
                    raise OSError("the disk is gone")
                asked.append(passages)
                return make(passages, **rest)

            encoder.passage_chunks = passage_chunks
            real(encoder, corpus, folder, settings, kind)

        patched.setattr(steps, "encode_corpus", failing)
        encode(run.round(1).retriever)
    assert (tmp_path / "vectors.work" / "encoded.json").read_text() == '{"passages": 8}'
    with pytest.raises(ArtifactError, match=r"vectors\.work was made with other settings: .*input retriever"):
        encode(run.untouched.retriever)
    encode(run.round(1).retriever)
    assert (tmp_path / "vectors" / "vectors.npy").stat().st_size == 128 + 30 * 32 * 4
    assert not making.work_folder(tmp_path / "vectors").exists()


def weights(folder):
    return load_file(folder / "model.safetensors")


def test_the_student_goes_on_from_where_it_stands_and_every_reader_starts_anew(run, changed, tmp_path):
    here = run.round(1)
    steps.train_retriever(
        tmp_path / "student",
        data=run.data,
        relevance=here.relevance,
        start=here.retriever,
        experiment=changed("retriever_training.steps=0"),
        round_number=2,
    )
    start, student = weights(here.retriever), weights(tmp_path / "student")
    assert start.keys() == student.keys()
    assert all(torch.equal(start[name], student[name]) for name in start)
    assert not all(torch.equal(start[name], value) for name, value in weights(run.untouched.retriever).items())

    steps.train_reader(
        tmp_path / "reader",
        data=run.data,
        ranking=here.ranking,
        experiment=changed("reader_training.steps=0"),
        round_number=1,
    )
    fresh = weights(tmp_path / "reader")
    pretrained = weights(Path(changed().reader.model))
    assert all(torch.equal(fresh[name], value) for name, value in pretrained.items())
    assert not all(torch.equal(fresh[name], value) for name, value in weights(here.reader).items())


def test_a_reader_may_go_on_from_the_one_of_the_round_before(run, changed, tmp_path):
    """Without a step it is that reader, and it says what it was made from."""
    before = run.round(0).reader
    experiment = changed("reader_training.steps=0", "reader_training.curriculum_steps=2")
    steps.train_reader(
        tmp_path / "reader",
        data=run.data,
        ranking=run.round(1).ranking,
        experiment=experiment,
        round_number=1,
        start=before,
    )
    start, kept = weights(before), weights(tmp_path / "reader")
    assert all(torch.equal(start[name], kept[name]) for name in start)
    manifest = read_manifest(tmp_path / "reader")
    assert manifest.inputs["start"] == read_manifest(before).fingerprint
    assert manifest.settings["reader_training"]["curriculum_steps"] == 0, "it has learned to copy"
    with pytest.raises(ArtifactError, match="input start"):
        steps.train_reader(
            tmp_path / "reader",
            data=run.data,
            ranking=run.round(1).ranking,
            experiment=changed("reader_training.steps=0"),
            round_number=1,
        )


def test_a_step_does_not_replace_what_is_no_artifact(run, changed, tmp_path):
    (tmp_path / "reader").mkdir()
    (tmp_path / "reader" / "notes.txt").write_text("precious")
    with pytest.raises(ArtifactError, match="expected an artifact to replace"):
        train_reader(run, tmp_path / "reader", changed())
    assert (tmp_path / "reader" / "notes.txt").read_text() == "precious"


def test_an_input_that_is_not_finished_is_named(run, changed, tmp_path):
    shutil.copytree(run.round(0).ranking, tmp_path / "ranking")
    (tmp_path / "ranking" / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match="ranking: expected a finished artifact, found no manifest"):
        steps.train_reader(
            tmp_path / "reader", data=run.data, ranking=tmp_path / "ranking", experiment=changed(), round_number=0
        )
