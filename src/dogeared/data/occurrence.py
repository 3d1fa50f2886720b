"""Which of many answers occur in any of many passages, in one walk over the passages.

An answer occurs where its words and signs stand in a passage in one piece, whatever their case; a Han, Kana or Thai
character is a word of its own. This is near to how ``evaluation.answers`` judges a passage, without being told the
language: it serves to warn of files that do not belong together, not to measure.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

import regex

__all__ = ["AnswerSearch"]

_CHARACTER = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}"
_TOKEN = regex.compile(rf"[{_CHARACTER}]|[[\p{{L}}\p{{N}}\p{{M}}]--[{_CHARACTER}]]+|[^\p{{Z}}\p{{C}}]", regex.V1)


class AnswerSearch:
    """Answers that wait to be seen in a passage.

    Most answers of a good file are met early, and an answer met is looked for no more. The others are looked up by
    their first two words, so that the cost of a passage does not grow with their number.
    """

    def __init__(self, answers: Iterable[str]) -> None:
        self._waiting: dict[tuple[str, ...], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        self.absent: set[str] = set()
        for answer in answers:
            if answer not in self.absent:
                self.absent.add(answer)
                tokens = _tokens(answer)
                self._waiting[tuple(tokens[:2])][_joined(tokens)].append(answer)

    def look_in(self, text: str) -> None:
        """Strike the answers that occur in a passage's text off ``absent``."""
        tokens = _tokens(text)
        keys = self._waiting.keys() & {*((token,) for token in tokens), *pairwise(tokens)}
        if not keys:
            return
        joined = _joined(tokens)
        for key in keys:
            found = [wanted for wanted in self._waiting[key] if wanted in joined]
            for wanted in found:
                self.absent.difference_update(self._waiting[key].pop(wanted))
            if not self._waiting[key]:
                del self._waiting[key]


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())


def _joined(tokens: list[str]) -> str:
    # No token holds a space, so that a search in the joined text finds whole tokens only.
    return f" {' '.join(tokens)} "
