"""Ids by their 64-bit hashes: was this one seen before, and in which row does it stand?

Millions of Python strings cost gigabytes, their hashes 8 bytes each. ``SeenIds`` finds repeated ids while a file is
read; ``IdIndex`` is two memory-mapped arrays beside a corpus. Two ids of one hash are expected once in a few hundred
million rows; an ``IdIndex`` gives all rows of a hash, and its user compares the ids themselves.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["IdIndex", "SeenIds", "hash_id", "hash_ids"]

_HASHES = "id_hashes.npy"
_ROWS = "id_rows.npy"


def hash_id(text: str) -> int:
    """Return 64 bits that stand for an id, the same on every machine and in every run."""
    return int.from_bytes(_digest(text), "little")


def hash_ids(texts: Iterable[str]) -> NDArray[np.uint64]:
    """Return ``hash_id`` of each text."""
    return np.frombuffer(b"".join(map(_digest, texts)), dtype="<u8")


class SeenIds:
    """A set of ids that takes about 8 bytes for each.

    Args:
        num_recent: So many of the last ids are kept in a Python set, before they are merged into the sorted array.
    """

    def __init__(self, *, num_recent: int = 1 << 19) -> None:
        self._num_recent = num_recent
        self._recent: set[int] = set()
        self._sorted: NDArray[np.uint64] = np.empty(0, dtype="<u8")

    def add(self, text: str) -> bool:
        """Add an id and tell whether it is new."""
        number = hash_id(text)
        if number in self._recent or self._among_sorted(number):
            return False
        self._recent.add(number)
        if len(self._recent) >= self._num_recent:
            recent = np.sort(np.fromiter(self._recent, dtype="<u8", count=len(self._recent)))
            # A stable sort merges the two sorted runs instead of sorting again.
            self._sorted = np.sort(np.concatenate([self._sorted, recent]), kind="stable")
            self._recent.clear()
        return True

    def __contains__(self, text: str) -> bool:
        number = hash_id(text)
        return number in self._recent or self._among_sorted(number)

    def __len__(self) -> int:
        return len(self._recent) + len(self._sorted)

    def _among_sorted(self, number: int) -> bool:
        if not len(self._sorted):
            return False
        place = int(np.searchsorted(self._sorted, np.uint64(number)))
        return place < len(self._sorted) and int(self._sorted[place]) == number


class IdIndex:
    """The rows of a hash, over two arrays on disk: the sorted hashes, and the row of each."""

    def __init__(self, hashes: NDArray[np.uint64], rows: NDArray[np.int64]) -> None:
        self._hashes = hashes
        self._rows = rows

    @classmethod
    def write(cls, hashes: NDArray[np.uint64], folder: Path) -> "IdIndex":
        """Write the index of rows 0, 1, 2, ... whose hashes are given, and open it."""
        order = np.argsort(hashes, kind="stable")
        np.save(folder / _HASHES, hashes[order])
        np.save(folder / _ROWS, order.astype("<i8"))
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> "IdIndex":
        """Map the two arrays into memory.

        Raises:
            OSError: One of them is missing.
            ValueError: One of them is damaged.
        """
        return cls(
            np.load(folder / _HASHES, mmap_mode="r", allow_pickle=False),
            np.load(folder / _ROWS, mmap_mode="r", allow_pickle=False),
        )

    def __len__(self) -> int:
        return len(self._hashes)

    def rows(self, text: str) -> list[int]:
        """Return the rows whose id may be this one: none, one, or seldom more."""
        number = np.uint64(hash_id(text))
        first, last = (int(np.searchsorted(self._hashes, number, side=side)) for side in ("left", "right"))
        return [int(row) for row in self._rows[first:last]]

    def likely_rows(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return one row for each id, which is the right one unless the id is absent or shares its hash."""
        places = np.searchsorted(self._hashes, hash_ids(texts))
        return np.asarray(self._rows[np.minimum(places, len(self._rows) - 1)])

    def shared_hashes(self) -> list[list[int]]:
        """Return the groups of rows that have one hash: equal ids, or different ones by chance."""
        groups: list[list[int]] = []
        last = -1
        for place in np.flatnonzero(self._hashes[1:] == self._hashes[:-1]).tolist():
            if place != last:
                groups.append([int(self._rows[place])])
            last = place + 1
            groups[-1].append(int(self._rows[last]))
        return groups


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
