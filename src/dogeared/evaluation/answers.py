"""Judge answers: is a prediction right, and does a passage hold an answer?

English, and every language that puts spaces between words, is judged as SQuAD (Rajpurkar et al. 2016) judges
predictions and as DPR (Karpukhin et al. 2020) and FiD judge passages. Text written without spaces would be one long
word to those rules, so that ``北京`` would not be found in ``首都是北京。``; for ``zh`` and ``ja`` each Han or Kana
character is a word of its own. Predictions in Chinese are judged as CMRC 2018 (Cui et al. 2019) judges them, those in
Japanese as JaQuAD (So et al. 2022) and JSQuAD (Kurihara et al. 2022), which is SQuAD's way over characters.

All values are of one question. Averaging, and anything about ranks, is elsewhere.
"""

import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal

import regex

__all__ = [
    "AnswerMatcher",
    "Language",
    "answer_places",
    "answer_spans",
    "exact_match",
    "f1",
    "has_answer",
    "normalize_answer",
]

Language = Literal["en", "zh", "ja"]
"""``zh`` for Chinese, ``ja`` for Japanese, ``en`` for any language with spaces between words."""

_ARTICLE = regex.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)

_WORD_OR_SIGN = regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")
_CHARACTER = r"[\p{Han}\p{Hiragana}\p{Katakana}ー]"
_CHARACTER_OR_WORD = regex.compile(rf"{_CHARACTER}|[[\p{{L}}\p{{N}}\p{{M}}]--{_CHARACTER}]+", regex.V1)
_CLUSTER = regex.compile(r"\X")
_CHARACTER_WORD_OR_SIGN = regex.compile(rf"{_CHARACTER_OR_WORD.pattern}|[^\p{{Z}}\p{{C}}]", regex.V1)

_NUM_REMEMBERED = 1 << 16


def normalize_answer(text: str, language: Language = "en") -> str:
    """Reduce an answer to what counts when it is compared.

    In English that is lower case without ASCII punctuation, articles and surplus space, in this order, so that of
    ``A.`` nothing is left. In Chinese and Japanese it is the characters and words with single spaces between them,
    whatever punctuation and spaces the text had; full-width forms count as the usual ones.

    Source: the evaluation scripts of SQuAD 1.1 and CMRC 2018. Ours differs from the latter in leaving out all
    punctuation and signs, not a fixed list, and in taking words of other scripts as they stand.

    >>> normalize_answer("The  U.S. Army!")
    'us army'
    >>> normalize_answer("《红楼梦》第 3 回", "zh")
    '红 楼 梦 第 3 回'
    """
    if language != "en":
        return " ".join(_CHARACTER_OR_WORD.findall(unicodedata.normalize("NFKC", text).lower()))
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, answers: Sequence[str], language: Language = "en") -> bool:
    """Tell whether a prediction is one of the answers, up to `normalize_answer`; never, where there are none."""
    wanted = normalize_answer(prediction, language)
    return any(normalize_answer(answer, language) == wanted for answer in answers)


def f1(prediction: str, answers: Sequence[str], language: Language = "en") -> float:
    """Return what share of the words of prediction and answer the two have in common, for the best answer, in 0-1.

    The harmonic mean of precision and recall. English counts common words wherever they stand, as SQuAD does, and
    Japanese so counts characters; Chinese counts the longest run of characters that stands in both, as CMRC 2018 does.
    Where nothing is left of either text after `normalize_answer`, the value is 1 if nothing is left of the other too.
    """
    words = normalize_answer(prediction, language).split()
    common = _longest_common_run if language == "zh" else _num_common_words
    return max((_f1(words, normalize_answer(answer, language).split(), common) for answer in answers), default=0.0)


class AnswerMatcher:
    """Tells whether passages hold answers, and remembers the passages it has seen.

    Questions share passages: in a ranking of 100 passages for each of thousands of questions, most texts come again
    and again, and taking a text apart is what costs. The 65,536 texts used last are kept, taken apart.

    A text is put into canonical decomposition, split into runs of letters, digits and marks and into single other
    visible characters, and put into lower case; an answer is held where its tokens stand in the text in one piece.
    ``1990`` is thus not in ``the 1990s``, and ``U.S.`` not in ``US``. With ``zh`` and ``ja``, compatibility forms are
    made usual ones first, and each Han or Kana character is a token.

    Differs from FiD: an answer with no visible character is in no text. There it is in every text, which makes each
    passage of its question a hit.

    >>> AnswerMatcher().has_answer(["Beatles"], "In 1960 The Beatles formed in Liverpool.")
    True
    """

    def __init__(self, language: Language = "en") -> None:
        self.language: Language = language
        self._tokens = lru_cache(maxsize=_NUM_REMEMBERED)(self._take_apart)

    def has_answer(self, answers: Sequence[str], text: str) -> bool:
        """Tell whether ``text`` holds at least one of the answers; titles count only if they are in ``text``."""
        tokens = self._tokens(text)
        return any(wanted != " " and wanted in tokens for wanted in map(self._tokens, answers))

    def _take_apart(self, text: str) -> str:
        # No token holds a space, so a search in the joined string finds exactly the whole tokens in one piece.
        if self.language != "en":
            tokens = _CHARACTER_WORD_OR_SIGN.findall(unicodedata.normalize("NFKC", text))
        else:
            tokens = _WORD_OR_SIGN.findall(unicodedata.normalize("NFD", text))
        return f" {' '.join(tokens).lower()} " if tokens else " "


def has_answer(answers: Sequence[str], text: str, language: Language = "en") -> bool:
    """Tell whether ``text`` holds an answer, as `AnswerMatcher` does; use that for more than a few texts."""
    return AnswerMatcher(language).has_answer(answers, text)


def answer_spans(answers: Sequence[str], text: str, language: Language = "en") -> list[tuple[int, int]]:
    """Return where in ``text`` answers stand, as starts and ends in its order, so that a page can mark them.

    Where one answer lies within another or they overlap, the span covers both. There is a span exactly where
    `has_answer` tells of an answer; it has whole characters, a letter with its marks being one.

    >>> answer_spans(["the Beatles", "beatles"], "In 1960 The Beatles formed.")
    [(8, 19)]
    """
    merged: list[tuple[int, int]] = []
    for start, end in answer_places(answers, text, language):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def answer_places(answers: Sequence[str], text: str, language: Language = "en") -> list[tuple[int, int]]:
    """Return every place in ``text`` where an answer stands, as starts and ends in its order, though they overlap.

    >>> answer_places(["tic tac tic"], "tic tac tic tac tic")
    [(0, 11), (8, 19)]
    """
    form, pattern = ("NFD", _WORD_OR_SIGN) if language == "en" else ("NFKC", _CHARACTER_WORD_OR_SIGN)
    # Cluster by cluster, so that each character of the changed text knows where it comes from; a mark goes with its
    # letter, as half-width ｶ and ﾞ must to become ガ.
    source = [
        (cluster.span(), part)
        for cluster in _CLUSTER.finditer(text)
        for part in unicodedata.normalize(form, cluster.group())
    ]
    found = list(pattern.finditer("".join(part for _, part in source)))
    words = [match.group().lower() for match in found]
    spans: list[tuple[int, int]] = []
    for answer in answers:
        wanted = [word.lower() for word in pattern.findall(unicodedata.normalize(form, answer))]
        for first in range(len(words) - len(wanted) + 1) if wanted else ():
            if words[first : first + len(wanted)] == wanted:
                last = found[first + len(wanted) - 1]
                spans.append((source[found[first].start()][0][0], source[last.end() - 1][0][1]))
    return sorted(set(spans))


def _f1(prediction: list[str], answer: list[str], common: Callable[[list[str], list[str]], int]) -> float:
    if not prediction or not answer:
        return float(prediction == answer)
    return 2 * common(prediction, answer) / (len(prediction) + len(answer))


def _num_common_words(left: list[str], right: list[str]) -> int:
    return (Counter(left) & Counter(right)).total()


def _longest_common_run(left: list[str], right: list[str]) -> int:
    longest = 0
    lengths = [0] * (len(right) + 1)  # of the common run that ends at this word of right and the current one of left
    for word in left:
        previous = 0
        for position, other in enumerate(right, start=1):
            previous, lengths[position] = lengths[position], previous + 1 if word == other else 0
            longest = max(longest, lengths[position])
    return longest
