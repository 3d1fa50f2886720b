"""The tokens of a student's texts, remembered for the epochs to come.

A training meets the same passages again and again: with many questions, in every epoch. A small encoder on a GPU learns
from a passage sooner than a CPU makes it tokens, so it is made tokens once. Whether a model's
inputs are tokens and nothing else is looked at each time that texts are tokenized: real tokens first, then padding;
whatever other inputs there are the same number for every real token and 0 for padding, or the same for all texts. Of a
model that has it otherwise nothing is remembered.

How texts become tokens is the model's business (``feature_chunks.py`` asks it).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from dogeared.retrieval.encoder_models import StudentModel
from dogeared.token_memory import TokenMemory, text_key

__all__ = ["RememberedTexts", "remembered_texts"]


@dataclass
class RememberedTexts:
    """What is known of one model's texts of one kind.

    Attributes:
        padding: The token that fills rows up.
        constants: For each input that is as long as the tokens, its number where a token is real.
        of_all: The inputs that are the same for all texts.
        fits: Whether that was so of all texts until now.
        tokens: Of the texts.
    """

    padding: int
    constants: dict[str, int] = field(default_factory=dict)
    of_all: dict[str, Any] = field(default_factory=dict)
    fits: bool = True
    tokens: TokenMemory = field(default_factory=TokenMemory)
    _lock: Lock = field(default_factory=Lock)  # a thread makes the next batch while another computes

    def rows(self, texts: Sequence[str], tokenize: Callable[[list[str]], Mapping[str, Any]]) -> list[np.ndarray] | None:
        """Return the tokens of texts; None where the model's inputs are more than tokens.

        Args:
            texts: As the model is given them.
            tokenize: Makes a model's inputs of texts, all padded to one length.
        """
        keys = [text_key(text) for text in texts]
        with self._lock:
            new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self.tokens}
            if not self.fits or (new and not self._learn(new, tokenize(list(new.values())))):
                return None
            rows = [self.tokens.take(key) for key in keys]
            self.tokens.forget_the_oldest()
        return rows

    def _learn(self, new: Mapping[bytes, str], inputs: Mapping[str, Any]) -> bool:
        arrays = {name: np.array(value) for name, value in inputs.items() if isinstance(value, list)}
        of_all = {name: value for name, value in inputs.items() if name not in arrays}
        ids, mask = arrays.pop("input_ids", None), arrays.get("attention_mask")
        self.fits = ids is not None and mask is not None and self._are_plain(ids, mask.astype(bool), arrays, of_all)
        if ids is None or mask is None or not self.fits:
            self.tokens.clear()
            return False
        for key, row, length in zip(new, ids.astype(np.int32), mask.sum(axis=1), strict=True):
            self.tokens.put(key, row[:length].copy())
        return True

    def _are_plain(
        self, ids: np.ndarray, is_real: np.ndarray, others: Mapping[str, np.ndarray], of_all: dict[str, Any]
    ) -> bool:
        if not all(array.shape == ids.shape for array in others.values()):
            return False
        if not self.constants:
            self.constants, self.of_all = {name: int(array[0, 0]) for name, array in others.items()}, of_all
        return (
            all(isinstance(value, str | int | None) for value in of_all.values())
            and of_all == self.of_all
            and others.keys() == self.constants.keys()
            and bool(is_real[:, 0].all() and (is_real[:, :-1] >= is_real[:, 1:]).all())
            and bool((ids[~is_real] == self.padding).all())
            and all((array == np.where(is_real, self.constants[name], 0)).all() for name, array in others.items())
        )


_lock = Lock()  # of what follows
_known: WeakKeyDictionary[StudentModel, dict[tuple[Any, ...], RememberedTexts]] = WeakKeyDictionary()


def remembered_texts(model: StudentModel, *kind: Any) -> RememberedTexts:
    """Return what is remembered of a model's texts.

    Args:
        model: As long as it lives; its weights may change.
        kind: All that its tokens depend on beside the text: task, prompt and length.
    """
    with _lock:
        of_model = _known.setdefault(model, {})
        if kind not in of_model:
            of_model[kind] = RememberedTexts(padding=model.tokenizer.pad_token_id or 0)
        return of_model[kind]
