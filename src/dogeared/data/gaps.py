"""Questions that any text answers word for word: some words left out, asked for by the words on both sides of them.

They are what a fresh decoder learns to copy from. Whoever can tell which passage has the same words around the gap has
the answer before his eyes, so there is nothing to know and nothing to guess, only to find and to copy; a gap question
is learned from thousands of examples where questions in other words than the text (``cloze.py``) take a hundred
thousand. From the first step there are several passages to choose from: a decoder that first learns to copy the only
passage ignores the question for good.

Languages without spaces are cut between characters. Not here: training.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dogeared.data.cloze import BLANK
from dogeared.data.windows import cut_words, words_of
from dogeared.records import Passage

__all__ = ["Gap", "draw_gap"]

_LENGTHS = (1, 1, 2, 2, 3, 4, 5)
_CONTEXT = range(2, 5)
_MARGIN = 3


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A question, its answer, and the passages to find it in, of which one has it.

    Attributes:
        question: The words on both sides of the gap, with ``BLANK`` between them.
        answer: The words left out.
        source: The id of the passage that has them.
        passages: In any order, cut to a few words each.
    """

    question: str
    answer: str
    source: str
    passages: tuple[Passage, ...]


def draw_gap(passages: Sequence[Passage], *, num_words: int, draw: random.Random) -> Gap | None:
    """Make a question whose answer stands in one of some passages.

    Args:
        passages: The first is asked about.
        num_words: To how many words each is cut, at a place drawn for it; the first is cut around the gap.
        draw: Where chance comes from.

    Returns:
        The question; None where the first passage is too short to leave anything out.
    """
    source = passages[0]
    window = cut_words(source.text, num_words, draw)
    words = words_of(window)
    length = draw.choice(_LENGTHS)
    if len(words) < length + 2 * _MARGIN:
        return None
    first = draw.randint(_MARGIN, len(words) - length - _MARGIN)
    context = draw.choice(_CONTEXT)
    before = window[words[max(0, first - context)][0] : words[first - 1][1]]
    after = window[words[first + length][0] : words[min(len(words), first + length + context) - 1][1]]
    shown = [replace(source, text=window)]
    shown += [replace(other, text=cut_words(other.text, num_words, draw)) for other in passages[1:]]
    draw.shuffle(shown)
    return Gap(
        question=f"{before} {BLANK} {after}",
        answer=window[words[first][0] : words[first + length - 1][1]],
        source=source.id,
        passages=tuple(shown),
    )
