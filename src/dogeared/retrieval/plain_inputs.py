"""The inputs of a student that reads tokens and nothing else: made fast, and once where the same texts come again.

The library's preprocessing asks of each text whether it is an image's address, and hands every number through Python's
lists: for a small encoder on a GPU that takes longer than all else. And a training meets the same passages again and
again. Most models' inputs follow from the tokens: real ones first, then padding; whatever other inputs there are the
same number for every real token and 0 for padding, or the same for all texts. Then the tokenizer alone is asked, and
its tokens are remembered where they are wanted again. Whether a model is one of those is looked at, not believed: the
first texts, and some that are hard, are preprocessed by the model itself as well, and where that differs, all are.

How inputs are cut into chunks is not here (``feature_chunks.py``).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from tokenizers import Tokenizer

from dogeared.batching import padded
from dogeared.retrieval.encoder_models import StudentModel
from dogeared.token_memory import TokenMemory, text_key

__all__ = ["PlainInputs", "plain_inputs"]

_NUM_CHECKED = 64
_HARD = ("", "  two  spaces ", "a line\nbreak\ttab", "[MASK] <mask> </s> [SEP]")
_NO_LIMIT = 1 << 20  # tokens: what a tokenizer without a limit says is more

Preprocess = Callable[[list[str]], Mapping[str, Any]]
"""Makes a model's inputs of texts as it does itself, padded to one length, as lists."""


@dataclass
class PlainInputs:
    """What is known of one model's texts of one kind.

    Attributes:
        tokenizer: Makes tokens of a text, special ones included, and cuts them.
        prompt: Stands before each text.
        padding: The token that fills rows up.
        constants: For each input that is as long as the tokens, its number where a token is real.
        of_all: The inputs that are the same for all texts.
        fits: Whether inputs follow from tokens, as far as was seen.
        memory: The tokens of texts that are remembered.
    """

    tokenizer: Tokenizer
    prompt: str
    padding: int
    constants: dict[str, int] = field(default_factory=dict)
    of_all: dict[str, Any] = field(default_factory=dict)
    fits: bool = True
    memory: TokenMemory = field(default_factory=TokenMemory)
    _num_checks: int = field(default_factory=lambda: _NUM_CHECKED)
    _lock: Lock = field(default_factory=Lock)  # a thread makes the next batch while another computes

    def rows(self, texts: Sequence[str], preprocess: Preprocess, *, remembers: bool) -> list[np.ndarray] | None:
        """Return the tokens of texts; None where the model's inputs do not follow from them.

        Args:
            texts: One or more, as the model is given them.
            preprocess: For texts that are looked at.
            remembers: Whether to keep their tokens.
        """
        with self._lock:
            if not remembers:
                return self._made(texts, preprocess)
            keys = [text_key(text) for text in texts]
            new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self.memory}
            made = self._made([*new.values()], preprocess) if self.fits else None
            if made is None:
                return None
            for key, row in zip(new, made, strict=True):
                self.memory.put(key, row)
            rows = [self.memory.take(key) for key in keys]
            self.memory.forget_the_oldest()
        return rows

    def features(self, rows: Sequence[np.ndarray], width: int) -> dict[str, Any]:
        """Return the model's inputs of some texts, padded to a width that none exceeds."""
        ids, is_real = padded(rows, width=width, pad_token_id=self.padding)
        others = {name: is_real.long() if number == 1 else is_real * number for name, number in self.constants.items()}
        return {"input_ids": ids, **others, **self.of_all}

    def _made(self, texts: Sequence[str], preprocess: Preprocess) -> list[np.ndarray] | None:
        if not self.fits:
            return None
        if texts and self._num_checks:
            hard = (
                [] if self.constants else [*_HARD, "a " * (1 + (self.tokenizer.truncation or {}).get("max_length", 0))]
            )
            checked = [*texts[: self._num_checks], *hard]
            self.fits = self._are(preprocess(checked), self._tokens(checked))
            self._num_checks -= len(checked) - len(hard)
            if not self.fits:
                self.memory.clear()
                return None
        return self._tokens(texts)

    def _tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        encoded = self.tokenizer.encode_batch_fast([self.prompt + text for text in texts])
        return [np.array(one.ids, dtype=np.int32) for one in encoded]

    def _are(self, inputs: Mapping[str, Any], rows: list[np.ndarray]) -> bool:
        """Say whether a model's inputs are those that would be made of tokens; the first tell what else there is."""
        lists = {name: np.array(value) for name, value in inputs.items() if isinstance(value, list)}
        of_all = {name: value for name, value in inputs.items() if name not in lists}
        shape = (len(rows), max(map(len, rows)))
        if not all(value.shape == shape for value in lists.values()):
            return False
        if not self.constants:
            self.constants = {name: int(value[0, 0]) for name, value in lists.items() if name != "input_ids"}
            self.of_all = of_all
        expected = self.features(rows, shape[1])
        return (
            "attention_mask" in lists
            and all(isinstance(value, str | int | None) for value in of_all.values())
            and expected.keys() == inputs.keys()
            and all(np.array_equal(value, expected[name]) for name, value in lists.items())
            and all(value == expected[name] for name, value in of_all.items())
        )


_lock = Lock()  # of what follows
_known: WeakKeyDictionary[StudentModel, dict[tuple[Any, ...], PlainInputs]] = WeakKeyDictionary()


def plain_inputs(model: StudentModel, task: str, prompt: str | None) -> PlainInputs | None:
    """Return what is known of a model's texts; None where its tokenizer is none that could be asked alone.

    Args:
        model: Its weights may change, its tokenizer may not.
        task: What the texts are.
        prompt: What stands before each.
    """
    tokenizer = model.tokenizer
    if not getattr(tokenizer, "is_fast", False) or tokenizer.padding_side != "right":
        return None
    kind = (task, prompt, model.max_seq_length)
    with _lock:
        of_model = _known.setdefault(model, {})
        if kind not in of_model:
            # One of its own: others set where theirs cuts and pads at every call.
            own = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
            own.no_padding()
            own.no_truncation()
            if model.max_seq_length is not None and model.max_seq_length < _NO_LIMIT:
                own.enable_truncation(model.max_seq_length, direction=tokenizer.truncation_side)
            padding = tokenizer.pad_token_id
            of_model[kind] = PlainInputs(own, prompt or "", 0 if padding is None else padding)
        return of_model[kind]
