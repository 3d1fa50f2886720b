"""Cut a text to some words in a row: short texts teach a fresh reader sooner.

A Han or Kana character is a word of its own, so that languages without spaces are cut alike.
"""

import random

import regex

__all__ = ["cut_words", "words_of"]

_WORD = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]|[^\s\p{Han}\p{Hiragana}\p{Katakana}]+")


def words_of(text: str) -> list[tuple[int, int]]:
    """Return where the words of a text start and end.

    >>> words_of("in 香港 now")
    [(0, 2), (3, 4), (4, 5), (6, 9)]
    """
    return [match.span() for match in _WORD.finditer(text)]


def cut_words(text: str, num_words: int, draw: random.Random, *, around: tuple[int, int] | None = None) -> str:
    """Keep so many words in a row, at a place drawn for it.

    Args:
        text: Returned as it is where it has no more words.
        num_words: How many to keep.
        draw: Where chance comes from.
        around: A span of characters that is to be kept; where it is longer than so many words, its beginning is.
    """
    words = words_of(text)
    if len(words) <= num_words:
        return text
    earliest, latest = 0, len(words) - num_words
    if around is not None:
        inside = [number for number, (start, end) in enumerate(words) if end > around[0] and start < around[1]]
        first, last = (inside[0], inside[-1]) if inside else (0, 0)
        latest = min(latest, first)
        earliest = min(latest, max(earliest, last - num_words + 1))
    first = draw.randint(earliest, latest)
    return text[words[first][0] : words[first + num_words - 1][1]]
