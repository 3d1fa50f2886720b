"""The tokens of texts by key, as many as a bound allows: those that were not used for the longest time go first.

What a key is made of is the caller's business, and so is whether the tokens of a text are always the same.
"""

import hashlib
from collections import OrderedDict

import numpy as np

__all__ = ["TokenMemory", "text_key"]

_MOST_TOKENS = 1 << 25  # of 4 bytes: 128 MB


class TokenMemory:
    """Remembers tokens; the last used stand last.

    Attributes:
        num_tokens: How many are remembered.
    """

    def __init__(self) -> None:
        self.num_tokens = 0
        self._rows: OrderedDict[bytes, np.ndarray] = OrderedDict()

    def __contains__(self, key: bytes) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, key: bytes, tokens: np.ndarray) -> None:
        """Remember the tokens of a new text; nothing is forgotten for it yet."""
        self._rows[key] = tokens
        self.num_tokens += len(tokens)

    def take(self, key: bytes) -> np.ndarray:
        """Return what is remembered, which must not be changed; it was used last from now on."""
        self._rows.move_to_end(key)
        return self._rows[key]

    def forget_the_oldest(self) -> None:
        """Keep to the bound. Not while a call still needs what it has put."""
        while self.num_tokens > _MOST_TOKENS:
            _, oldest = self._rows.popitem(last=False)
            self.num_tokens -= len(oldest)

    def clear(self) -> None:
        """Forget all."""
        self._rows.clear()
        self.num_tokens = 0


def text_key(*parts: str) -> bytes:
    """Return 16 bytes that tell texts apart."""
    return hashlib.blake2b("\0".join(parts).encode(errors="surrogatepass"), digest_size=16).digest()
