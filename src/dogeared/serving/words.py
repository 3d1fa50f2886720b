"""Cut a passage's text into words, and give each word its part of what the tokens got.

Words are for showing, not for searching: runs without space, and single characters of Chinese and Japanese. Tokens
and words need not agree; what a token got goes to the words that its characters stand in, by number of characters.
"""

from collections.abc import Sequence

import regex

__all__ = ["cut_words", "word_weights"]

_CJK = r"\p{Han}\p{Hiragana}\p{Katakana}ー"
_WORD = regex.compile(rf"[{_CJK}]|[^\s{_CJK}]+")


def cut_words(text: str) -> list[tuple[int, int]]:
    """Return the first character of each word and the one after its last, in order.

    >>> cut_words("born in 北京.")
    [(0, 4), (5, 7), (8, 9), (9, 10), (10, 11)]
    """
    return [match.span() for match in _WORD.finditer(text)]


def word_weights(tokens: Sequence[tuple[int, int]], words: Sequence[tuple[int, int]]) -> list[tuple[int, int, float]]:
    """Return token, word and the part of the token's number that goes to the word, for every two that meet.

    Args:
        tokens: Where each token stands in the text; negative or empty where it stands for nothing of it.
        words: As ``cut_words`` returns them.

    >>> word_weights([(-5, -1), (0, 2), (2, 6)], [(0, 3), (4, 6)])
    [(1, 0, 1.0), (2, 0, 0.3333333333333333), (2, 1, 0.6666666666666666)]
    """
    weights = []
    first = 0
    for token, (start, end) in enumerate(tokens):
        while first < len(words) and words[first][1] <= start:
            first += 1
        common = []
        for word in range(first, len(words)):
            if words[word][0] >= end:
                break
            common.append((word, min(end, words[word][1]) - max(start, words[word][0])))
        total = sum(length for _, length in common)
        weights += [(token, word, length / total) for word, length in common if length > 0]
    return weights
