"""Encoder states of pairs that were read a moment ago, so that they need not be computed again.

Who asks the same again, asks for more passages, or compares two retrievers, reads mostly pairs of question and passage
that were read before. A pair is encoded apart from all others, so its states are the same in any batch, up to rounding.
The oldest go where there are more than a number of bytes. The reader's weights, rounded once, are kept with them.

Not here: when a model changes. Whoever changes one makes a new memory.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from dogeared.reader.fid import FusedStates, FusionInDecoder
from dogeared.records import Passage
from dogeared.rounded import Images

__all__ = ["RecentStates"]

_Key = tuple[str, str, str] | tuple[str]


class RecentStates:
    """States of pairs by their texts, of one reader in one precision.

    Args:
        max_bytes: What the states may take; 0 remembers nothing.
    """

    def __init__(self, *, max_bytes: int = 256 << 20) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._states: OrderedDict[_Key, Float[Tensor, "length dim"]] = OrderedDict()
        self._weights: Images | None = None

    def fuse(
        self, reader: FusionInDecoder, questions: Sequence[str], passages: Sequence[Sequence[Passage]]
    ) -> FusedStates:
        """Return what ``reader.fuse`` makes of these, and encode only pairs that are not remembered."""
        keys = [_keys(question, found) for question, found in zip(questions, passages, strict=True)]
        missing: dict[_Key, Passage | None] = {}
        for own, found in zip(keys, passages, strict=True):
            pairs = zip(own, found or (None,), strict=True)
            missing |= {key: passage for key, passage in pairs if key not in self._states}
        states = {key: self._states[key] for own in keys for key in own if key in self._states}
        if missing:
            alone = [[] if passage is None else [passage] for passage in missing.values()]
            if self._weights is None:
                self._weights = reader.rounded_weights()
            fused = reader.fuse(reader.batch([key[0] for key in missing], alone), self._weights)
            for number, key in enumerate(missing):
                states[key] = fused.states[number, : int(fused.mask[number].sum())].clone()
        for key, value in states.items():
            self._remember(key, value)
        return _laid_out([[states[key] for key in own] for own in keys], passages)

    def _remember(self, key: _Key, states: Tensor) -> None:
        if key not in self._states:
            self._states[key] = states
            self._num_bytes += states.nbytes
        self._states.move_to_end(key)
        while self._num_bytes > self._max_bytes:
            _, oldest = self._states.popitem(last=False)
            self._num_bytes -= oldest.nbytes


def _keys(question: str, passages: Sequence[Passage]) -> list[_Key]:
    """Name the pairs of a question; one without passages is read alone."""
    return [(question, passage.title, passage.text) for passage in passages] or [(question,)]


def _laid_out(pairs: Sequence[Sequence[Tensor]], passages: Sequence[Sequence[Passage]]) -> FusedStates:
    lengths = [sum(len(states) for states in own) for own in pairs]
    first = pairs[0][0]
    states = first.new_zeros(len(pairs), max(lengths), first.shape[-1])
    passage_of_token = torch.full(states.shape[:2], -1, device=first.device)
    for row, (own, found) in enumerate(zip(pairs, passages, strict=True)):
        states[row, : lengths[row]] = torch.cat(list(own))
        if found:
            sizes = torch.tensor([len(part) for part in own], device=first.device)
            numbers = torch.arange(len(own), device=first.device)
            passage_of_token[row, : lengths[row]] = numbers.repeat_interleave(sizes)
    mask = torch.arange(max(lengths), device=first.device) < torch.tensor(lengths, device=first.device)[:, None]
    counts = torch.tensor([len(found) for found in passages], device=first.device)
    return FusedStates(states=states, mask=mask, passage_of_token=passage_of_token, num_passages=counts)
