"""Make a small Fusion-in-Decoder reader for English text where no pretrained encoder-decoder can be had.

A fresh T5 of about ten million parameters learns to copy from cloze questions made of the passages themselves, short
texts first. Everything but the tokenizer and the fresh weights is done by dogeared's own commands:

    python -m benchmarks.text_reader --passages wiki.tsv.xz --out runs/text-reader

The result, ``OUT/reader``, is a start for ``--set reader.model=...``; it has seen no question, only text.
"""

import argparse
import subprocess
import sys
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from dogeared.data.formats import iter_passages

VOCABULARY = 16_000
SHORT_WORDS = 28


def main() -> None:
    """Make tokenizer, fresh model and cloze questions, then train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passages", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=130_000)
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args()
    out: Path = options.out
    fresh = out / "fresh"
    if not (fresh / "config.json").is_file():
        make_fresh(options.passages, fresh)
    questions = out / "cloze.jsonl"
    if not questions.is_file():
        dogeared(
            "cloze",
            f"--passages={options.passages}",
            f"--out={questions}",
            f"--max-words={SHORT_WORDS}",
            f"--max-questions={options.questions}",
        )
    dogeared("prepare", f"--questions={questions}", f"--out={out / 'data'}")
    settings = [
        "--set=start=given",
        f"--set=reader.model={fresh.absolute()}",
        "--set=reader.num_passages=1",
        "--set=reader.max_length_tokens=128",
        "--set=reader.max_answer_tokens=12",
        f"--set=reader_training.steps={options.steps}",
        "--set=reader_training.questions_per_step=64",
        "--set=reader_training.learning_rate=1e-3",
        "--set=reader_training.warmup_steps=100",
        "--set=reader_training.evaluate_every_steps=250",
        "--set=reader_training.evaluate_questions=200",
    ]
    dogeared("retrieve", f"--data={out / 'data'}", f"--out={out / 'ranking'}", *settings)
    dogeared(
        "train-reader", f"--data={out / 'data'}", f"--ranking={out / 'ranking'}", f"--out={out / 'reader'}", *settings
    )


def dogeared(*arguments: str) -> None:
    """Run a command of dogeared."""
    subprocess.run([sys.executable, "-m", "dogeared.cli", "--verbose", *arguments], check=True)


def make_fresh(passages: Path, folder: Path) -> None:
    """Save a tokenizer trained on the passages, and a T5 with random weights."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=VOCABULARY, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    texts = (f"question: title: {p.title} context: {p.text} ____" for p in islice(iter_passages(passages), 40_000))
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    T5ForConditionalGeneration(
        T5Config(
            vocab_size=tokenizer.get_vocab_size(),
            d_model=256,
            d_kv=64,
            d_ff=1024,
            num_layers=4,
            num_decoder_layers=3,
            num_heads=4,
            dropout_rate=0.0,
            decoder_start_token_id=0,
            pad_token_id=0,
            eos_token_id=1,
        )
    ).save_pretrained(folder)


if __name__ == "__main__":
    main()
