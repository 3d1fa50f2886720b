"""The command line: each command reads its options, makes one call, and prints.

Exit codes: 0 done, 1 something was found wrong (``doctor``), 2 the user can mend it (the message says how), 130 stopped
by Ctrl-C and 143 by SIGTERM, with the work saved. Heavy imports stand inside the commands, so that ``--help`` answers
at once.
"""

import logging
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from dogeared import __version__
from dogeared.cli_beside import beside_app
from dogeared.cli_data import data_app
from dogeared.cli_export import export_app
from dogeared.cli_serve import serve_app
from dogeared.cli_steps import Config, Overrides, Preset, SkipBadRows, steps_app
from dogeared.errors import DataError, DogearedError
from dogeared.pipeline.together import follow, is_follower, leading
from dogeared.stopping import Stopped, stop_on_signals

__all__ = ["app", "main"]


class _Commands(TyperGroup):
    """All commands; what goes wrong in one becomes a message and an exit code here."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with stop_on_signals():
                if is_follower():
                    _set_up_output(verbose=False, quiet=True)
                    return follow()
                with leading():
                    return super().invoke(ctx)
        except DogearedError as error:
            print(f"dogeared: {error}", file=sys.stderr)
            raise typer.Exit(2) from None
        except BrokenPipeError:  # whoever reads what is printed has enough of it
            raise
        except OSError as error:
            # Of files and networks; what is known to befall a run is told with what to do (``storage.py``).
            where = f"{error.filename}: " if error.filename is not None else ""
            print(f"dogeared: {where}{error.strerror or error}", file=sys.stderr)
            raise typer.Exit(2) from None
        except KeyboardInterrupt as stopped:
            how = str(stopped) or "stopped"
            print(f"\ndogeared: {how}. Run the same command again to go on.", file=sys.stderr)
            number = stopped.number if isinstance(stopped, Stopped) else signal.SIGINT
            raise typer.Exit(128 + number) from None


app = typer.Typer(
    name="dogeared",
    cls=_Commands,
    help="Train a retriever from its reader, with no relevance labels.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

RunFolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The directory of a run.")]


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
    share: Annotated[
        Path | None, typer.Option(help="A folder where runs leave finished steps for each other; none where not said.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what each step will cost, and do nothing.")] = False,
) -> None:
    """Do all rounds: from passages, questions and answers to a better retriever and a reader."""
    from dogeared.api import plan_experiment, run_experiment
    from dogeared.pipeline.config import load_experiment

    experiment = load_experiment(preset=preset, config=config, overrides=overrides or [])
    if plan:
        given = {"questions": questions, "passages": passages, "ranking": ranking}
        _print_plan(plan_experiment(experiment, **given, skip_bad_rows=skip_bad_rows))
        return
    results = run_experiment(
        experiment,
        questions=questions,
        out=out,
        passages=passages,
        ranking=ranking,
        skip_bad_rows=skip_bad_rows,
        strict=strict,
        share=share,
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
        for warning, count in report.warnings.items():
            print(f"  warning: {count:,} {warning}")
    if any(report.num_errors for report in reports):
        raise typer.Exit(2)
    print("clean" if not any(report.warnings for report in reports) else "clean, but for what is warned of")


@app.command()
def cloze(
    passages: Annotated[Path, typer.Option(help="Passages (JSONL or DPR's TSV).")],
    out: Annotated[Path, typer.Option(help="The file of questions to write (FiD's JSONL, each with its passage).")],
    per_passage: Annotated[int, typer.Option(min=1, help="The most questions from one passage.")] = 1,
    max_words: Annotated[int | None, typer.Option(min=1, help="Cut the passages to about so many words.")] = None,
    max_questions: Annotated[int | None, typer.Option(min=1, help="Stop after so many.")] = None,
    seed: Annotated[int, typer.Option(help="Decides which spans are left out.")] = 0,
) -> None:
    """Make questions from passages: sentences with a name or a number left out."""
    from itertools import islice

    from dogeared.data.cloze import cloze_questions
    from dogeared.data.formats import given_line, iter_passages
    from dogeared.storage import write_atomically

    made = cloze_questions(iter_passages(passages), seed=seed, per_passage=per_passage, max_words=max_words)
    lines = [given_line(given) + "\n" for given in islice(made, max_questions)]
    if not lines:
        raise DataError(
            "expected a sentence of 6 to 50 words with a date, a name in capital letters or a number after a blank, "
            "found none, so no question can be made; give passages of running text, or write questions yourself",
            file=passages,
        )
    write_atomically(out, "".join(lines))
    print(f"{len(lines):,} questions in {out}")


@app.command()
def report(folder: RunFolderArgument) -> None:
    """Write the report of a run anew."""
    from dogeared.pipeline.layout import RunFolder
    from dogeared.report import write_report

    print(write_report(RunFolder(folder)))


@app.command()
def doctor(folder: RunFolderArgument) -> None:
    """Check every file of a run, and say what is wrong and what to do; exit code 1 if anything is."""
    from dogeared.pipeline.doctor import examine

    findings = examine(folder)
    for finding in findings:
        print(f"{'wrong' if finding.is_wrong else 'note'}: {finding.path}: {finding.message}")
    if any(finding.is_wrong for finding in findings):
        raise typer.Exit(1)
    print("all is well")


app.add_typer(beside_app)
app.add_typer(data_app)
app.add_typer(export_app)
app.add_typer(serve_app)
app.add_typer(steps_app)


def main() -> None:
    """Run the command line."""
    app()


def _set_up_output(*, verbose: bool, quiet: bool) -> None:
    """Send our log to the terminal, the libraries' noise nowhere, and progress to bars."""
    from dogeared.terminal import set_up

    logging.getLogger("dogeared").setLevel(logging.INFO if verbose else logging.WARNING)
    set_up(quiet=quiet)


def _print_results(results: dict[str, Any], out: Path) -> None:
    from dogeared.terminal import print_results

    print_results(results, out)


def _print_plan(plan: Any) -> None:
    from dogeared.terminal import print_plan

    print_plan(plan)


if __name__ == "__main__":
    main()
