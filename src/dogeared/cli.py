"""The command line: each command reads its options, makes one call, and prints.

Exit codes: 0 done, 2 the user can mend it (the message says how), 130 stopped by Ctrl-C with the work saved. Heavy
imports stand inside the commands, so that ``--help`` answers at once.
"""

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from dogeared import __version__
from dogeared.errors import DogearedError

__all__ = ["app", "main"]


class _Commands(TyperGroup):
    """All commands; what goes wrong in one becomes a message and an exit code here."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except DogearedError as error:
            print(f"dogeared: {error}", file=sys.stderr)
            raise typer.Exit(2) from None
        except KeyboardInterrupt as stopped:
            how = str(stopped) or "stopped"
            print(f"\ndogeared: {how}. Run the same command again to go on.", file=sys.stderr)
            raise typer.Exit(130) from None


app = typer.Typer(
    name="dogeared",
    cls=_Commands,
    help="Train a retriever from its reader, with no relevance labels.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

Preset = Annotated[str | None, typer.Option(help="Shipped settings: tiny, cpu, base or paper.")]
Config = Annotated[Path | None, typer.Option(help="A TOML file whose settings win over the preset's.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting; wins over preset and file.")
]
Out = Annotated[Path, typer.Option(help="Where the artifact shall stand.")]
Data = Annotated[Path, typer.Option(help="A dataset made by `dogeared prepare`.")]
RankingFolder = Annotated[Path, typer.Option("--ranking", help="A ranking made by `dogeared retrieve`.")]
RunFolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The directory of a run.")]
SkipBadRows = Annotated[bool, typer.Option(help="Leave bad rows out and count them.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _common(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say which steps are done or skipped.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    _set_up_output(verbose=verbose, quiet=quiet)


@app.command()
def run(
    questions: Annotated[Path, typer.Option(help="Questions with answers (JSONL, or FiD's JSON).")],
    out: Annotated[Path, typer.Option(help="The directory of the run; run again to go on.")],
    passages: Annotated[
        Path | None, typer.Option(help="Passages (JSONL or DPR's TSV); not needed where the questions bring ctxs.")
    ] = None,
    ranking: Annotated[Path | None, typer.Option(help='A TREC run to start from, with start = "given".')] = None,
    preset: Preset = "cpu",
    config: Config = None,
    overrides: Overrides = None,
    skip_bad_rows: SkipBadRows = False,
    strict: Annotated[bool, typer.Option(help="Stop where a reader is not worth learning from.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Say what each step will cost, and do nothing.")] = False,
) -> None:
    """Do all rounds: from passages, questions and answers to a better retriever and a reader."""
    from dogeared.api import run_experiment
    from dogeared.pipeline.config import load_experiment

    experiment = load_experiment(preset=preset, config=config, overrides=overrides or [])
    if plan:
        from dogeared.pipeline.plan import make_plan

        _print_plan(make_plan(experiment, questions=questions, passages=passages, skip_bad_rows=skip_bad_rows))
        return
    results = run_experiment(
        experiment,
        questions=questions,
        out=out,
        passages=passages,
        ranking=ranking,
        skip_bad_rows=skip_bad_rows,
        strict=strict,
    )
    _print_results(results, out)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The directory of the run.")] = Path("runs/demo"),
    overrides: Overrides = None,
) -> None:
    """Make a small encyclopedia and run the whole method on it, with models shipped in the package."""
    from dogeared.api import run_experiment
    from dogeared.data.encyclopedia import generate, write_encyclopedia
    from dogeared.pipeline.config import load_experiment

    files = out / "encyclopedia"
    if not (files / "questions.jsonl").is_file():
        write_encyclopedia(generate(), files)
    results = run_experiment(
        load_experiment(preset="tiny", overrides=overrides or []),
        questions=files / "questions.jsonl",
        passages=files / "passages.jsonl",
        out=out,
    )
    _print_results(results, out)


@app.command()
def validate(files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Passages and questions.")]) -> None:
    """Tell everything that is wrong in files, at once; exit code 0 if they are clean, 2 if not."""
    from dogeared.data.validate import validate as validate_files

    reports = validate_files(files)
    for report in reports:
        print(f"{report.file}: {report.kind or 'of no known kind'}, {report.num_rows:,} good rows")
        for error in report.errors:
            print(f"  error: {error}")
        if (unlisted := report.num_errors - len(report.errors)) > 0:
            print(f"  error: {unlisted:,} more")
        for warning in report.warnings:
            print(f"  warning: {warning}")
    if any(report.num_errors for report in reports):
        raise typer.Exit(2)
    print("clean")


@app.command()
def cloze(
    passages: Annotated[Path, typer.Option(help="Passages (JSONL or DPR's TSV).")],
    out: Annotated[Path, typer.Option(help="The file of questions to write (FiD's JSONL, each with its passage).")],
    per_passage: Annotated[int, typer.Option(help="The most questions from one passage.")] = 1,
    max_words: Annotated[int | None, typer.Option(help="Cut the passages to about so many words.")] = None,
    max_questions: Annotated[int | None, typer.Option(help="Stop after so many.")] = None,
    seed: Annotated[int, typer.Option(help="Decides which spans are left out.")] = 0,
) -> None:
    """Make questions from passages: sentences with a name or a number left out."""
    from itertools import islice

    from dogeared.artifacts import write_atomically
    from dogeared.data.cloze import cloze_questions
    from dogeared.data.formats import given_line, iter_passages

    made = cloze_questions(iter_passages(passages), seed=seed, per_passage=per_passage, max_words=max_words)
    lines = [given_line(given) + "\n" for given in islice(made, max_questions)]
    write_atomically(out, "".join(lines))
    print(f"{len(lines):,} questions in {out}")


@app.command()
def ask(
    folder: RunFolderArgument,
    question: Annotated[str, typer.Argument(help="What to ask.")],
    k: Annotated[int | None, typer.Option("-k", help="How many passages to read.")] = None,
    rerank: Annotated[bool, typer.Option(help="Order the passages by the reader's relevance.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Answer a question with the best round of a run."""
    from dogeared.api import load

    answered = load(folder).ask(question, k=k, rerank=rerank)
    if as_json:
        _print_json({"answer": answered.answer, "passages": [_found(item) for item in answered.passages]})
        return
    print(answered.answer or "(no answer)")
    _print_found(answered.passages)


@app.command()
def search(
    folder: RunFolderArgument,
    question: Annotated[str, typer.Argument(help="What to search for.")],
    k: Annotated[int, typer.Option("-k", help="How many passages to list.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the passages that the best round of a run finds."""
    from dogeared.api import load

    found = load(folder).search(question, k=k)
    if as_json:
        _print_json({"passages": [_found(item) for item in found]})
        return
    _print_found(found)


@app.command()
def report(folder: RunFolderArgument) -> None:
    """Write the report of a run anew."""
    from dogeared.pipeline.layout import RunFolder
    from dogeared.report import write_report

    print(write_report(RunFolder(folder)))


@app.command()
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
    _say_done(out)


@app.command()
def index_words(
    data: Data, out: Out, preset: Preset = "cpu", config: Config = None, overrides: Overrides = None
) -> None:
    """Make the lexical (BM25) index of a dataset."""
    from dogeared.pipeline import steps

    steps.index_words(out, data=data, experiment=_experiment(preset, config, overrides))
    _say_done(out)


@app.command()
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

    experiment = _experiment(preset, config, overrides)
    if (retriever is None) != (vectors is None) or (words is not None and retriever is not None):
        raise typer.BadParameter("give --words, or --retriever with --vectors, or none of them for the given ranking")
    if retriever is not None and vectors is not None:
        steps.retrieve(out, data=data, retriever=retriever, vectors=vectors, experiment=experiment)
    else:
        steps.retrieve_first(out, data=data, words=words, experiment=experiment)
    _say_done(out)


@app.command()
def train_reader(
    data: Data,
    ranking: RankingFolder,
    out: Out,
    round_number: Annotated[int, typer.Option("--round", help="Only the seed depends on it.")] = 0,
    preset: Preset = "cpu",
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Train a fresh reader on the passages of a ranking."""
    from dogeared.pipeline import steps

    experiment = _experiment(preset, config, overrides)
    steps.train_reader(out, data=data, ranking=ranking, experiment=experiment, round_number=round_number)
    _say_done(out)


@app.command()
def score(
    data: Data,
    ranking: RankingFolder,
    reader: Annotated[Path, typer.Option(help="A trained reader.")],
    out: Out,
    splits: Annotated[list[str] | None, typer.Option("--split", help="Which questions; train where not said.")] = None,
    preset: Preset = "cpu",
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Write down how relevant a reader finds the passages of each question."""
    from dogeared.pipeline import steps

    experiment = _experiment(preset, config, overrides)
    steps.score_passages(
        out, data=data, ranking=ranking, reader=reader, experiment=experiment, splits=splits or ["train"]
    )
    _say_done(out)


@app.command()
def train_retriever(
    data: Data,
    relevance: Annotated[Path, typer.Option(help="Relevance made by `dogeared score`.")],
    out: Out,
    start: Annotated[
        Path | None, typer.Option("--from", help="A student to go on from; else the untouched one.")
    ] = None,
    round_number: Annotated[int, typer.Option("--round", help="Only the seed depends on it.")] = 1,
    preset: Preset = "cpu",
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Distil relevance into the student."""
    from dogeared.pipeline import steps

    experiment = _experiment(preset, config, overrides)
    if start is None:
        start = out.with_name(out.name + "-untouched")
        steps.untouched_retriever(start, experiment=experiment)
    steps.train_retriever(
        out, data=data, relevance=relevance, start=start, experiment=experiment, round_number=round_number
    )
    _say_done(out)


@app.command()
def encode(
    data: Data,
    retriever: Annotated[Path, typer.Option(help="A student.")],
    out: Out,
    preset: Preset = "cpu",
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Encode all passages with a student."""
    from dogeared.pipeline import steps

    steps.encode(out, data=data, retriever=retriever, experiment=_experiment(preset, config, overrides))
    _say_done(out)


@app.command()
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
        experiment=_experiment(preset, config, overrides),
    )
    print((out / MEASURES_FILE).read_text(encoding="utf-8"))


def main() -> None:
    """Run the command line."""
    app()


def _experiment(preset: str | None, config: Path | None, overrides: list[str] | None) -> Any:
    from dogeared.pipeline.config import load_experiment

    return load_experiment(preset=preset, config=config, overrides=overrides or [])


def _set_up_output(*, verbose: bool, quiet: bool) -> None:
    """Send our log to the terminal, the libraries' noise nowhere, and progress to bars."""
    from dogeared.terminal import set_up

    logging.getLogger("dogeared").setLevel(logging.INFO if verbose else logging.WARNING)
    set_up(quiet=quiet)


def _print_json(value: Any) -> None:
    import json

    print(json.dumps(value, indent=1, ensure_ascii=False))


def _found(item: Any) -> dict[str, Any]:
    passage = item.passage
    return {
        "id": passage.id,
        "title": passage.title,
        "text": passage.text,
        "score": item.score,
        "relevance": item.relevance,
    }


def _print_found(found: Any) -> None:
    from dogeared.terminal import print_passages

    print_passages(found)


def _print_results(results: dict[str, Any], out: Path) -> None:
    from dogeared.terminal import print_results

    print_results(results, out)


def _print_plan(plan: Any) -> None:
    from dogeared.terminal import print_plan

    print_plan(plan)


def _say_done(out: Path) -> None:
    print(f"{out} is done")


if __name__ == "__main__":
    main()
