"""Settings from presets, files and overrides: later ones win, and what is wrong is said with its key."""

import pytest

from dogeared.errors import ConfigError
from dogeared.pipeline.config import Experiment, load_experiment, preset_names, setting_keys


def test_without_anything_settings_are_their_defaults():
    assert load_experiment() == Experiment()


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads(name):
    assert load_experiment(preset=name) != Experiment()


def test_a_file_wins_over_a_preset_and_an_override_over_both(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text("seed = 5\n[reader]\nnum_passages = 7\nmax_length_tokens = 99\n")
    preset = load_experiment(preset="cpu")
    found = load_experiment(preset="cpu", config=file, overrides=["reader.num_passages=3", "rounds.max=1"])
    assert (found.seed, found.reader.num_passages, found.reader.max_length_tokens) == (5, 3, 99)
    assert found.reader.model == preset.reader.model != Experiment().reader.model
    assert found.rounds.max == 1
    assert found.retriever_training == preset.retriever_training


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("reader_training.learning_rate=3e-4", lambda e: e.reader_training.learning_rate == 3e-4),
        ("reader_training.learning_rate=1", lambda e: e.reader_training.learning_rate == 1.0),
        ("reader.model=t5-base", lambda e: e.reader.model == "t5-base"),
        ("reader.model = ./a folder/model ", lambda e: e.reader.model == "./a folder/model"),
        ('reader.model="123"', lambda e: e.reader.model == "123"),
        ("rounds.keep=all", lambda e: e.rounds.keep == "all"),
        ("retriever_training={steps=4, num_passages=9}", lambda e: e.retriever_training.steps == 4),
    ],
)
def test_overrides_are_read_as_toml_or_as_text(override, read):
    assert read(load_experiment(overrides=[override]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("reader.num_pasages=3", "reader.num_pasages: there is no such setting; did you mean reader.num_passages?"),
        ("retriver.model=x", "retriver: there is no such setting; did you mean retriever"),
        ("zzzzzz=1", "zzzzzz: there is no such setting"),
        ("reader.num_passages=many", "reader.num_passages: input should be a valid integer, got 'many'"),
        ("reader.num_passages=2.5", "reader.num_passages: input should be a valid integer, got 2.5"),
        ('seed="1"', "seed: input should be a valid integer, got '1'"),
        ("num_passages=1", "num_passages: input should be greater than or equal to 2, got 1"),
        ("reader_training.learning_rate=nan", "reader_training.learning_rate: input should be a finite number"),
        ("rounds.select_by=success@5", "rounds.select_by: input should be 'answer_success@1'"),
        ("start=dence", "start: input should be 'bm25', 'tfidf', 'dense', 'hybrid' or 'given', got 'dence'"),
        ("start_model=other", "start_model: expected none with start = \"bm25\", which uses no vectors, got 'other'"),
        ("rounds.max", "--set: expected key=value, such as rounds.max=2, got 'rounds.max'"),
        ("=2", "--set: expected key=value, such as rounds.max=2, got '=2'"),
    ],
)
def test_what_is_wrong_is_said_with_its_key(override, message):
    with pytest.raises(ConfigError) as raised:
        load_experiment(overrides=[override])
    assert message in str(raised.value)


def test_all_faults_are_said_at_once():
    with pytest.raises(ConfigError, match=r"seed: .*; reader\.modle: there is no such setting"):
        load_experiment(overrides=["seed=-1", "reader.modle=x"])


def test_a_file_that_is_absent_or_no_toml_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.toml: expected a TOML file"):
        load_experiment(config=tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_text("seed: 1")
    with pytest.raises(ConfigError, match=r"bad\.toml: expected a TOML file"):
        load_experiment(config=tmp_path / "bad.toml")


def test_an_unknown_preset_is_an_error_that_lists_the_known():
    with pytest.raises(ConfigError, match=r"preset: expected one of .*cpu.*, got 'huge'"):
        load_experiment(preset="huge")


def test_every_setting_says_what_it_does():
    keys = setting_keys()
    assert keys["reader_training.learning_rate"] == "At the end of the warm-up."
    assert keys["rounds.patience"].startswith("Rounds in a row without a better one")
    assert [key for key, text in keys.items() if not text] == []


@pytest.mark.parametrize(
    ("overrides", "times", "by_student"),
    [
        ((), 4, False),
        (("start=dense",), 4, True),
        (("start=hybrid", "start_model=other"), 5, False),
        (("retriever.encoders=query_only", "start=dense", "start_model=other"), 2, False),
    ],
)
def test_how_often_a_corpus_is_encoded_follows_from_start_and_student(overrides, times, by_student):
    experiment = load_experiment(overrides=["rounds.max=3", *overrides])
    assert (experiment.num_encodings, experiment.starts_untouched) == (times, by_student)


def test_settings_come_back_from_json_unchanged():
    experiment = load_experiment(preset="cpu", overrides=["retriever_training.student_temperature=0.3"])
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment


def test_emdr2_without_likelihoods_is_refused():
    with pytest.raises(ConfigError, match=r"teacher\.kind"):
        load_experiment(overrides=["retriever_training.loss=emdr2"])
    likely = load_experiment(overrides=["retriever_training.loss=emdr2", "teacher.kind=likelihood"])
    assert likely.retriever_training.loss == "emdr2"


def test_emdr2_of_tokens_wants_the_teacher_that_knows_tokens():
    for kind in ("cross_attention", "perplexity"):
        with pytest.raises(ConfigError, match=r"only\s+teacher\.kind = \"likelihood\" gives"):
            load_experiment(overrides=["retriever_training.loss=emdr2_tokens", f"teacher.kind={kind}"])
    likely = load_experiment(overrides=["retriever_training.loss=emdr2_tokens", "teacher.kind=likelihood"])
    assert likely.retriever_training.loss == "emdr2_tokens"


def test_squared_error_has_no_teacher_with_numbers_of_two_sizes():
    overrides = ["teacher.kind=perplexity", "teacher.gold_weight=0.5"]
    with pytest.raises(ConfigError, match=r"mse asks .* choose a loss .* \"kl\", or leave out teacher\.gold_weight"):
        load_experiment(overrides=[*overrides, "retriever_training.loss=mse"])
    for loss in ("kl", "max_margin", "cross_entropy", "graded_infonce"):
        assert load_experiment(overrides=[*overrides, f"retriever_training.loss={loss}"]).teacher.gold_weight == 0.5
