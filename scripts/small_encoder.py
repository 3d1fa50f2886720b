"""Pretrain a small encoder from passages alone, for a language or a subject of which no model is at hand.

    python scripts/small_encoder.py passages.jsonl --out small-encoder

The folder is a plain BERT with its tokenizer: give it as ``retriever.model`` and as ``reader.model``. It is made of
nothing but the text it is given, so it knows no more than that text; a pretrained encoder of the language, wherever
one can be had, is better by far.

The tokenizer is word pieces, of which each Han character is one: some thousand characters and the frequent words of
other scripts. First the encoder learns hidden tokens, alone, because together with pairs it never leaves the plateau of
guessing by frequency; then pairs of a few tokens in a row with the text around them, from which they were taken out
more often than not (Lee et al., "Latent Retrieval for Weakly Supervised Open Domain Question Answering", ACL 2019),
which must find each other among the pairs of a batch.
"""

import argparse
import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM, BertModel, PreTrainedTokenizerFast

from demo_common import count_parameters, make_optimizer, update
from dogeared.compute import autocast, keep_freed_memory
from dogeared.data.formats import iter_passages

HIDDEN_SHARE = 0.2
KEPT_SHARE = 0.2  # of the pairs, in how many the text still holds the tokens that look for it
QUERY_TOKENS = range(5, 20)
WORD_LEARNING_RATE, PAIR_LEARNING_RATE = 2e-3, 5e-4


def make_tokenizer(texts: Sequence[str], *, vocabulary: int, max_length: int) -> PreTrainedTokenizerFast:
    """Train word pieces in lower case, with BERT's special tokens."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.BertNormalizer(lowercase=True)])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary, limit_alphabet=vocabulary, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=max_length,
    )


class Pretraining:
    """The encoder with its head, the tokens of the passages, and the losses of the two phases."""

    def __init__(self, passages: Sequence[tuple[str, str]], options: argparse.Namespace) -> None:
        texts = [f"{title} {text}" for title, text in passages]
        self.options = options
        self.draw = random.Random(options.seed)
        self.tokenizer = make_tokenizer(texts, vocabulary=options.vocabulary, max_length=options.max_length)
        tokenized = self.tokenizer([text for _, text in passages], add_special_tokens=False)["input_ids"]
        titles = self.tokenizer([title for title, _ in passages], add_special_tokens=False)["input_ids"]
        self.passages = [pair for pair in zip(titles, tokenized, strict=True) if len(pair[1]) > 2 * QUERY_TOKENS.stop]
        self.model = BertForMaskedLM(
            BertConfig(
                vocab_size=len(self.tokenizer),
                hidden_size=options.dim,
                num_hidden_layers=options.layers,
                num_attention_heads=options.dim // 32,
                intermediate_size=4 * options.dim,
                max_position_embeddings=options.max_length,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            )
        )

    def words(self) -> Tensor:
        """Return the loss of tokens that were hidden."""
        width = self.options.window
        rows = []
        for _, text in self.draw.choices(self.passages, k=self.options.batch):
            first = self.draw.randint(0, max(0, len(text) - width))
            rows.append(text[first : first + width])
        token_ids, mask = self._padded(rows)
        hidden = (torch.rand(token_ids.shape) < HIDDEN_SHARE) & (token_ids > self.tokenizer.mask_token_id)
        seen = token_ids.masked_fill(hidden, self.tokenizer.mask_token_id)
        with autocast("auto", self.model.device):
            scores = self.model.cls(self.model.bert(seen, attention_mask=mask).last_hidden_state[hidden])
        return F.cross_entropy(scores.float(), token_ids[hidden])

    def pairs(self) -> tuple[Tensor, float]:
        """Return the loss of finding the right text for each piece, and how often it is found."""
        pieces, around = [], []
        for title, text in self.draw.sample(self.passages, min(self.options.batch, len(self.passages))):
            length = self.draw.choice(QUERY_TOKENS)
            first = self.draw.randint(0, len(text) - length)
            start = max(0, first - self.draw.randint(0, self.options.window - length))
            end = start + self.options.window
            kept = (
                text[start:end] if self.draw.random() < KEPT_SHARE else text[start:first] + text[first + length : end]
            )
            pieces.append(text[first : first + length])
            # Half of the texts without their titles, which would be enough to find most of them by.
            around.append((title if self.draw.random() < 0.5 else []) + kept)
        scores = self._embed(pieces) @ self._embed(around).T / math.sqrt(self.options.dim)
        truth = torch.arange(len(pieces))
        return F.cross_entropy(scores, truth), (scores.argmax(1) == truth).float().mean().item()

    def train(self, name: str, loss: Callable[[], Tensor], *, num_steps: int, learning_rate: float) -> None:
        """Take the steps of a phase, and print its mean loss now and then."""
        if not num_steps:
            return
        optimizer, schedule = make_optimizer(self.model, learning_rate=learning_rate, num_steps=num_steps)
        started, losses = time.monotonic(), []
        for step in range(1, num_steps + 1):
            value = loss()
            value.backward()
            update(self.model, optimizer, schedule)
            losses.append(value.item())
            if step % 100 == 0 or step == num_steps:
                mean = sum(losses[-100:]) / len(losses[-100:])
                print(f"{name}, step {step}: loss {mean:.3f}, {time.monotonic() - started:.0f} s", flush=True)

    def save(self, out: Path) -> None:
        """Write the encoder without its head, and with the pooler that plain loading expects and nobody asks."""
        encoder = BertModel(self.model.config)
        encoder.load_state_dict(self.model.bert.state_dict(), strict=False)
        encoder.save_pretrained(out)
        self.tokenizer.save_pretrained(out)

    def _embed(self, rows: Sequence[Sequence[int]]) -> Tensor:
        token_ids, mask = self._padded(rows)
        with autocast("auto", self.model.device):
            states = self.model.bert(token_ids, attention_mask=mask).last_hidden_state.float()
        return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        begin, end = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        tensors = [torch.tensor([begin, *row, end]) for row in rows]
        token_ids = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in tensors], batch_first=True)
        return token_ids, mask


def main() -> None:
    """Make what the command line asks for."""
    parser = argparse.ArgumentParser(description="Pretrain a small encoder from passages alone.")
    parser.add_argument("passages", type=Path, nargs="+", help="files of passages; docs/formats.md says which")
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    parser.add_argument("--vocabulary", type=int, default=6_000, help="the most tokens")
    parser.add_argument("--dim", type=int, default=128, help="a multiple of 32")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--max-length", type=int, default=512, help="the most tokens the encoder will read")
    parser.add_argument("--window", type=int, default=128, help="how many tokens of a passage a step sees")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--word-steps", type=int, default=1_500)
    parser.add_argument("--pair-steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    keep_freed_memory()
    torch.manual_seed(options.seed)
    passages = [(passage.title, passage.text) for file in options.passages for passage in iter_passages(file)]
    pretraining = Pretraining(passages, options)
    print(f"{count_parameters(pretraining.model.bert):,} parameters, {len(pretraining.tokenizer):,} tokens", flush=True)
    pretraining.train("words", pretraining.words, num_steps=options.word_steps, learning_rate=WORD_LEARNING_RATE)
    pretraining.train(
        "pairs", lambda: pretraining.pairs()[0], num_steps=options.pair_steps, learning_rate=PAIR_LEARNING_RATE
    )
    pretraining.save(options.out)
    print(f"found {pretraining.pairs()[1]:.3f} of a batch; {options.out} is done", flush=True)


if __name__ == "__main__":
    main()
