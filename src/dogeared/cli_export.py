"""The commands that hand a trained retriever to other tools, and check that it arrived.

Each reads its options, makes one call, and prints. They stand beside the others at the top of the command line; what
goes wrong in them becomes an exit code there.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from dogeared.errors import ConfigError

__all__ = ["export_app"]

export_app = typer.Typer()


@export_app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The directory of a run.")],
    out: Annotated[Path, typer.Option("--to", help="The folder to make.")],
    round_name: Annotated[
        str | None, typer.Option("--round", help="Which round's retriever, or untouched; the best where not said.")
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write the encoder as an ONNX graph too.")] = False,
    name: Annotated[str | None, typer.Option(help="What the card calls the model.")] = None,
    license_name: Annotated[
        str | None, typer.Option("--license", help="Its licence, as the hub abbreviates it: apache-2.0.")
    ] = None,
    datasets: Annotated[
        list[str] | None, typer.Option("--dataset", help="What the data are called; may be given more than once.")
    ] = None,
    push_to_hub: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Send the folder to the hub, too.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Let everybody see a repository made there now.")] = False,
) -> None:
    """Make a folder of the retriever for other tools: sentence-transformers, a card, reference vectors, ONNX."""
    from dogeared.exporting import hub
    from dogeared.exporting.card import CardWords
    from dogeared.exporting.export import export_retriever
    from dogeared.pipeline.layout import RunFolder

    if push_to_hub is not None:
        hub.check_name(push_to_hub)
    words = CardWords(name=name or push_to_hub or out.absolute().name, license=license_name, datasets=datasets or ())
    number = None if round_name is None else _round(round_name)
    made = export_retriever(RunFolder(folder), out, words=words, number=number, onnx=onnx)
    which = "the untouched student" if made.round == "untouched" else f"the retriever of round {made.round}"
    print(f"{which} in {out}; loaded again, its vectors differ by {made.difference:.1e} of their length")
    for file, difference in made.onnx.items():
        print(f"onnx/{file}: vectors differ from torch's by {difference:.1e} of their length")
    if push_to_hub is not None:
        print(hub.push(out, push_to_hub, public=public))


@export_app.command()
def check_export(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `dogeared export` made.")],
    url: Annotated[
        str | None, typer.Option(help="A server that took it: where it answers in the shape of OpenAI's embeddings.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="How that server calls the model; the folder where not said.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(envvar="DOGEARED_TOKEN", help="What that server wants to be borne.")
    ] = None,
) -> None:
    """Compare an exported retriever's vectors, here or at a server, with those it was exported with."""
    from dogeared.exporting.reference import check_folder, check_server

    if url is None and model is not None:
        raise ConfigError("--model: expected --url beside it, which says whom to ask")
    difference = (
        check_folder(folder) if url is None else check_server(folder, url, model=model or str(folder), token=token)
    )
    print(f"the same vectors: they differ by {difference:.1e} of their length at most")


def _round(name: str) -> int | Literal["untouched"]:
    if name == "untouched":
        return name
    if not name.isdecimal():
        raise ConfigError(f"--round: expected the number of a round, or untouched, got {name!r}")
    return int(name)
