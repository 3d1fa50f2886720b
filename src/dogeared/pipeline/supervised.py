"""The step that makes the baseline: a student trained as DPR is, on passages of a ranking and with no reader.

What it leaves is a student like any other, for ``encode``, ``retrieve`` and ``evaluate``. It is not part of the rounds.
"""

from collections.abc import Container
from dataclasses import replace
from pathlib import Path

from dogeared.compute import default_device
from dogeared.data.rankings import read_rankings
from dogeared.errors import ConfigError
from dogeared.pipeline.config import Experiment
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.language import settle_language
from dogeared.pipeline.making import Facts, make_from, work_folder
from dogeared.pipeline.scoring import RANKINGS_FILE, noted_source
from dogeared.pipeline.together import joined
from dogeared.records import Ranking
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
    if experiment.leave_out_source and experiment.supervised.positives == "gold":
        raise ConfigError(
            'leave_out_source: expected false with supervised.positives = "gold", got true; labelled passages would '
            "be those left out"
        )
    seed = seed_of(experiment.seed, "supervised")

    def work(folder: Path, facts: Facts) -> None:
        dataset, rankings = Dataset.open(data), read_rankings(ranking / RANKINGS_FILE)
        settings, language = experiment.supervised, experiment.settled_language
        questions = dataset.split("train")
        if experiment.leave_out_source:
            rankings = {
                question.id: _without(rankings[question.id], question.gold)
                for question in questions
                if question.id in rankings
            }
        examples = find_examples(questions, rankings, dataset.corpus, settings, language=language)
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
        **noted_source(experiment),
    }
    make_from(
        out,
        "train_dpr",
        settings,
        {"data": data, "ranking": ranking, "start": start},
        work,
        tracking=experiment.tracking,
    )


def _without(ranking: Ranking, passage_ids: Container[str]) -> Ranking:
    """Leave passages out of a ranking."""
    kept = [place for place, passage_id in enumerate(ranking.passage_ids) if passage_id not in passage_ids]
    ids, scores = ranking.passage_ids, ranking.scores
    return replace(
        ranking, passage_ids=tuple(ids[place] for place in kept), scores=tuple(scores[place] for place in kept)
    )
