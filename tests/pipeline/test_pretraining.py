"""A reader's start made of an encoder and the passages of a dataset."""

from dogeared.artifacts import read_manifest
from dogeared.pipeline.config import load_experiment
from dogeared.pipeline.dataset import prepare_data
from dogeared.pipeline.pretraining import pretrain_reader
from dogeared.reader.fid import FusionInDecoder


def test_the_start_is_an_artifact_that_loads_as_a_reader(tiny_data, tmp_path):
    prepare_data(
        tmp_path / "data", questions=tiny_data / "questions.jsonl", passages=tiny_data / "passages.jsonl", seed=0
    )
    experiment = load_experiment(
        preset="tiny",
        overrides=[
            "reader.model=demo:encoder",
            "copying_decoder.heads=4",
            "reader_pretraining.steps=2",
            "reader_pretraining.questions_per_step=4",
        ],
    )
    out = tmp_path / "start"
    pretrain_reader(out, data=tmp_path / "data", experiment=experiment)
    assert len(read_manifest(out).facts["losses"]) == 2
    before = read_manifest(out).fingerprint
    pretrain_reader(out, data=tmp_path / "data", experiment=experiment)  # done before
    assert read_manifest(out).fingerprint == before
    reader = FusionInDecoder.load(experiment.reader.model_copy(update={"model": str(out)}))
    assert reader.generate(reader.batch(["Who?"], [[]]))
