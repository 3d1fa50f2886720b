"""Find out in which language questions are, as far as it bears on how answers are compared.

Two things are told apart: whether words have blanks between them, and, where they have none, whether it is Chinese or
Japanese. Han and Kana characters are counted against words of other scripts; Kana make it Japanese. Which of the
languages with blanks it is does not matter here and is not asked. Thai, Khmer, Lao and Burmese, which put no blanks
between words either, are taken for languages that do.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import regex

from dogeared.evaluation.answers import Language

__all__ = ["LANGUAGE_NAMES", "DetectedLanguage", "detect_language"]

LANGUAGE_NAMES: dict[Language, str] = {
    "en": "a language with blanks between words",
    "zh": "Chinese",
    "ja": "Japanese",
}
"""What messages call the languages."""

_HAN = regex.compile(r"\p{Han}")
_KANA = regex.compile(r"[\p{Hiragana}\p{Katakana}]")
_WORD = regex.compile(r"[[\p{L}\p{M}]--[\p{Han}\p{Hiragana}\p{Katakana}ー]]+", regex.V1)

_CHARACTERS_A_WORD = 2
_ENOUGH_CHARACTERS = 1 / 3
_ENOUGH_KANA = 1 / 10  # Chinese text names Japanese things in Kana now and then; half of any Japanese text is Kana


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectedLanguage:
    """What was found.

    Attributes:
        language: As settings have it.
        share: Of the words, how many are written in Han or Kana, two characters a word; from 0 to 1.
    """

    language: Language
    share: float


def detect_language(texts: Iterable[str]) -> DetectedLanguage:
    """Judge all texts together; where there is no word at all it is ``en``.

    >>> detect_language(["谁写了《红楼梦》", "What is NATO?"])
    DetectedLanguage(language='zh', share=0.5)
    >>> detect_language(["東京タワーの高さは?"]).language
    'ja'
    """
    num_han = num_kana = num_words = 0
    for text in texts:
        text = unicodedata.normalize("NFKC", text)  # the marks of half-width Kana are letters of no script before
        num_han += len(_HAN.findall(text))
        num_kana += len(_KANA.findall(text))
        num_words += len(_WORD.findall(text))
    num_written_together = (num_han + num_kana) / _CHARACTERS_A_WORD
    share = num_written_together / max(1.0, num_written_together + num_words)
    if share < _ENOUGH_CHARACTERS:
        return DetectedLanguage(language="en", share=share)
    is_japanese = num_kana >= _ENOUGH_KANA * (num_han + num_kana)
    return DetectedLanguage(language="ja" if is_japanese else "zh", share=share)
