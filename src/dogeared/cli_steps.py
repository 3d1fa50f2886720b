"""The commands that make one artifact each: the method step by step, for whoever wants to see or change one.

Each reads its options, makes one call of ``pipeline/steps.py``, and prints. They stand beside the others at the top of
the command line; what goes wrong in them becomes an exit code there.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "Config",
    "Data",
    "Out",
    "Overrides",
    "Preset",
    "RankingFolder",
    "SkipBadRows",
    "make_experiment",
    "say_done",
    "steps_app",
]

steps_app = typer.Typer()

Preset = Annotated[str | None, typer.Option(help="Shipped settings: tiny, cpu, base or paper.")]
Config = Annotated[Path | None, typer.Option(help="A TOML file whose settings win over the preset's.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting; wins over preset and file.")
]
SkipBadRows = Annotated[bool, typer.Option(help="Leave bad rows out and count them.")]
Out = Annotated[Path, typer.Option(help="Where the artifact shall stand.")]
Data = Annotated[Path, typer.Option(help="A dataset made by `dogeared prepare`.")]
RankingFolder = Annotated[Path, typer.Option("--ranking", help="A ranking made by `dogeared retrieve`.")]
KeptVectors = Annotated[
    Path | None,
    typer.Option("--vectors", help="Vectors of a student that keeps them: retriever.encoders = query_only."),
]


@steps_app.command()
def prepare(
    questions: Annotated[Path, typer.Option(help="Questions with answers.")],
    out: Out,
    passages: Annotated[Path | None, typer.Option(help="Passages.")] = None,
    ranking: Annotated[Path | None, typer.Option(help="A TREC run.")] = None,
    seed: Annotated[int, typer.Option(help="Deals questions into splits where the file does not.")] = 0,
    skip_bad_rows: SkipBadRows = False,
) -> None:
    """Read passages and questions into a dataset."""
    from dogeared.pipeline.dataset import prepare_data

    prepare_data(out, questions=questions, passages=passages, ranking=ranking, seed=seed, skip_bad_rows=skip_bad_rows)
    say_done(out)


@steps_app.command()
def index_words(
    data: Data, out: Out, preset: Preset = "cpu", config: Config = None, overrides: Overrides = None
) -> None:
    """Make the lexical (BM25) index of a dataset."""
    from dogeared.pipeline import steps

    steps.index_words(out, data=data, experiment=make_experiment(preset, config, overrides))
    say_done(out)


@steps_app.command()
def retrieve(
    data: Data,
    out: Out,
    words: Annotated[Path | None, typer.Option(help="A lexical index, to retrieve by words.")] = None,
    retriever: Annotated[Path | None, typer.Option(help="A student, to retrieve by vectors.")] = None,
    vectors: Annotated[Path | None, typer.Option(help="The vectors that student made.")] = None,
    preset: Preset = "cpu",
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Rank passages for all questions: by words, by vectors, or as given with the questions."""
    from dogeared.pipeline import steps

    experiment = make_experiment(preset, config, overrides)
    if (retriever is None) != (vectors is None) or (words is not None and retriever is not None):
        raise typer.BadParameter("give --words, or --retriever with --vectors, or none of them for the given ranking")
    if retriever is not None and vectors is not None:
        steps.retrieve(out, data=data, retriever=retriever, vectors=vectors, experiment=experiment)
    else:
        steps.retrieve_first(out, data=data, words=words, experiment=experiment)
    say_done(out)


@steps_app.command()
def pretrain_reader(
    data: Data, out: Out, preset: Preset = "cpu", config: Config = None, overrides: Overrides = None
) -> None:
    """Make a reader's start of a plain encoder (``reader.model``) and the passages alone."""
    from dogeared.pipeline.pretraining import pretrain_reader

    pretrain_reader(out, data=data, experiment=make_experiment(preset, config, overrides))
    say_done(out)


@steps_app.command()
def train_reader(
    data: Data,
    ranking: RankingFolder,
    out: Out,
    start: Annotated[Path | None, typer.Option("--from", help="A reader to go on from; else a fresh one.")] = None,
    round_number: Annotated[int, typer.Option("--round", help="Only the seed depends on it.")] = 0,
    preset: Preset = "cpu",
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Train a reader on the passages of a ranking."""
    from dogeared.pipeline import steps

    experiment = make_experiment(preset, config, overrides)
    steps.train_reader(out, data=data, ranking=ranking, experiment=experiment, round_number=round_number, start=start)
    say_done(out)


@steps_app.command()
def score(
    data: Data,
    ranking: RankingFolder,
    out: Out,
    reader: Annotated[Path | None, typer.Option(help="A trained reader, where the teacher is one.")] = None,
    splits: Annotated[list[str] | None, typer.Option("--split", help="Which questions; train where not said.")] = None,
    preset: Preset = "cpu",
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Write down how relevant the teacher (``teacher.kind``) finds the passages of each question."""
    from dogeared.pipeline import steps

    experiment = make_experiment(preset, config, overrides)
    steps.score_passages(
        out, data=data, ranking=ranking, reader=reader, experiment=experiment, splits=splits or ["train"]
    )
    say_done(out)


@steps_app.command()
def train_retriever(
    data: Data,
    relevance: Annotated[Path, typer.Option(help="Relevance made by `dogeared score`.")],
    out: Out,
    start: Annotated[
        Path | None, typer.Option("--from", help="A student to go on from; else the untouched one.")
    ] = None,
    round_number: Annotated[int, typer.Option("--round", help="Only the seed depends on it.")] = 1,
    vectors: KeptVectors = None,
    ranking: Annotated[
        Path | None,
        typer.Option(help="The ranking that was judged: for a contrastive loss, which takes no negatives from it."),
    ] = None,
    preset: Preset = "cpu",
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Distil relevance into the student."""
    from dogeared.pipeline import steps

    experiment = make_experiment(preset, config, overrides)
    if start is None:
        start = out.with_name(out.name + "-untouched")
        steps.untouched_retriever(start, experiment=experiment)
    steps.train_retriever(
        out,
        data=data,
        relevance=relevance,
        start=start,
        experiment=experiment,
        round_number=round_number,
        vectors=vectors,
        ranking=ranking,
    )
    say_done(out)


@steps_app.command()
def encode(
    data: Data,
    retriever: Annotated[Path, typer.Option(help="A student.")],
    out: Out,
    vectors: KeptVectors = None,
    preset: Preset = "cpu",
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Encode all passages with a student."""
    from dogeared.pipeline import steps

    experiment = make_experiment(preset, config, overrides)
    steps.encode(out, data=data, retriever=retriever, experiment=experiment, vectors=vectors)
    say_done(out)


@steps_app.command()
def evaluate(
    data: Data,
    ranking: RankingFolder,
    out: Out,
    reader: Annotated[Path | None, typer.Option(help="A reader, to measure its answers too.")] = None,
    relevance: Annotated[Path | None, typer.Option(help="What it said of dev passages, to check it.")] = None,
    preset: Preset = "cpu",
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Measure a ranking, and a reader with it, on dev and test."""
    from dogeared.pipeline import steps
    from dogeared.pipeline.measure import MEASURES_FILE

    steps.evaluate(
        out,
        data=data,
        ranking=ranking,
        reader=reader,
        relevance=relevance,
        experiment=make_experiment(preset, config, overrides),
    )
    print((out / MEASURES_FILE).read_text(encoding="utf-8"))


def make_experiment(preset: str | None, config: Path | None, overrides: list[str] | None) -> Any:
    """Put the settings of a step together."""
    from dogeared.pipeline.config import load_experiment

    return load_experiment(preset=preset, config=config, overrides=overrides or [])


def say_done(out: Path) -> None:
    """Say that an artifact stands."""
    print(f"{out} is done")
