"""A reader's start, made where no pretrained encoder-decoder is at hand: from a plain encoder and the passages alone.

The result is a folder to give as ``reader.model``: every round's fresh reader then begins from it.
"""

import random
from pathlib import Path

from dogeared.compute import default_device
from dogeared.data.corpus import Corpus
from dogeared.pairs import PASSAGE_TEMPLATE
from dogeared.pipeline.config import Experiment
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.making import Facts, make_from, work_folder
from dogeared.pipeline.together import joined
from dogeared.reader.copying import make_copying_reader
from dogeared.training.loop import seed_of
from dogeared.training.pretrain_reader import pretrain_reader as pretrain_in_place

__all__ = ["pretrain_reader"]

_NUM_PROBED = 700


@joined
def pretrain_reader(out: Path, *, data: Path, experiment: Experiment) -> None:
    """Put a decoder that starts as a copier on ``reader.model``, a plain encoder, and teach it to find and to copy.

    Args:
        out: The artifact to make.
        data: A dataset; only its passages are looked at.
        experiment: For ``reader``, ``copying_decoder`` and ``reader_pretraining``.
    """
    seed = seed_of(experiment.seed, "reader pretraining")

    def work(folder: Path, facts: Facts) -> None:
        corpus = Dataset.open(data).corpus
        reader = make_copying_reader(
            experiment.reader.model,
            _texts(corpus, seed),
            decoder=experiment.copying_decoder,
            settings=experiment.reader,
            seed=seed,
        ).to(default_device())
        state = pretrain_in_place(reader, corpus, experiment.reader_pretraining, seed=seed, folder=work_folder(out))
        facts["losses"] = [round(loss, 5) for loss in state.losses]
        reader.save(folder)

    settings = {
        "reader": experiment.reader.model_dump(include={"model", "max_length_tokens", "max_answer_tokens"}),
        "copying_decoder": experiment.copying_decoder.model_dump(),
        "reader_pretraining": experiment.reader_pretraining.model_dump(exclude={"save_every_seconds"}),
        "seed": seed,
    }
    make_from(out, "pretrain_reader", settings, {"data": data}, work, tracking=experiment.tracking)


def _texts(corpus: Corpus, seed: int) -> list[str]:
    """Draw passages and write them as the reader will read them."""
    rows = random.Random(seed).sample(range(len(corpus)), min(len(corpus), _NUM_PROBED))
    return [
        PASSAGE_TEMPLATE.format(question="", title=passage.title, text=passage.text)
        for passage in corpus.passages(rows)
    ]
