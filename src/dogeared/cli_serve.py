"""The commands that use a finished run: serve it, ask it, search in it.

Each reads its options, makes one call, and prints. They stand beside the others at the top of the command line.
"""

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from dogeared.errors import ConfigError

__all__ = ["serve_app"]

serve_app = typer.Typer()

RunFolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The directory of a run.")]
Hybrid = Annotated[bool, typer.Option("--hybrid", help="Search by words (BM25) too, and fuse what both find.")]


@serve_app.command()
def serve(
    folder: RunFolderArgument,
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 for other machines too.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="On which port.")] = 8800,
    token: Annotated[
        str | None,
        typer.Option(envvar="DOGEARED_TOKEN", help="What requests must bear; better set in the environment."),
    ] = None,
    max_waiting: Annotated[int, typer.Option(min=1, help="How many requests may wait; others get a 429.")] = 64,
    max_batch: Annotated[int, typer.Option(min=1, help="How many requests are done together.")] = 16,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds that a request may take.")] = 60.0,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="A name that the service may be asked by, given once for each. On loopback others are refused."
        ),
    ] = None,
    hybrid: Hybrid = False,
) -> None:
    """Serve the best round of a run over HTTP, with a page to look at."""
    if token is not None and not token.strip():
        raise ConfigError("--token: expected a token, got a blank one; leave it out to let everybody ask")
    try:
        from dogeared.serving.app import ServingSettings
        from dogeared.serving.server import serve as serve_run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("fastapi", "uvicorn", "prometheus_client"):
            raise
        raise ConfigError(
            f'dogeared serve needs {error.name}, which is not installed: pip install "dogeared[serve]"'
        ) from error
    settings = ServingSettings(
        token=token,
        max_waiting=max_waiting,
        max_batch=max_batch,
        timeout_seconds=timeout,
        hosts=tuple(allow_host or ()),
    )
    on_ready = partial(print, flush=True)
    serve_run(folder, host=host, port=port, hybrid=hybrid, settings=settings, on_ready=on_ready)


@serve_app.command()
def add_passages(
    folder: RunFolderArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Passages (JSONL or DPR's TSV).")],
) -> None:
    """Add passages to a finished run: only they are encoded, nothing is trained again."""
    from dogeared.pipeline.editing import add_passages as add

    print(f"{add(folder, file):,} passages in {folder}")


@serve_app.command()
def remove_passages(
    folder: RunFolderArgument,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The ids of the passages.")],
) -> None:
    """Remove passages from a finished run; nothing is encoded or trained again."""
    from dogeared.pipeline.editing import remove_passages as remove

    print(f"{remove(folder, ids):,} passages left in {folder}")


@serve_app.command()
def ask(
    folder: RunFolderArgument,
    question: Annotated[str, typer.Argument(help="What to ask.")],
    k: Annotated[int | None, typer.Option("-k", help="How many passages to read.")] = None,
    rerank: Annotated[bool, typer.Option(help="Order the passages by the reader's relevance.")] = False,
    before: Annotated[bool, typer.Option("--before", help="Search as the run did before any distillation.")] = False,
    choices: Annotated[
        list[str] | None, typer.Option("--choice", help="Answer with one of these alone; given once for each.")
    ] = None,
    hybrid: Hybrid = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as POST /v1/ask does.")] = False,
) -> None:
    """Answer a question with the best round of a run, and show what the reader saw."""
    from dogeared.service import Asked, QuestionAnswering, Side
    from dogeared.serving.shapes import answer_json, choices_json
    from dogeared.serving.threshold import find_threshold
    from dogeared.terminal import print_answer

    if choices and rerank:
        raise ConfigError("--rerank: expected none with --choice, which lists no passages, got both; leave out one")
    service = QuestionAnswering.open(folder, hybrid=hybrid, both=before)
    side: Side = "before" if before else "after"
    if choices:
        shares = service.choose(question, choices, k=k, side=side)
        if as_json:
            _print_json(choices_json(question.strip(), shares, service, side))
            return
        for choice, share in shares.items():
            print(f"{share:.3f}  {choice}")
        return
    threshold = find_threshold(folder, service).confidence
    asked = Asked(question=question, k=k, side=side, attention=True)
    shown = answer_json(service.ask_many([asked])[0], service, threshold)
    if rerank:
        shown["passages"].sort(key=lambda passage: -passage["relevance"])
    if as_json:
        _print_json(shown)
    else:
        print_answer(shown)


@serve_app.command()
def search(
    folder: RunFolderArgument,
    question: Annotated[str, typer.Argument(help="What to search for.")],
    k: Annotated[int, typer.Option("-k", help="How many passages to list.")] = 10,
    rerank: Annotated[
        bool, typer.Option(help="In the order of the run's re-ranker, or of its reader's relevance.")
    ] = False,
    hybrid: Hybrid = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as POST /v1/search does.")] = False,
) -> None:
    """List the passages that the best round of a run finds."""
    from dogeared.service import QuestionAnswering
    from dogeared.serving.shapes import search_json
    from dogeared.terminal import print_passages

    service = QuestionAnswering.open(folder, hybrid=hybrid)
    found = (service.search_reranked if rerank else service.search)(question, k=k)
    shown = search_json(question.strip(), found, service, "after")
    if as_json:
        _print_json(shown)
    else:
        print_passages(shown["passages"])


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))
