"""The commands beside the method: comparisons, other first retrievals, and baselines to compare with.

Each reads its options, makes one call, and prints. They stand beside the others at the top of the command line; what
goes wrong in them becomes an exit code there.
"""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from dogeared.cli_steps import Config, Data, Out, Overrides, Preset, RankingFolder, make_experiment, say_done

__all__ = ["beside_app"]

beside_app = typer.Typer()


@beside_app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="DIR_A", help="A run, one of its rounds, or a TREC run.")],
    b: Annotated[Path, typer.Argument(metavar="DIR_B", help="The same; gains are of this one.")],
    split: Annotated[str | None, typer.Option(help="Whose questions; test, else dev, where not said.")] = None,
    by: Annotated[str, typer.Option(help="The measure by which to list questions that changed.")] = "mrr@10",
    questions: Annotated[Path | None, typer.Option(help="The questions of TREC runs.")] = None,
    passages: Annotated[Path | None, typer.Option(help="Passages, to judge TREC runs by answer string.")] = None,
    language: Annotated[
        Literal["auto", "en", "zh", "ja"], typer.Option(help="How they are searched for answers.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two systems question by question, with paired tests."""
    import dataclasses

    from dogeared.reporting.comparison import compare_sides
    from dogeared.reporting.sides import read_side
    from dogeared.terminal import print_comparison

    known = None if language == "auto" else language
    sides = [read_side(path, questions=questions, passages=passages, language=known) for path in (a, b)]
    found = compare_sides(*sides, split=split, by=by)
    if as_json:
        print(json.dumps(dataclasses.asdict(found), indent=1, ensure_ascii=False))
    else:
        print_comparison(found)


@beside_app.command()
def index_tfidf(
    data: Data, out: Out, preset: Preset = "cpu", config: Config = None, overrides: Overrides = None
) -> None:
    """Make the TF-IDF index of a dataset, to retrieve with in place of BM25's."""
    from dogeared.pipeline import lexical

    lexical.index_tfidf(out, data=data, experiment=make_experiment(preset, config, overrides))
    say_done(out)


@beside_app.command()
def fuse(
    lexical: Annotated[Path, typer.Option(help="A ranking by words, made by `dogeared retrieve`.")],
    dense: Annotated[Path, typer.Option(help="A ranking by vectors, made by `dogeared retrieve`.")],
    out: Out,
    preset: Preset = "cpu",
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Make one ranking of two."""
    from dogeared.pipeline.starts import fuse_rankings

    fuse_rankings(out, lexical=lexical, dense=dense, experiment=make_experiment(preset, config, overrides))
    say_done(out)


@beside_app.command()
def rerank(
    ranking: RankingFolder,
    relevance: Annotated[
        list[Path], typer.Option(help="Relevance made from it by `dogeared score`; may be given more than once.")
    ],
    out: Out,
) -> None:
    """Put a ranking into the order of relevance, whoever judged: a cross-encoder, the reader, a file."""
    from dogeared.pipeline.reranking import rerank

    rerank(out, ranking=ranking, relevance=relevance)
    say_done(out)


@beside_app.command()
def train_reranker(
    data: Data,
    relevance: Annotated[Path, typer.Option(help="Relevance of training passages, made by `dogeared score`.")],
    out: Out,
    preset: Preset = "cpu",
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Train a cross-encoder (``reranker_training.model``) to judge as the teacher did, to be a re-ranker."""
    from dogeared.pipeline import train_reranker as step

    step.train_reranker(out, data=data, relevance=relevance, experiment=make_experiment(preset, config, overrides))
    say_done(out)


@beside_app.command()
def choose_heads(
    data: Data,
    ranking: RankingFolder,
    num_heads: Annotated[int, typer.Option("--num-heads", min=1, help="How many.")] = 16,
    split: Annotated[str, typer.Option(help="Whose answers tell; dev where not said.")] = "dev",
    preset: Preset = "cpu",
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Find the heads of a language model (``teacher.model``) that look for what is asked, as a setting to copy."""
    from dogeared.pipeline.heads import find_heads

    experiment = make_experiment(preset, config, overrides)
    heads = find_heads(data=data, ranking=ranking, experiment=experiment, split=split, num_heads=num_heads)
    print(f"teacher.heads={json.dumps(heads)}")


@beside_app.command()
def train_dpr(
    data: Data,
    ranking: RankingFolder,
    out: Out,
    start: Annotated[
        Path | None, typer.Option("--from", help="A student to go on from; else the untouched one.")
    ] = None,
    preset: Preset = "cpu",
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Train a student as DPR is, with answer-bearing or gold passages: a baseline to compare with."""
    from dogeared.pipeline import steps, supervised

    experiment = make_experiment(preset, config, overrides)
    if start is None:
        start = out.with_name(out.name + "-untouched")
        steps.untouched_retriever(start, experiment=experiment)
    supervised.train_dpr(out, data=data, ranking=ranking, start=start, experiment=experiment)
    say_done(out)
