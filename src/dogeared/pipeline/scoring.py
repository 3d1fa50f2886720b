"""The step in which a teacher judges passages: the paper's second.

It stands apart from the other steps because so many teachers can do it; which one is the experiment's choice, and what
it needs and how it judges is in ``distill/``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dogeared.artifacts import check_sizes, read_manifest
from dogeared.compute import default_device
from dogeared.data.rankings import read_likelihoods, read_rankings, write_likelihoods, write_relevance
from dogeared.data.readings import Readings
from dogeared.distill.choosing import TeacherSettings, choose_teacher, settings_of_teacher
from dogeared.distill.labels import MixedWithGold
from dogeared.distill.likelihood import AnswerLikelihoods, of_whole_answer
from dogeared.distill.teachers import Teacher
from dogeared.errors import TrainingError
from dogeared.pipeline.config import Experiment
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.language import settle_language
from dogeared.pipeline.making import Facts, make_from
from dogeared.reader.fid import ReaderSettings
from dogeared.reader.kinds import Reader, open_reader
from dogeared.records import AnswerLikelihood, Ranking
from dogeared.retrieval.dual_encoder import RetrieverSettings

__all__ = [
    "LIKELIHOODS_FILE",
    "RANKINGS_FILE",
    "RELEVANCE_FILE",
    "load_reader",
    "noted_length",
    "noted_source",
    "readings_of",
    "score_passages",
    "token_likelihoods",
]

RANKINGS_FILE = "rankings.parquet"
RELEVANCE_FILE = "relevance.parquet"
LIKELIHOODS_FILE = "likelihoods.parquet"


def score_passages(
    out: Path,
    *,
    data: Path,
    ranking: Path,
    reader: Path | None,
    experiment: Experiment,
    splits: Sequence[str],
    teacher: TeacherSettings | None = None,
    depth: int | None = None,
) -> None:
    """Write down how relevant a teacher finds the passages of each question: the experiment's where none is named.

    Of training questions it scores as many passages as the student will compare, which may be more than a reader reads
    to answer; of others, where it is the reader that is measured, as many as it reads; of all, ``depth`` where that is
    given. A teacher that does not read needs no reader, and does not depend on the one given. Beside the relevance
    stand the likelihoods of single tokens, where the teacher is one of whole likelihoods: a loss that sums over
    passages anew for each token wants them.

    Raises:
        ConfigError: The teacher reads, and there is no reader.
        TrainingError: The teacher has nothing to say of any training question that has passages.
    """
    experiment = settle_language(experiment, data)
    chosen = teacher or experiment.teacher
    num_passages = {
        split: depth or (experiment.retriever_training if split == "train" else experiment.reader).num_passages
        for split in splits
    }

    gold: dict[str, float] = {}
    if chosen.gold_weight and "train" in splits:
        temperature = experiment.retriever_training.teacher_temperature
        gold = {"weight": chosen.gold_weight, "temperature": temperature}

    def work(folder: Path, facts: Facts) -> None:
        dataset, rankings = Dataset.open(data), read_rankings(ranking / RANKINGS_FILE)
        judge = choose_teacher(
            chosen,
            reader=load_reader(reader, experiment) if chosen.reads and reader is not None else None,
            aggregation=experiment.relevance,
            language=experiment.settled_language,
            precision=experiment.reader_training.precision,
        )
        readings = {
            split: readings_of(dataset, rankings, split, number, experiment) for split, number in num_passages.items()
        }
        supervised = MixedWithGold(judge, **gold) if gold else judge  # what is measured knows no labels
        facts |= _write_judgement(folder, judge, readings, supervised)

    settings = settings_of_teacher(chosen, aggregation=experiment.relevance, language=experiment.settled_language)
    inputs = {"data": data, "ranking": ranking}
    if chosen.reads and reader is not None:
        inputs["reader"] = reader
        settings |= noted_length(reader, experiment.reader)
    settings = {"num_passages": num_passages, **settings, **(noted_source(experiment) if "train" in splits else {})}
    settings |= {"supervised_gold": gold} if gold else {}
    make_from(out, "score_passages", settings, inputs, work)


def noted_source(experiment: Experiment) -> dict[str, bool]:
    """Return what goes into a manifest where training questions are read without their source; else nothing."""
    return {"leave_out_source": True} if experiment.leave_out_source else {}


def noted_length(model: Path, settings: ReaderSettings | RetrieverSettings) -> dict[str, int]:
    """Return what goes into a manifest where a model reads texts cut otherwise than it was trained on; else nothing."""
    role = "reader" if isinstance(settings, ReaderSettings) else "retriever"
    trained = read_manifest(model).settings.get(role, {}).get("max_length_tokens", settings.max_length_tokens)
    return {} if trained == settings.max_length_tokens else {"max_length_tokens": settings.max_length_tokens}


def load_reader(folder: Path, experiment: Experiment) -> Reader:
    """Load a trained reader onto the device.

    Raises:
        ArtifactError: There is none, or a file of it is missing or cut.
    """
    check_sizes(folder)
    # It was trained on as many passages as were retrieved, where it could read more.
    several = min(experiment.reader.num_passages, experiment.num_passages)
    settings = experiment.reader.model_copy(update={"model": str(folder.absolute()), "num_passages": several})
    return open_reader(settings, language=experiment.settled_language).to(default_device()).eval()


def readings_of(
    dataset: Dataset, rankings: Mapping[str, Ranking], split: str, num_passages: int, experiment: Experiment
) -> Readings:
    """Name what is read with each question of a split; a training question maybe without its source."""
    return Readings(
        questions=dataset.split(split),
        rankings=rankings,
        corpus=dataset.corpus,
        num_passages=num_passages,
        leave_out_gold=experiment.leave_out_source and split == "train",
    )


def token_likelihoods(relevance: Path, experiment: Experiment) -> dict[str, AnswerLikelihood] | None:
    """Read the likelihoods of single tokens that stand beside relevance, if the student's loss wants them.

    Raises:
        ArtifactError: There are none: another teacher made the relevance.
    """
    if experiment.retriever_training.loss != "emdr2_tokens":
        return None
    return read_likelihoods(relevance / LIKELIHOODS_FILE)


def _write_judgement(
    folder: Path, teacher: Teacher, readings: Mapping[str, Readings], of_training: Teacher
) -> dict[str, Any]:
    """Write what a teacher says; return of how many questions it was asked, and of how many it has nothing to say.

    Args:
        folder: Where to write.
        teacher: Judges all questions but those of training.
        readings: What is judged, by split.
        of_training: Judges those; the same but for labels that may be mixed in.
    """
    if isinstance(teacher, AnswerLikelihoods) and teacher.kind == "likelihood" and of_training is teacher:
        tokens = [item for some in readings.values() for item in teacher.of_tokens(some)]
        write_likelihoods(tokens, folder / LIKELIHOODS_FILE)
        relevance = [of_whole_answer(item) for item in tokens]
    else:
        by_split = {split: of_training if split == "train" else teacher for split in readings}
        relevance = [item for split, some in readings.items() for item in by_split[split].relevance(some)]
    said = {item.question_id for item in relevance if item.passage_ids}
    train = readings.get("train")
    if train is not None:
        asked = [question.id for index, question in enumerate(train.questions) if train.passage_ids(index)]
        if asked and said.isdisjoint(asked):
            raise TrainingError(
                f"expected a teacher that judges passages of training questions; {type(teacher).__name__} says nothing "
                f"of any of the {len(asked)}, the first of which is {asked[0]!r}, so that there is nothing to learn. "
                "Give it what it needs (answers, gold labels, a file made for these questions and passages), or choose "
                "another teacher.kind"
            )
    write_relevance(relevance, folder / RELEVANCE_FILE)
    return {"num_questions": len(relevance), "num_silent": len(relevance) - len(said)}
