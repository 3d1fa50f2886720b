"""The teacher that the settings name is made, and settings that go with none are refused."""

from dataclasses import replace
from typing import get_args

import pytest

from dogeared.artifacts import file_fingerprint
from dogeared.data.corpus import build_corpus
from dogeared.data.readings import Readings
from dogeared.distill.causal import CausalLikelihood
from dogeared.distill.causal_attention import CausalAttention
from dogeared.distill.choosing import ATTENTION, TeacherKind, TeacherSettings, choose_teacher, settings_of_teacher
from dogeared.distill.cross_encoder import CrossEncoderTeacher
from dogeared.distill.labels import AnswerString, GivenRelevance, Gold
from dogeared.distill.likelihood import AnswerLikelihoods
from dogeared.distill.relevance import PAPER, Aggregation
from dogeared.distill.teachers import CrossAttention
from dogeared.errors import ConfigError
from dogeared.pipeline.config import load_experiment
from dogeared.records import Question, Ranking
from tiny_causal import save_tiny_causal, tiny_causal
from tiny_readers import PASSAGES, save_cross_encoder, tiny_reader

READS = ("cross_attention", "likelihood", "perplexity", "leave_one_out", "perplexity_reduction")


@pytest.mark.parametrize("kind", READS)
def test_a_teacher_that_reads_is_made_of_the_reader(kind, tmp_path):
    reader = tiny_reader("t5", tmp_path)
    aggregation = Aggregation(over_tokens="max")
    teacher = choose_teacher(TeacherSettings(kind=kind), reader=reader, aggregation=aggregation, precision="fp32")
    assert teacher.reader is reader
    assert teacher.precision == "fp32"
    if kind == "cross_attention":
        assert isinstance(teacher, CrossAttention)
        assert teacher.aggregation == aggregation
    else:
        assert isinstance(teacher, AnswerLikelihoods)
        assert teacher.kind == kind
    with pytest.raises(ConfigError, match=f'"{kind}" asks a trained reader, and none is given; give one, or choose'):
        choose_teacher(TeacherSettings(kind=kind), reader=None, aggregation=PAPER)


def test_the_others_need_no_reader(tmp_path):
    (tmp_path / "a.trec").write_text("q Q0 p 1 2 x\n")
    for settings, made in (
        (TeacherSettings(kind="answer_string"), AnswerString),
        (TeacherSettings(kind="gold"), Gold),
        (TeacherSettings(kind="file", file=str(tmp_path / "a.trec")), GivenRelevance),
        (TeacherSettings(kind="causal_likelihood", model=save_tiny_causal("gpt2", tmp_path / "lm")), CausalLikelihood),
    ):
        assert isinstance(choose_teacher(settings, reader=None, aggregation=PAPER, language="zh"), made)
    name = save_cross_encoder(tmp_path / "cross")
    for precision in ("fp32", "bf16"):
        teacher = choose_teacher(
            TeacherSettings(kind="cross_encoder", model=name), reader=None, aggregation=PAPER, precision=precision
        )
        assert isinstance(teacher, CrossEncoderTeacher)
        assert teacher.precision == precision


def test_answers_are_looked_for_in_the_language_that_is_named(tmp_path):
    readings = Readings(
        questions=[Question(id="q", text="?", answers=("北京",))],
        rankings={"q": Ranking(question_id="q", passage_ids=("0",), scores=(1.0,))},
        corpus=build_corpus([replace(PASSAGES[0], text="首都是北京。")], tmp_path / "corpus"),
        num_passages=1,
    )
    for named, relevance in (({"language": "zh"}, (1.0,)), ({"language": "en"}, ()), ({}, ())):
        teacher = choose_teacher(TeacherSettings(kind="answer_string"), reader=None, aggregation=PAPER, **named)
        assert next(iter(teacher.relevance(readings))).relevance == relevance
    assert next(iter(AnswerString().relevance(readings))).relevance == ()
    heads = {"kind": "causal_attention", "model": save_tiny_causal("gpt2", tmp_path / "lm"), "num_heads": 1}
    for language in ("zh", "en"):
        teacher = choose_teacher(TeacherSettings(**heads), reader=None, aggregation=PAPER, language=language)
        assert teacher._matcher.language == language


@pytest.mark.parametrize("kind", ["cross_attention", "perplexity"])
def test_where_no_precision_is_named_it_is_chosen_by_the_hardware(kind, tmp_path):
    reader = tiny_reader("t5", tmp_path)
    assert choose_teacher(TeacherSettings(kind=kind), reader=reader, aggregation=PAPER).precision == "auto"
    assert CrossAttention(reader).precision == AnswerLikelihoods(reader, "perplexity").precision == "auto"
    assert CrossEncoderTeacher(save_cross_encoder(tmp_path / "cross")).precision == "auto"


def test_which_read_is_known():
    needs = {
        "cross_encoder": {"model": "m"},
        "causal_likelihood": {"model": "m"},
        "causal_attention": {"model": "m"},
        "file": {"file": "f"},
    }
    kinds = {kind: TeacherSettings(kind=kind, **needs.get(kind, {})) for kind in get_args(TeacherKind)}
    assert {kind for kind, settings in kinds.items() if settings.reads} == {*READS, "passage_posterior"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["teacher.kind=attention"], "teacher.kind: input should be 'cross_attention', "),
        (["teacher.kind=file"], 'the teacher "file" needs teacher.file, the path of a .jsonl file or a TREC run'),
        (
            ["teacher.kind=cross_encoder"],
            'the teacher "cross_encoder" needs teacher.model, the name of a model of that',
        ),
        (
            ["teacher.kind=gold", "teacher.model=x"],
            'teacher.model bears on nothing with the teacher "gold"; leave it out, or choose teacher.kind = cross_enc',
        ),
        (
            ["teacher.max_length_tokens=99"],
            'teacher.max_length_tokens bears on nothing with the teacher "cross_attention"; leave it out, or choose',
        ),
        (
            ["teacher.kind=causal_likelihood", "teacher.model=x", "teacher.num_heads=3"],
            'teacher.num_heads bears on nothing with the teacher "causal_likelihood"; leave it out, or choose',
        ),
        (["teacher.file=x"], 'teacher.file bears on nothing with the teacher "cross_attention"; leave it out, or'),
        (
            ["teacher.kind=gold", "teacher.gold_weight=0.5"],
            'the teacher "gold" says nothing but labels; leave out teacher.gold_weight',
        ),
        (
            ["teacher.kind=causal_attention", "teacher.model=x", "teacher.num_heads=3", 'teacher.heads=["1.0"]'],
            "teacher.heads names the heads that teacher.num_heads would choose; give one of the two",
        ),
        (["reranker.kind=cross_encoder"], 'the re-ranker "cross_encoder" needs reranker.model; give both'),
        (["reranker.model=x"], "reranker.model; give both reranker.kind and reranker.model, or neither"),
        (["teacher.kinds=gold"], "teacher.kinds: there is no such setting; did you mean teacher.kind?"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(overrides, message):
    with pytest.raises(ConfigError) as raised:
        load_experiment(overrides=overrides)
    assert message in str(raised.value)


def test_what_bears_on_the_teacher_is_what_it_uses(tmp_path):
    def of(settings, **changed):
        return settings_of_teacher(settings, **{"aggregation": PAPER, "language": "en", **changed})

    assert of(ATTENTION) == {"relevance": PAPER.model_dump()}
    assert of(ATTENTION, language="zh") == of(ATTENTION) != of(ATTENTION, aggregation=Aggregation(over_tokens="max"))
    likely = TeacherSettings(kind="perplexity")
    assert of(likely, language="zh", aggregation=Aggregation(over_tokens="max")) == {"teacher": {"kind": "perplexity"}}
    string = TeacherSettings(kind="answer_string")
    assert of(string) != of(string, language="zh") == {"teacher": {"kind": "answer_string", "language": "zh"}}
    looks = TeacherSettings(kind="causal_attention", model="m")
    assert of(looks)["teacher"] == {"kind": "causal_attention", "model": "m", "max_length_tokens": 4096, "num_heads": 0}
    assert of(looks) == of(looks, language="zh")
    named = TeacherSettings(kind="causal_attention", model="m", heads=["1.0", "0.3"])
    assert of(named)["teacher"] == of(looks)["teacher"] | {"heads": ["1.0", "0.3"]}
    some = TeacherSettings(kind="causal_attention", model="m", num_heads=3)
    assert of(some) != of(some, language="zh")
    first, second = tmp_path / "a.trec", tmp_path / "b.trec"
    first.write_text("q Q0 p 1 2 x\n")
    second.write_text("q Q0 p 1 2 x\n")
    by_first, by_second = (TeacherSettings(kind="file", file=str(file)) for file in (first, second))
    assert of(by_first) == of(by_second) == {"teacher": {"kind": "file", "file": file_fingerprint(first)}}
    second.write_text("q Q0 p 1 3 x\n")
    assert of(by_first) != of(by_second)


def test_a_language_model_is_made_with_its_settings(tmp_path):
    name = save_tiny_causal("llama", tmp_path)
    settings = {"kind": "causal_attention", "model": name, "num_heads": 3, "max_length_tokens": 300}
    teacher = choose_teacher(TeacherSettings(**settings), reader=None, aggregation=PAPER)
    assert isinstance(teacher, CausalAttention)
    assert (teacher.num_heads, teacher.max_length_tokens) == (3, 300)
    named = TeacherSettings(kind="causal_attention", model=name, heads=["2.0", "0.3"])
    assert choose_teacher(named, reader=None, aggregation=PAPER).heads == [(2, 0), (0, 3)]
    likely = choose_teacher(TeacherSettings(kind="causal_likelihood", model=name), reader=None, aggregation=PAPER)
    assert likely.max_length_tokens == CausalLikelihood(*tiny_causal("llama")).max_length_tokens == 512
    assert CausalAttention(*tiny_causal("llama")).max_length_tokens == 4096
    short = {"kind": "causal_likelihood", "model": name, "max_length_tokens": 300}
    assert choose_teacher(TeacherSettings(**short), reader=None, aggregation=PAPER).max_length_tokens == 300
