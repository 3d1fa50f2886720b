"""Which teacher an experiment has, and what that teacher needs.

Every teacher says the same kind of thing, so all else stays as it is when another is chosen. This module makes the one
that the settings name and refuses settings that go with none. What a teacher does is in its own module.
"""

from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from dogeared.artifacts import file_fingerprint
from dogeared.compute import Precision
from dogeared.distill.causal import CausalLikelihood, load_causal
from dogeared.distill.causal_attention import CausalAttention
from dogeared.distill.cross_encoder import CrossEncoderTeacher
from dogeared.distill.labels import AnswerString, GivenRelevance, Gold
from dogeared.distill.likelihood import AnswerLikelihoods
from dogeared.distill.posterior import PassagePosterior
from dogeared.distill.relevance import Aggregation
from dogeared.distill.teachers import CrossAttention, Teacher
from dogeared.errors import ConfigError
from dogeared.evaluation.answers import Language
from dogeared.reader.extractive import ExtractiveReader
from dogeared.reader.fid import ReaderSettings
from dogeared.reader.kinds import Reader
from dogeared.settings import Settings

__all__ = [
    "ATTENTION",
    "RerankerSettings",
    "TeacherKind",
    "TeacherSettings",
    "check_goes_with",
    "choose_teacher",
    "own_judgement",
    "settings_of_teacher",
]

TeacherKind = Literal[
    "cross_attention",
    "likelihood",
    "perplexity",
    "leave_one_out",
    "perplexity_reduction",
    "passage_posterior",
    "answer_string",
    "gold",
    "cross_encoder",
    "causal_likelihood",
    "causal_attention",
    "file",
]

_LENGTHS: Final = {"causal_likelihood": 512, "causal_attention": 4096}
_OPTIONS: Final = {
    "model": ("cross_encoder", *_LENGTHS),
    "file": ("file",),
    "max_length_tokens": tuple(_LENGTHS),
    "num_heads": ("causal_attention",),
    "heads": ("causal_attention",),
}
"""Which kinds each option bears on."""
_NEEDED: Final = {
    "model": "the name of a model of that kind on the hub, or a folder",
    "file": "the path of a .jsonl file or a TREC run with relevance for this corpus",
}
"""The options that those kinds cannot do without, and what they are."""
_READERLESS: Final = ("answer_string", "gold", "cross_encoder", "causal_likelihood", "causal_attention", "file")


class TeacherSettings(Settings):
    """Who says which passages of training questions are useful."""

    kind: TeacherKind = "cross_attention"
    """The reader's attention, the paper's teacher, put together as ``relevance`` says; how likely the reader finds the
    answer given a passage alone (``likelihood``, of all tokens; ``perplexity``, their mean; ``perplexity_reduction``,
    against closed book) or given all others (``leave_one_out``), which needs answers; how likely an extractive reader
    finds that the passage holds the answer (``passage_posterior``), which needs none; whether the answer's words stand
    in it (``answer_string``); labels, which is supervised (``gold``); a ``cross_encoder``; how likely any language
    model finds the answer after the passage, or what it looks at (``causal_likelihood``, ``causal_attention``); or a
    ``file``."""
    model: str = ""
    """Which cross-encoder or language model, where the teacher is one: a name on the hub or a folder."""
    max_length_tokens: int | None = Field(default=None, ge=8)
    """Of a language model's prompt; passages are cut at their ends to fit. One passage stands in it with
    ``causal_likelihood`` (512 where nothing is said), all that are compared with ``causal_attention`` (4096)."""
    num_heads: int = Field(default=0, ge=0)
    """With ``causal_attention``, how many heads are asked: those that look most at passages with the answer, on the
    first 32 questions that tell. All where 0, of which most look elsewhere."""
    gold_weight: float = Field(default=0.0, ge=0, lt=1, exclude_if=lambda weight: weight == 0)
    """Supervised: the share of gold labels in what is learned of a training question whose gold passages were
    retrieved; the rest is the teacher's. 0 knows no labels, and labels alone are ``kind = "gold"``. Not with losses
    that take the teacher's numbers as they are (``mse``, ``emdr2``)."""
    heads: list[Annotated[str, Field(pattern=r"^\d+\.\d+$")]] = Field(default=[], exclude_if=lambda heads: not heads)
    """With ``causal_attention``, which heads are asked, as ``layer.head`` counted from 0: those that ``dogeared
    choose-heads`` found on dev questions. The model is run no further than the last of their layers."""
    file: str = ""
    """With ``file``, which: JSON lines with ``question_id``, ``passage_id`` and ``relevance``, or a TREC run. Give
    relevance for what each round's retriever finds: passages that are not named teach nothing."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.gold_weight and self.kind == "gold":
            raise ValueError('the teacher "gold" says nothing but labels; leave out teacher.gold_weight')
        if self.heads and self.num_heads:
            raise ValueError("teacher.heads names the heads that teacher.num_heads would choose; give one of the two")
        for name, kinds in _OPTIONS.items():
            if self.kind in kinds and name in _NEEDED and not getattr(self, name):
                raise ValueError(f'the teacher "{self.kind}" needs teacher.{name}, {_NEEDED[name]}')
            if self.kind not in kinds and getattr(self, name):
                raise ValueError(
                    f'teacher.{name} bears on nothing with the teacher "{self.kind}"; leave it out, or choose '
                    f"teacher.kind = {', '.join(kinds)}"
                )
        return self

    @property
    def reads(self) -> bool:
        """Whether it is the trained reader who judges."""
        return self.kind not in _READERLESS

    @property
    def prompt_tokens(self) -> int:
        """How long a language model's prompt may be; 0 where the teacher is none."""
        return self.max_length_tokens or _LENGTHS.get(self.kind, 0)


class RerankerSettings(Settings):
    """Who puts retrieved passages in order before a reader reads them."""

    kind: Literal["none", "cross_encoder", "causal_attention"] = "none"
    """A ``cross_encoder`` (with retrieval by words: "lexical recall, BERT re-ranking"), or what a language model looks
    at (``causal_attention``, as the teacher of that name). Neither needs an answer. With ``none`` readers read what the
    retriever ranks first."""
    model: str = ""
    """Which cross-encoder or language model: a name on the hub or a folder."""
    num_passages: int = Field(default=50, ge=1)
    """How many passages of a question are judged, from the top of the ranking; the others follow as they were."""

    @model_validator(mode="after")
    def _has_a_model(self) -> Self:
        if (self.kind == "none") == bool(self.model):
            wanted = f'the re-ranker "{self.kind}" needs reranker.model' if self.kind != "none" else "reranker.model"
            raise ValueError(f"{wanted}; give both reranker.kind and reranker.model, or neither")
        return self

    @property
    def teacher(self) -> TeacherSettings:
        """The teacher that judges; not asked where there is no re-ranker."""
        assert self.kind != "none", "nobody re-ranks"
        return TeacherSettings(kind=self.kind, model=self.model)


ATTENTION: Final = TeacherSettings()
_POSTERIOR: Final = TeacherSettings(kind="passage_posterior")


def own_judgement(reader: ReaderSettings) -> TeacherSettings:
    """Return the teacher that looks at what a reader of this kind does by itself, without any answer."""
    return _POSTERIOR if reader.kind == "extractive" else ATTENTION


def check_goes_with(settings: TeacherSettings, reader: ReaderSettings) -> None:
    """Refuse a teacher that looks for something that the reader has not.

    Raises:
        ConfigError: It wants a decoder and there is none, or spans and there are none.
    """
    extractive = reader.kind == "extractive"
    if settings.reads and extractive != (settings.kind == _POSTERIOR.kind):
        lacking = (
            "looks at a decoder, which a reader that marks spans has not"
            if extractive
            else ("adds up the likelihood of spans, which a reader that writes answers has not")
        )
        raise ConfigError(
            f'teacher.kind: "{settings.kind}" {lacking} (reader.kind = "{reader.kind}"); set teacher.kind = '
            f'"{own_judgement(reader).kind}", or choose a teacher that needs no reader: {", ".join(_READERLESS)}'
        )


def choose_teacher(
    settings: TeacherSettings,
    *,
    reader: Reader | None,
    aggregation: Aggregation,
    language: Language = "en",
    precision: Precision = "auto",
) -> Teacher:
    """Make the teacher that the settings name.

    Args:
        settings: Which.
        reader: The trained reader; may be None for teachers that do not read.
        aggregation: How its attention becomes relevance.
        language: How an answer is found in a text.
        precision: Of the models' matrix products.

    Raises:
        ConfigError: The teacher reads, and there is no reader, or one of another kind.
        DataError: The file of relevance cannot be read.
        ModelError: The teacher's own model cannot be loaded.
    """
    match settings.kind:
        case "answer_string":
            return AnswerString(language)
        case "gold":
            return Gold()
        case "cross_encoder":
            return CrossEncoderTeacher(settings.model, precision=precision)
        case "causal_likelihood":
            return CausalLikelihood(*load_causal(settings.model), max_length_tokens=settings.prompt_tokens)
        case "causal_attention":
            return CausalAttention(
                *load_causal(settings.model),
                max_length_tokens=settings.prompt_tokens,
                num_heads=settings.num_heads,
                heads=[(int(layer), int(head)) for layer, head in (name.split(".") for name in settings.heads)],
                language=language,
            )
        case "file":
            return GivenRelevance(Path(settings.file))
    if reader is None:
        raise ConfigError(
            f'teacher.kind: the teacher "{settings.kind}" asks a trained reader, and none is given; give one, or '
            f"choose a teacher that needs none: {', '.join(_READERLESS)}"
        )
    check_goes_with(settings, reader.settings)
    if isinstance(reader, ExtractiveReader):
        return PassagePosterior(reader, precision=precision)
    assert settings.kind != "passage_posterior", "it goes with extractive readers alone"
    if settings.kind == "cross_attention":
        return CrossAttention(reader, aggregation, precision=precision)
    return AnswerLikelihoods(reader, settings.kind, precision=precision)


def settings_of_teacher(settings: TeacherSettings, *, aggregation: Aggregation, language: Language) -> dict[str, Any]:
    """Return all that bears on what the teacher says, the content of its file too.

    Raises:
        DataError: The file of relevance cannot be read.
    """
    if settings.kind == "cross_attention":
        return {"relevance": aggregation.model_dump()}
    known: dict[str, Any] = {"kind": settings.kind}
    if settings.kind == "answer_string" or settings.num_heads:
        known["language"] = language
    if settings.model:
        known["model"] = settings.model
    if settings.prompt_tokens:
        known["max_length_tokens"] = settings.prompt_tokens
    if settings.kind == "causal_attention":
        known["num_heads"] = settings.num_heads
    if settings.heads:
        known["heads"] = settings.heads
    if settings.file:
        known["file"] = file_fingerprint(Path(settings.file))
    return {"teacher": known}
