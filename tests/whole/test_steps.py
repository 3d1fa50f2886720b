"""Steps on the artifacts of a finished run: what they refuse, go on with, and take their start from."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dogeared.artifacts import read_manifest
from dogeared.data.rankings import read_rankings
from dogeared.errors import ArtifactError
from dogeared.pipeline import making, steps
from dogeared.pipeline.config import load_experiment
from dogeared.pipeline.dataset import Dataset
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


def test_how_an_index_is_searched_bears_on_a_ranking(run, changed, tmp_path):
    """Of an exact search nothing is noted, as there is nothing to say."""
    folders = {"data": run.data, "retriever": run.untouched.retriever, "vectors": run.untouched.vectors}
    steps.retrieve(tmp_path / "exact", **folders, experiment=changed("index.probes=4"))
    assert read_manifest(tmp_path / "exact").settings.keys() == {"num_passages", "dogeared"}
    few, many = (changed("index.kind=ivfpq", f"index.probes={probes}") for probes in (1, 60))
    steps.retrieve(tmp_path / "approximate", **folders, experiment=few)
    with pytest.raises(ArtifactError, match=r"index\.probes: 1 -> 60"):
        steps.retrieve(tmp_path / "approximate", **folders, experiment=many)


def test_a_student_or_reader_that_reads_less_than_it_was_trained_on_makes_other_artifacts(run, changed, tmp_path):
    usual, shorter = changed(), changed("retriever.max_length_tokens=8", "reader.max_length_tokens=8")
    of_student = {"data": run.data, "retriever": run.untouched.retriever}
    of_reader = {"data": run.data, "ranking": run.round(0).ranking, "reader": run.round(0).reader}
    steps.encode(tmp_path / "vectors", **of_student, experiment=usual)
    steps.retrieve(tmp_path / "ranking", **of_student, vectors=run.untouched.vectors, experiment=usual)
    steps.score_passages(tmp_path / "relevance", **of_reader, experiment=usual, splits=["dev"])
    for made in ("vectors", "ranking", "relevance"):
        assert "max_length_tokens" not in read_manifest(tmp_path / made).settings
    refused = pytest.raises(ArtifactError, match=r"max_length_tokens: \S+ -> 8")
    with refused:
        steps.encode(tmp_path / "vectors", **of_student, experiment=shorter)
    with refused:
        steps.retrieve(tmp_path / "ranking", **of_student, vectors=run.untouched.vectors, experiment=shorter)
    with refused:
        steps.score_passages(tmp_path / "relevance", **of_reader, experiment=shorter, splits=["dev"])


def test_what_is_drawn_at_random_for_a_student_is_noted_with_its_seed(changed, tmp_path):
    first, second = (changed("retriever.vectors=multi", f"seed={seed}") for seed in (0, 1))
    steps.untouched_retriever(tmp_path / "student", experiment=first)
    with pytest.raises(ArtifactError, match=r"seed: 0 -> 1"):
        steps.untouched_retriever(tmp_path / "student", experiment=second)


def test_a_reader_is_given_no_more_passages_than_were_retrieved(run, changed, caplog):
    several = changed("reader.num_passages=20", "language=en")
    assert "reader.num_passages = 20: no more than num_passages = 8 are retrieved" in caplog.text
    assert steps.load_reader(run.round(0).reader, several).settings.num_passages == 8
    assert steps.load_reader(run.round(0).reader, changed("language=en")).settings.num_passages == 4


def test_a_contrastive_loss_is_told_what_was_retrieved(run, changed, tmp_path, monkeypatch):
    told = []
    train = steps.train_retriever_in_place
    monkeypatch.setattr(
        steps,
        "train_retriever_in_place",
        lambda *given, **named: told.append(named["retrieved"]) or train(*given, **named),
    )
    folders = {"data": run.data, "relevance": run.round(1).relevance, "start": run.untouched.retriever}
    rankings = read_rankings(run.round(0).ranking / "rankings.parquet")
    dataset = Dataset.open(run.data)
    for name, overrides in (
        ("plain", []),
        ("contrastive", ["retriever_training.contrastive_weight=0.5"]),
        ("left-out", ["retriever_training.contrastive_weight=0.5", "leave_out_source=true"]),
    ):
        steps.train_retriever(
            tmp_path / name, **folders, experiment=changed(*overrides), round_number=1, ranking=run.round(0).ranking
        )
        assert ("ranking" in read_manifest(tmp_path / name).inputs) is (name != "plain")
        for question in dataset.split("train"):
            expected = () if name == "plain" else rankings[question.id].passage_ids
            expected += question.gold if name == "left-out" else ()
            assert told[-1][question.id] == expected
