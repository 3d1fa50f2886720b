"""What several tests share: two tiny models with random weights, thirty passages, and a finished run made of them.

Nothing is downloaded and nothing is good: the models know nothing, so that only the machinery is seen to work.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dogeared import progress

# Models as small as these lose more by sharing their work among threads than they win.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_LONG = ("whole", "test_speed")  # folders and modules whose tests take many seconds each


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes long first: at the end, one process would work on it while the others have nothing left to do."""
    long = tuple(str(Path(__file__).parent / name) for name in _LONG)
    items.sort(key=lambda item: not str(item.path).startswith(long))


TINY_OVERRIDES = (
    "num_passages=8",
    "reader.num_passages=4",
    "reader.max_length_tokens=64",
    "reader.max_answer_tokens=4",
    "reader_training.steps=3",
    "reader_training.questions_per_step=4",
    "reader_training.learning_rate=0.01",
    "retriever.max_length_tokens=64",
    "retriever_training.steps=3",
    "retriever_training.questions_per_step=4",
    "retriever_training.num_passages=4",
    "retriever_training.learning_rate=0.01",
    "rounds.max=1",
    "rounds.keep=all",
)


@contextmanager
def _logs_and_bars_as_before() -> Iterator[None]:
    """Take back what a command of the command line did to logs and bars, which outlive it in a test's process."""
    logger = logging.getLogger("dogeared")
    handlers, level, listener = logger.handlers[:], logger.level, progress._listener.get()
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)
    progress.report_to(listener)


@pytest.fixture(autouse=True)
def _quiet_after_a_test() -> Iterator[None]:
    with _logs_and_bars_as_before():
        yield


@pytest.fixture(autouse=True, scope="module")
def _quiet_after_a_module() -> Iterator[None]:
    """A module's fixture that calls a command does so before its first test begins."""
    with _logs_and_bars_as_before():
        yield


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``passages.jsonl`` (30) and ``questions.jsonl`` (6 to train on, 6 dev, 6 test)."""
    from dogeared.data.encyclopedia import Encyclopedia, generate, write_encyclopedia

    whole = generate(num_people=3, num_dev_people=1, num_test_people=1)
    names = {person.name for person in whole.people}
    about_people = [passage for passage in whole.passages if passage.title in names]
    places = [passage for passage in whole.passages if passage.title not in names]
    few = Encyclopedia(passages=(*about_people, *places[:6]), questions=whole.questions, people=whole.people)
    assert len(few.passages) == 30
    folder = tmp_path_factory.mktemp("tiny") / "data"
    write_encyclopedia(few, folder)
    return folder


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """A folder with a random T5 in ``reader`` and a random BERT in ``encoder``; their tokenizers know the words."""
    import torch
    from transformers import BertConfig, BertModel, T5Config, T5ForConditionalGeneration

    texts = (tiny_data / "passages.jsonl").read_text(encoding="utf-8").splitlines()
    texts += (tiny_data / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    folder = tmp_path_factory.mktemp("tiny") / "models"
    for name, special in (("reader", ["<pad>", "</s>", "<unk>"]), ("encoder", ["[PAD]", "[UNK]", "[CLS]", "[SEP]"])):
        tokenizer = _word_tokenizer(texts, special)
        tokenizer.save_pretrained(folder / name)
        torch.manual_seed(0)
        if name == "reader":
            config = T5Config(
                vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, dropout_rate=0.0
            )
            config.decoder_start_token_id = 0
            T5ForConditionalGeneration(config).save_pretrained(folder / name)
        else:
            sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
            BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="session")
def tiny_language_model(tmp_path_factory: pytest.TempPathFactory, tiny_models: Path) -> Path:
    """A folder with a random masked language model over the words of ``tiny_data``, to make sparse vectors of."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

    folder = tmp_path_factory.mktemp("tiny") / "language-model"
    tokenizer = AutoTokenizer.from_pretrained(tiny_models / "encoder")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_settings(tiny_models: Path) -> tuple[str, ...]:
    """Overrides that make any run with ``tiny_data`` take seconds."""
    return (*TINY_OVERRIDES, f"reader.model={tiny_models / 'reader'}", f"retriever.model={tiny_models / 'encoder'}")


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path, tiny_settings: tuple[str, ...]) -> Path:
    """The directory of a finished run with one round after round 0, all models kept. Copy it before changing it."""
    from dogeared import api

    folder = tmp_path_factory.mktemp("tiny") / "run"
    api.run(
        questions=tiny_data / "questions.jsonl",
        passages=tiny_data / "passages.jsonl",
        out=folder,
        preset=None,
        overrides=tiny_settings,
    )
    return folder


def _word_tokenizer(texts: list[str], special: list[str]):
    """A tokenizer whose tokens are words and signs; the last special tokens stand around a text as its model wants."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(unk_token=next(token for token in special if "unk" in token.lower())))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=special, show_progress=False))
    roles = {"pad_token": special[0], "unk_token": tokenizer.model.unk_token}
    if "</s>" in special:
        template, roles["eos_token"] = "$A </s>", "</s>"
    else:
        template, roles["cls_token"], roles["sep_token"] = "[CLS] $A [SEP]", "[CLS]", "[SEP]"
    around = [(token, special.index(token)) for token in template.split() if token in special]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=around)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **roles)
