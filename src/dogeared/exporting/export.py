"""Makes a folder of a run's retriever that other tools take as it is: model, card, reference vectors, maybe ONNX.

The folder is whole or not there. It has the retriever of the best round, or of the round that is asked for. Readers are
not exported: a reader's folder in the run loads in plain transformers, but reads several passages only with what is
here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dogeared.artifacts import check_unaltered, is_discarded, read_manifest, write_artifact
from dogeared.errors import ArtifactError
from dogeared.exporting.card import CardWords, write_card
from dogeared.exporting.onnx_graph import check_onnx_installed, write_onnx
from dogeared.exporting.reference import check_folder, write_reference
from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.results import read_results
from dogeared.pipeline.selection import Name
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings

__all__ = ["Exported", "export_retriever"]


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was made.

    Attributes:
        round: Which retriever it is.
        difference: Between its vectors as loaded again and as they were, relative to their length.
        onnx: The same of each ONNX graph, by its file.
    """

    round: Name
    difference: float
    onnx: Mapping[str, float]


def export_retriever(
    run: RunFolder, out: Path, *, words: CardWords, number: Name | None = None, onnx: bool = False
) -> Exported:
    """Write the folder.

    Args:
        run: The directory of a finished run.
        out: The folder to make; one exported before is replaced, unless a file of it was altered or put in since.
        words: For the card, what the run does not know.
        number: Which round's retriever, or ``untouched``; the best one's where None.
        onnx: Write the encoder as an ONNX graph as well.

    Raises:
        ArtifactError: There is no run with results, the retriever asked for has no model, or ``out`` is something else.
        ConfigError: A library that is needed for ONNX is missing.
        ModelError: What was written does not give the vectors that it should.
    """
    if onnx:
        check_onnx_installed()
    chosen: Name = read_results(run)["best"] if number is None else number
    source = _retriever_folder(run, chosen, is_best=number is None)
    made_from = {"retriever": read_manifest(source).fingerprint}
    settings = {"round": chosen, "onnx": onnx, "name": words.name, "license": words.license}
    check_unaltered(out)
    with write_artifact(out, kind="export", settings=settings, inputs=made_from) as (folder, facts):
        encoder = DualEncoder.load(RetrieverSettings(model=str(source.absolute()), max_length_tokens=1_000_000)).eval()
        encoder.save(folder)
        write_reference(folder, encoder)
        write_card(folder, run, chosen, encoder, words)
        difference = check_folder(folder)
        graphs = write_onnx(encoder, folder) if onnx else {}
        facts |= {"difference": difference, "onnx": graphs}
    return Exported(round=chosen, difference=difference, onnx=graphs)


def _retriever_folder(run: RunFolder, chosen: Name, *, is_best: bool) -> Path:
    if chosen == 0:
        raise ArtifactError(
            f"{run.path}: expected a retriever that was trained, got the first retrieval"
            f"{', which is the best one of this run' if is_best else ''}; choose another with --round"
        )
    folder = (run.untouched if chosen == "untouched" else run.round(chosen)).retriever
    called = chosen if chosen == "untouched" else f"round {chosen}"
    if not folder.is_dir() or is_discarded(folder):
        raise ArtifactError(
            f"{folder}: expected the retriever of {called}, found none; "
            'runs keep those of the best and the last round alone, unless rounds.keep = "all"'
        )
    return folder
