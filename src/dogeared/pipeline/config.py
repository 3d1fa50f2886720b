"""All settings of an experiment, put together from the parts that own them, and read from TOML.

Settings come from a preset, then a file, then single ``key=value`` overrides; a later one wins. Unknown keys are
refused with the nearest known one. No default of a part stands here: it lives with the part.
"""

import difflib
import logging
import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from dogeared.distill.choosing import RerankerSettings, TeacherSettings, check_goes_with
from dogeared.distill.relevance import Aggregation
from dogeared.errors import ConfigError
from dogeared.evaluation.answers import Language
from dogeared.reader.copying import CopyingDecoder
from dogeared.reader.fid import ReaderSettings
from dogeared.retrieval.approximate import IndexSettings
from dogeared.retrieval.bm25 import BM25Settings
from dogeared.retrieval.dense import EncodingSettings
from dogeared.retrieval.dual_encoder import RetrieverSettings
from dogeared.retrieval.hybrid import HybridSettings
from dogeared.retrieval.tfidf import TfidfSettings
from dogeared.settings import Settings
from dogeared.training.curves import TrackingSettings, check_trackers
from dogeared.training.pretrain_reader import ReaderPretraining
from dogeared.training.train_reader import ReaderTraining
from dogeared.training.train_reranker import RerankerTraining
from dogeared.training.train_retriever import RetrieverTraining
from dogeared.training.train_supervised import SupervisedTraining

logger = logging.getLogger(__name__)

__all__ = ["Experiment", "RoundsSettings", "load_experiment", "preset_names", "setting_keys"]


class RoundsSettings(Settings):
    """How many rounds there are, and when they end."""

    max: int = Field(default=3, ge=0)
    """The most rounds after round 0."""
    select_by: Literal["answer_success@1", "answer_success@5", "answer_success@20", "answer_success@100"] = (
        "answer_success@5"
    )
    """The dev measure that decides which round is best; exact match decides between equals. By answer string: gold
    passages never select."""
    patience: int = Field(default=1, ge=1)
    """Rounds in a row without a better one after which to stop."""
    enough_overlap: float = Field(default=0.95, gt=0, le=1)
    """Stop when retriever and reader share this much of their first five passages on dev questions, and the share has
    stopped growing."""
    reader: Literal["fresh", "kept"] = "fresh"
    """Whether the reader of each round begins from its pretrained start, as in the paper, or goes on from the reader of
    the round before, without a curriculum: that takes fewer steps, and carries old mistakes along."""
    keep: Literal["best", "all"] = "best"
    """Whether readers, retrievers and vectors of rounds that are neither best nor last are removed."""


class Experiment(Settings):
    """Everything that decides what a run does."""

    seed: int = Field(default=0, ge=0)
    """From which all else that is random follows."""
    start: Literal["bm25", "tfidf", "dense", "hybrid", "given"] = "bm25"
    """Where the passages of round 0 come from: words (BM25, or TF-IDF over words and pairs of words), vectors, BM25 and
    vectors together, or a ranking that came with the questions."""
    start_model: str | None = None
    """With ``dense`` and ``hybrid``, whose vectors: a sentence-transformers model or a plain encoder by hub name or
    folder, opened as what it was saved as, whatever the student is. The student as it stands before any distillation,
    where nothing is said."""
    language: Language | Literal["auto"] = "auto"
    """How answers are compared and found in texts: ``zh`` for Chinese, ``ja`` for Japanese, ``en`` for all languages
    with blanks between words. ``auto`` finds out from the questions, and says what it found."""
    num_passages: int = Field(default=100, ge=2)
    """How many passages are retrieved a question."""
    leave_out_source: bool = False
    """For questions made from the passages themselves (``dogeared cloze``), each labelled with the passage it was made
    from: whether training questions are read, and the student taught, without that passage, which holds their very
    words. Without it, matching words is all that has to be learned. What is measured stays as it is."""
    bm25: BM25Settings = BM25Settings()
    tfidf: TfidfSettings = TfidfSettings()
    hybrid: HybridSettings = HybridSettings()
    # Left out of what is written down where nobody re-ranks: runs made before there was a choice stay the same.
    reranker: RerankerSettings = Field(default=RerankerSettings(), exclude_if=lambda one: one.kind == "none")
    reader: ReaderSettings = ReaderSettings()
    copying_decoder: CopyingDecoder = CopyingDecoder()
    reader_pretraining: ReaderPretraining = ReaderPretraining()
    reader_training: ReaderTraining = ReaderTraining()
    teacher: TeacherSettings = TeacherSettings()
    relevance: Aggregation = Aggregation()
    retriever: RetrieverSettings = RetrieverSettings()
    retriever_training: RetrieverTraining = RetrieverTraining()
    encoding: EncodingSettings = EncodingSettings()
    index: IndexSettings = IndexSettings()
    reranker_training: RerankerTraining = RerankerTraining()
    supervised: SupervisedTraining = SupervisedTraining()
    rounds: RoundsSettings = RoundsSettings()
    tracking: TrackingSettings = TrackingSettings()

    @property
    def settled_language(self) -> Language:
        """The language, once it is known; ``pipeline/language.py`` finds it.

        Raises:
            ConfigError: It is still to be found.
        """
        if self.language == "auto":
            raise ConfigError(
                'language: expected "en", "zh" or "ja" where answers are compared without any questions to tell it '
                'from, got "auto"; set language'
            )
        return self.language

    @property
    def starts_untouched(self) -> bool:
        """Whether the first retrieval is made with the untouched student, whose model it then needs."""
        return self.start in ("dense", "hybrid") and self.start_model is None

    @property
    def num_encodings(self) -> int:
        """How often the corpus is encoded: before the first round, after each, and by another model of the start."""
        by_student = 1 if self.retriever.encoders == "query_only" else self.rounds.max + 1
        return by_student + (self.start in ("dense", "hybrid") and not self.starts_untouched)


def load_experiment(
    *, preset: str | None = None, config: Path | None = None, overrides: Sequence[str] = ()
) -> Experiment:
    """Read settings from a preset, a file and overrides.

    Args:
        preset: The name of a preset that the package ships.
        config: A TOML file with the same keys.
        overrides: ``key=value`` with a dotted key; the value is read as TOML, or as a string where it is none.

    Raises:
        ConfigError: A file is missing or malformed, a key is unknown, or a value is not what its key takes.
    """
    values: dict[str, Any] = {}
    if preset is not None:
        _merge(values, _read_preset(preset))
    if config is not None:
        _merge(values, _read_toml(config))
    for override in overrides:
        _merge(values, _parse_override(override))
    try:
        experiment = Experiment.model_validate(values)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(fault) for fault in error.errors())) from error
    if experiment.start_model is not None and experiment.start not in ("dense", "hybrid"):
        raise ConfigError(
            f'start_model: expected none with start = "{experiment.start}", which uses no vectors, got '
            f'{experiment.start_model!r}; set start = "dense" or "hybrid", or leave it out'
        )
    if experiment.reader.num_passages > experiment.num_passages:
        logger.warning(
            "reader.num_passages = %d: no more than num_passages = %d are retrieved, so the reader reads so many",
            experiment.reader.num_passages,
            experiment.num_passages,
        )
    check_trackers(experiment.tracking)
    check_goes_with(experiment.teacher, experiment.reader)
    if experiment.leave_out_source and (experiment.teacher.kind == "gold" or experiment.teacher.gold_weight):
        raise ConfigError(
            'leave_out_source: expected false with teacher.kind = "gold" or teacher.gold_weight, got true; labelled '
            "passages would be the ones left out"
        )
    if experiment.teacher.gold_weight and experiment.retriever_training.teacher_entropy is not None:
        raise ConfigError(
            "retriever_training.teacher_entropy: expected none with teacher.gold_weight, which mixes labels in at a "
            "temperature known before; give retriever_training.teacher_temperature"
        )
    loss = experiment.retriever_training.loss
    if loss in ("emdr2", "emdr2_tokens") and experiment.teacher.gold_weight:
        raise ConfigError(
            f"retriever_training.loss: {loss} takes likelihoods as they are, and labels mixed in are none; choose "
            "another loss, or leave out teacher.gold_weight"
        )
    if loss == "mse" and experiment.teacher.gold_weight:
        raise ConfigError(
            "retriever_training.loss: mse asks the student for the teacher's numbers, and with teacher.gold_weight "
            "those of questions with retrieved gold passages are of another size than all others'; choose a loss of "
            'order or differences, such as "kl", or leave out teacher.gold_weight'
        )
    if loss == "emdr2" and experiment.teacher.kind not in ("likelihood", "file"):
        raise ConfigError(
            'retriever_training.loss: emdr2 sums likelihoods of the answer, which teacher.kind = "likelihood" gives '
            f'(or "file", if it holds such), got {experiment.teacher.kind!r}'
        )
    if loss == "emdr2_tokens" and experiment.teacher.kind != "likelihood":
        raise ConfigError(
            "retriever_training.loss: emdr2_tokens sums likelihoods of the answer's single tokens, which only "
            f'teacher.kind = "likelihood" gives, got {experiment.teacher.kind!r}'
        )
    return experiment


def preset_names() -> list[str]:
    """List the presets that the package ships."""
    return sorted(file.name.removesuffix(".toml") for file in _presets().iterdir() if file.name.endswith(".toml"))


def setting_keys(model: type[BaseModel] = Experiment, prefix: str = "") -> dict[str, str]:
    """Map the dotted key of every setting to what its documentation says."""
    keys: dict[str, str] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys |= setting_keys(field.annotation, f"{prefix}{name}.")
        else:
            keys[prefix + name] = " ".join((field.description or "").split())
    return keys


def _presets() -> Any:
    return files("dogeared") / "presets"


def _read_preset(name: str) -> dict[str, Any]:
    if name not in preset_names():
        raise ConfigError(f"preset: expected one of {', '.join(preset_names())}, got {name!r}")
    return tomllib.loads((_presets() / f"{name}.toml").read_text(encoding="utf-8"))


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file}: expected a TOML file with settings: {error}") from error


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set: expected key=value, such as rounds.max=2, got {text!r}")
    try:
        parsed: Any = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    for name in reversed(key.strip().split(".")):
        parsed = {name: parsed}
    return parsed


def _merge(values: dict[str, Any], newer: Mapping[str, Any]) -> None:
    for key, value in newer.items():
        if isinstance(value, Mapping) and isinstance(values.get(key), dict):
            _merge(values[key], value)
        else:
            values[key] = dict(value) if isinstance(value, Mapping) else value


def _explain(fault: Any) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, list(setting_keys()), n=1, cutoff=0.5)
        return f"{key}: there is no such setting{f'; did you mean {near[0]}?' if near else ''}"
    return f"{key}: {fault['msg'][0].lower()}{fault['msg'][1:]}, got {fault['input']!r}"
