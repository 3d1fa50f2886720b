"""The step that makes the baseline: a student trained as DPR is, on passages of a ranking and with no reader.

What it leaves is a student like any other, for ``encode``, ``retrieve`` and ``evaluate``. It is not part of the rounds.
"""

from pathlib import Path

from dogeared.compute import default_device
from dogeared.data.rankings import read_rankings
from dogeared.pipeline.config import Experiment
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.language import settle_language
from dogeared.pipeline.making import Facts, make_from, work_folder
from dogeared.pipeline.steps import RANKINGS_FILE
from dogeared.pipeline.together import joined
from dogeared.retrieval.dual_encoder import DualEncoder
from dogeared.training.loop import seed_of
from dogeared.training.train_supervised import find_examples, train_supervised

__all__ = ["train_dpr"]


@joined
def train_dpr(out: Path, *, data: Path, ranking: Path, start: Path, experiment: Experiment) -> None:
    """Train the baseline.

    Args:
        out: The artifact to make.
        data: The dataset; of its training questions the gold is looked at only where the settings say so.
        ranking: Where positives and hard negatives are looked for, by words as DPR does it.
        start: The student to go on from.
        experiment: For all else.
    """
    experiment = settle_language(experiment, data)
    seed = seed_of(experiment.seed, "supervised")

    def work(folder: Path, facts: Facts) -> None:
        dataset, rankings = Dataset.open(data), read_rankings(ranking / RANKINGS_FILE)
        settings, language = experiment.supervised, experiment.settled_language
        examples = find_examples(dataset.split("train"), rankings, dataset.corpus, settings, language=language)
        model = experiment.retriever.model_copy(update={"model": str(start.absolute())})
        encoder = DualEncoder.load(model).to(default_device())
        state = train_supervised(encoder, examples, settings, seed=seed, folder=work_folder(out), language=language)
        facts |= {"num_examples": len(examples), "losses": [round(loss, 5) for loss in state.losses]}
        encoder.save(folder)

    settings = {
        "retriever": experiment.retriever.model_dump(exclude={"model"}),
        "supervised": experiment.supervised.model_dump(exclude={"save_every_seconds"}),
        "language": experiment.settled_language,
        "seed": seed,
    }
    make_from(
        out,
        "train_dpr",
        settings,
        {"data": data, "ranking": ranking, "start": start},
        work,
        tracking=experiment.tracking,
    )
