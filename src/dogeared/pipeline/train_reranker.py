"""The step that makes a re-ranker: a cross-encoder trained on what a teacher said, for ``reranker.model``.

It is not part of the rounds: a run takes it as a model that is there.
"""

from pathlib import Path

import torch

from dogeared.data.rankings import read_relevance
from dogeared.distill.cross_encoder import load_cross_encoder
from dogeared.errors import ConfigError
from dogeared.pipeline.config import Experiment
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.making import Facts, make_from, work_folder
from dogeared.pipeline.scoring import RELEVANCE_FILE
from dogeared.pipeline.together import joined
from dogeared.training.loop import seed_of
from dogeared.training.train_reranker import train_reranker as train_in_place

__all__ = ["train_reranker"]


@joined
def train_reranker(out: Path, *, data: Path, relevance: Path, experiment: Experiment) -> None:
    """Train a cross-encoder.

    Args:
        out: The artifact to make; a folder that sentence-transformers' ``CrossEncoder`` loads.
        data: The dataset.
        relevance: What a teacher said of the passages of training questions.
        experiment: For ``reranker_training``.

    Raises:
        ConfigError: It says no model to start from.
    """
    settings = experiment.reranker_training
    if not settings.model:
        raise ConfigError(
            "reranker_training.model: expected a cross-encoder or a plain encoder to start from, got none; give a name "
            "on the hub or a folder"
        )
    seed = seed_of(experiment.seed, "reranker")

    def work(folder: Path, facts: Facts) -> None:
        dataset = Dataset.open(data)
        torch.manual_seed(seed)  # for a head that is fresh
        model = load_cross_encoder(settings.model, setting="reranker_training.model")
        said = read_relevance(relevance / RELEVANCE_FILE)
        asked = dataset.split("train")
        state = train_in_place(model, asked, said, dataset.corpus, settings, seed=seed, folder=work_folder(out))
        facts["losses"] = [round(loss, 5) for loss in state.losses]
        model.save_pretrained(str(folder), create_model_card=False)

    told = {"reranker_training": settings.model_dump(exclude={"save_every_seconds"}), "seed": seed}
    make_from(out, "train_reranker", told, {"data": data, "relevance": relevance}, work)
