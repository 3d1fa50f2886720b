"""Questions made from passages themselves: a sentence with one telling span left out, the span being the answer.

They cost nothing and never end, and a fresh reader learns to copy from them. A telling span is a date, a name or a
number: a day, month and year together; a run of capitalised words inside a sentence, small words within a name
included; or one with digits. With each question goes the passage it was made from.

Not here: what the questions are used for, and languages without capital letters.

Source: salient span masking, Guu et al., "REALM", ICML 2020; here spans are found by their spelling alone.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace

import regex

from dogeared.data.formats import GivenQuestion
from dogeared.records import Passage, Question

__all__ = ["BLANK", "cloze_questions"]

BLANK = "____"
"""What stands in a question where the answer was."""

_SENTENCE = regex.compile(r"[^.!?。！？]+(?:[.!?](?!\s)[^.!?。！？]*)*[.!?。！？]?")  # noqa: RUF001 - Chinese marks
_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_DAY = rf"(?:\d{{1,2}} {_MONTH}|{_MONTH} \d{{1,2}})"
_DATE = rf"(?:{_DAY},? \d{{3,4}}|{_MONTH} \d{{3,4}}|{_DAY})"
_NO_NAME = r"(?!(?:I|The|A|An|This|That|It|He|She|They|We|In|On|At|And|But)\b)"
_WORD = rf"{_NO_NAME}\p{{Lu}}[\p{{L}}\p{{M}}'\u2019-]*\p{{L}}"
_SMALL = "(?:of|of the|de|de la|del|der|di|du|la|le|van|van der|von)"
_NAME = rf"{_WORD}(?: (?:{_SMALL} )?{_WORD})*"
_NUMBER = r"\p{N}[\p{N},.]*\p{N}|\p{N}"
_SPAN = regex.compile(rf"(?<=[\w,;:)] )(?:{_DATE}|{_NAME}|{_NUMBER})(?![\p{{L}}\p{{N}}])")


def cloze_questions(
    passages: Iterable[Passage], *, seed: int, per_passage: int = 1, max_words: int | None = None
) -> Iterator[GivenQuestion]:
    """Make questions from passages.

    Args:
        passages: Those without a telling span give no question.
        seed: Decides which sentences and spans are taken, for each passage by itself.
        per_passage: The most questions from one passage.
        max_words: Cut the passage that goes with a question to about so many words around its sentence; whole where
            None. Short ones teach a fresh reader sooner.

    Yields:
        Questions whose id begins with that of their passage, each with that passage, all in the split ``train``.
    """
    for passage in passages:
        draw = random.Random(f"{seed}/{passage.id}")
        spans = [
            (sentence, span)
            for sentence in _SENTENCE.finditer(passage.text)
            if 6 <= len(sentence.group().split()) <= 50
            for span in _SPAN.finditer(passage.text, sentence.start(), sentence.end())
        ]
        for number, (sentence, span) in enumerate(draw.sample(spans, min(per_passage, len(spans)))):
            before, after = passage.text[sentence.start() : span.start()], passage.text[span.end() : sentence.end()]
            name, source = f"{passage.id}-cloze-{number}", passage
            if max_words is not None:
                text = _around(passage.text, sentence.start(), sentence.end(), max_words, draw)
                source = replace(passage, id=name, text=text)
            text = f"{before}{BLANK}{after}".strip()
            question = Question(id=name, text=text, answers=(span.group(),), gold=(source.id,))
            yield GivenQuestion(question=question, split_given=False, passages=(source,))


def _around(text: str, start: int, end: int, max_words: int, draw: random.Random) -> str:
    """Cut a text to about ``max_words`` words that hold a sentence, more of them before or after it by chance."""
    spare = max(0, max_words - len(text[start:end].split()))
    num_before = draw.randint(0, spare)
    before, after = text[:start].split(), text[end:].split()
    kept = [
        *before[len(before) - min(num_before, len(before)) :],
        text[start:end].strip(),
        *after[: spare - num_before],
    ]
    return " ".join(kept)
