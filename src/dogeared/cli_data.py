"""The commands that bring data in and out: documents to passages, one format to another, scores to FiD, checkpoints.

Each reads its options, makes one call, and prints. They stand beside the others at the top of the command line; what
goes wrong in them becomes an exit code there.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from dogeared.cli_steps import SkipBadRows
from dogeared.errors import ConfigError, DataError

__all__ = ["data_app"]

data_app = typer.Typer()


@data_app.command()
def chunk(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Text, Markdown, HTML and PDF files.")],
    out: Annotated[Path, typer.Option(help="The file of passages to write (JSONL).")],
    max_words: Annotated[int, typer.Option(help="The most words of a passage; wide characters count half.")] = 100,
    overlap_words: Annotated[int, typer.Option(help="How much of a passage begins the next one again.")] = 20,
    skip_bad_rows: Annotated[bool, typer.Option(help="Leave out documents that cannot be read.")] = False,
) -> None:
    """Cut a folder of documents into passages of whole sentences."""
    from pydantic import ValidationError

    from dogeared.documents.passages import CutSettings, write_document_passages

    try:
        settings = CutSettings(max_words=max_words, overlap_words=overlap_words)
    except ValidationError as error:
        raise ConfigError("; ".join(fault["msg"] for fault in error.errors())) from None
    num_passages, skipped = write_document_passages(folder, out, settings, skip_bad_documents=skip_bad_rows)
    _print_skipped(skipped)
    print(f"{num_passages:,} passages in {out}")


@data_app.command()
def convert(
    source: Annotated[str, typer.Option("--from", help="The format of what is there; docs/formats.md lists all.")],
    target: Annotated[str, typer.Option("--to", help="The format to write.")],
    out: Annotated[Path, typer.Option(help="The folder to make.")],
    questions: Annotated[
        list[str] | None, typer.Option(metavar="[SPLIT=]FILE", help="Questions; may be given for each split.")
    ] = None,
    passages: Annotated[str | None, typer.Option(help="Passages, where the questions do not bring them.")] = None,
    passages_from: Annotated[str | None, typer.Option(help="The format of the passages, where it is another.")] = None,
    ranking: Annotated[Path | None, typer.Option(help="A TREC run over these questions.")] = None,
    judgments: Annotated[Path | None, typer.Option(help="TREC judgments (qrels) of these questions.")] = None,
    columns: Annotated[
        list[str] | None, typer.Option("--column", metavar="OURS=THEIRS", help="A column of a table, renamed.")
    ] = None,
    splits: Annotated[
        list[str] | None,
        typer.Option("--split", metavar="OURS=THEIRS", help="A split of a BEIR folder, table or dataset, by our name."),
    ] = None,
    skip_bad_rows: SkipBadRows = False,
) -> None:
    """Turn one format into another, and say what did not come along."""
    from dogeared.exchange.convert import Sources, convert

    if not questions and not passages:
        raise typer.BadParameter("give --questions, --passages or both")
    sources = Sources(
        questions=questions or (),
        passages=passages,
        ranking=ranking,
        judgments=judgments,
        columns=dict(_pairs("--column", columns, "question=query")),
        splits={theirs: ours for ours, theirs in _pairs("--split", splits, "dev=heldout")},
    )
    done = convert(
        out, sources, source=source, target=target, passages_source=passages_from, skip_bad_rows=skip_bad_rows
    )
    _print_skipped(done.skipped)
    for note, count in done.notes.items():
        print(f"  {count:,} {note}")
    print(f"{done.num_questions:,} questions, {done.num_passages:,} passages in {out}: {', '.join(done.files)}")


@data_app.command()
def export_fid(
    data: Annotated[Path, typer.Option(help="A dataset made by `dogeared prepare`, or a run's data.")],
    ranking: Annotated[Path, typer.Option(help="A ranking of its passages.")],
    out: Annotated[Path, typer.Option(help="The file to write (FiD's JSON).")],
    relevance: Annotated[
        list[Path] | None, typer.Option(help="Relevance made from this ranking; may be given more than once.")
    ] = None,
    score: Annotated[
        Literal["retriever", "reader"], typer.Option(help="Whose number goes into the field `score`.")
    ] = "retriever",
    split: Annotated[str | None, typer.Option(help="Only questions of this split.")] = None,
) -> None:
    """Write questions, passages, scores and relevance as FiD's JSON."""
    from dogeared.pipeline.export import export_fid

    num = export_fid(out, data=data, ranking=ranking, relevance=relevance or (), score=score, split=split)
    print(f"{num:,} questions in {out}")


@data_app.command()
def import_checkpoint(
    source: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A file of tensors, or its folder.")],
    out: Annotated[Path, typer.Option(help="The folder to make.")],
    tokenizer: Annotated[
        str | None, typer.Option(help="Whose tokenizer, and configuration if need be: a model's name or folder.")
    ] = None,
    beside: Annotated[
        Path | None, typer.Option("--with", help="The other half, where DPR's two encoders are kept apart.")
    ] = None,
) -> None:
    """Turn a checkpoint of FiD, DPR or Contriever into a model for `run`."""
    from dogeared.importing.checkpoints import import_checkpoint

    kind = import_checkpoint(source, out, tokenizer=tokenizer, beside=beside)
    print(f"a {kind} in {out}; use it with --set {kind}.model={out}")


def _pairs(option: str, named: Sequence[str] | None, example: str) -> list[tuple[str, str]]:
    pairs = [(ours, theirs) for ours, _, theirs in (one.partition("=") for one in named or ())]
    for one, pair in zip(named or (), pairs, strict=True):
        if not all(pair):
            raise ConfigError(f"{option}: expected OURS=THEIRS, such as {example}, got {one!r}")
    return pairs


def _print_skipped(skipped: Sequence[DataError]) -> None:
    for error in skipped[:20]:
        print(f"  left out: {error}")
    if len(skipped) > 20:
        print(f"  left out: {len(skipped) - 20:,} more")
