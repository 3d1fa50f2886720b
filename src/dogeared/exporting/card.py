"""The card of an exported retriever: what it is, what it was trained on and how, and what was measured.

The text is ``templates/card.md.j2``; here is what stands in it. A figure of the card is a figure of the run's
``results.json``. Folders of this machine are cut to their last part.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from dogeared import __version__
from dogeared.artifacts import read_manifest
from dogeared.errors import ConfigError
from dogeared.models import DEMO_PREFIX
from dogeared.pipeline.config import Experiment
from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.results import read_experiment, read_results
from dogeared.pipeline.selection import Name
from dogeared.reporting.verdict import percent
from dogeared.retrieval.dual_encoder import DualEncoder

__all__ = ["CARD_FILE", "SETTINGS_FILE", "CardWords", "write_card"]

CARD_FILE = "README.md"
SETTINGS_FILE = "experiment.json"
_TEMPLATE = "card.md.j2"
_MEASURES = ("answer_success@1", "answer_success@5", "answer_success@20", "success@1", "success@5", "mrr@10")
"""Of the retriever, those of the card; by gold only where there is gold."""


@dataclass(frozen=True, kw_only=True)
class CardWords:
    """What a run does not know of itself.

    Attributes:
        name: What the model is to be called.
        license: Its licence, as the hub abbreviates it (``apache-2.0``); None to say that it is not stated.
        datasets: What the data are called, by names of the hub or any other; empty to give counts alone.
    """

    name: str
    license: str | None = None
    datasets: Sequence[str] = ()


def write_card(folder: Path, run: RunFolder, best: Name, encoder: DualEncoder, words: CardWords) -> None:
    """Write ``README.md`` and the settings of the run into a retriever's folder.

    Args:
        folder: The exported folder.
        run: Where it comes from.
        best: Which of its retrievers it is.
        encoder: The retriever, for what the card says of its use.
        words: What the run does not know.

    Raises:
        ArtifactError: The directory holds no run with results.
    """
    results, experiment = read_results(run), read_experiment(run)
    settings = _without_folders(experiment.model_dump(mode="json"))
    (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    base = experiment.retriever.model
    rows = _rows(results, best)
    card = {
        "metadata": _metadata(experiment, words, encoder),
        "words": words,
        "version": __version__,
        "best": best,
        "base": _without_folders(base),
        "encoder": encoder,
        "prompts": {task: encoder.model.prompts.get(task) or "" for task in ("query", "document")},
        "longest": encoder.model.max_seq_length,
        "language": _language(experiment),
        "facts": read_manifest(run.data).facts,
        "results": results,
        "measures": [name for name in _MEASURES if any(name in row["measures"] for row in rows)],
        "rows": rows,
        "settings": settings,
    }
    environment = Environment(
        loader=PackageLoader("dogeared"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": percent, "cell": _cell}
    (folder / CARD_FILE).write_text(environment.get_template(_TEMPLATE).render(card), encoding="utf-8")


def _metadata(experiment: Experiment, words: CardWords, encoder: DualEncoder) -> str:
    """Write what the hub reads at the head of a card, as YAML."""
    base = experiment.retriever.model
    kind = "sparse" if encoder.is_sparse else "dense"
    try:
        data = ModelCardData(
            language=_language(experiment),
            license=words.license,
            library_name="sentence-transformers",
            pipeline_tag="feature-extraction" if encoder.is_sparse else "sentence-similarity",
            tags=["sentence-transformers", "feature-extraction", kind, "dogeared", "retrieval", "distillation"],
            base_model=base if _is_hub_name(base) else None,
            base_model_relation="finetune" if _is_hub_name(base) else None,
            datasets=list(words.datasets) or None,
        )
    except ValueError as error:
        raise ConfigError(f"the card's head cannot be written: {error}") from error
    return data.to_yaml()


def _language(experiment: Experiment) -> str | None:
    """Say what language the model is for; None where the run does not know, since its ``en`` is any with blanks."""
    return experiment.language if experiment.language in ("zh", "ja") else None


def _rows(results: Mapping[str, Any], best: Name) -> list[dict[str, Any]]:
    """List what was measured: the start, the untouched student, each round; by split."""
    first, *rounds = results["rounds"]
    listed = [
        ("first retrieval", first["retriever"], 0),
        ("untouched student", results["untouched"], "untouched"),
        *((f"round {one['round']}", one["retriever"], one["round"]) for one in rounds),
    ]
    return [
        {
            "title": f"{title} ({_without_folders(told['name'])})",
            "split": split,
            "measures": told[split],
            "is_this": name == best,
        }
        for split in ("test", "dev")
        for title, told, name in listed
        if told.get(split)
    ]


def _cell(text: str) -> str:
    """Let a name stand in a cell of a table: no bar and no line break ends it."""
    return " ".join(text.replace("|", "\\|").split())


def _is_hub_name(name: str) -> bool:
    return not name.startswith((DEMO_PREFIX, ".", "/", "~")) and not Path(name).is_dir()


def _without_folders(value: Any) -> Any:
    """Cut paths to their last part: how a machine is laid out is nobody's business."""
    if isinstance(value, Mapping):
        return {key: _without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_folders(inner) for inner in value]
    if isinstance(value, str) and (value.startswith(("/", "~", "./", "../")) or Path(value).is_absolute()):
        return Path(value).name
    return value
