"""Which of the tokens that a reader encodes are the passage's own text.

Each pair repeats the question, and the passage's title, before the text. Whoever wants to know what a reader makes of
the text alone asks here. The tokenizer says which characters each token stands for; a token counts where it ends behind
the part that is written before the text. Special tokens, such as the end token, stand for no characters and do not
count.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dogeared.errors import ModelError
from dogeared.pairs import PASSAGE_TEMPLATE, QUESTION_TEMPLATE
from dogeared.reader.fid import FusionInDecoder
from dogeared.records import Passage

__all__ = ["text_tokens"]


def text_tokens(
    reader: FusionInDecoder, questions: Sequence[str], passages: Sequence[Sequence[Passage]]
) -> Bool[Tensor, "batch length"]:
    """Mark the tokens of passages' texts in the long sequences that ``reader.fuse`` makes of the same pairs.

    Raises:
        ModelError: The reader's tokenizer does not say where its tokens stand in the text.
    """
    if not reader.tokenizer.is_fast:
        raise ModelError(
            f"relevance.input_tokens: to tell the tokens of a passage from those of the question before it, expected a "
            f"tokenizer that says where its tokens stand (a fast one), got {type(reader.tokenizer).__name__}; leave "
            'the setting at "all", or save the model with a fast tokenizer'
        )
    texts: list[str] = []
    starts: list[int] = []
    for question, found in zip(questions, passages, strict=True):
        for passage in found:
            before = PASSAGE_TEMPLATE.format(question=question, title=passage.title, text="")
            texts.append(before + passage.text)
            starts.append(len(before))
        if not found:
            texts.append(QUESTION_TEMPLATE.format(question=question))
            starts.append(len(texts[-1]))
    places = reader.tokenizer(
        texts, truncation=True, max_length=reader.settings.max_length_tokens, return_offsets_mapping=True
    )["offset_mapping"]
    rows = iter([end > start and end > first for start, end in row] for row, first in zip(places, starts, strict=True))
    marked = [[mark for _ in range(max(1, len(found))) for mark in next(rows)] for found in passages]
    return pad_sequence([torch.tensor(row) for row in marked], batch_first=True).to(reader.device)
