"""Which of given answers a reader finds the most likely: multiple choice.

Every listed answer is scored after the same encoded passages, so that nothing else can come out. The likelihood is that
of all tokens, the end token too, so that among the listed ones it is the reader's own probability.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from dogeared.batching import IGNORED_LABEL
from dogeared.compute import Precision, autocast
from dogeared.distill.likelihood import select_states
from dogeared.errors import ConfigError, DataError
from dogeared.reader.fid import FusionInDecoder
from dogeared.reader.kinds import Reader
from dogeared.records import Passage

__all__ = ["choice_likelihoods"]


@torch.inference_mode()
def choice_likelihoods(
    reader: Reader, question: str, passages: Sequence[Passage], choices: Sequence[str], *, precision: Precision = "auto"
) -> Float[Tensor, " choices"]:
    """Return the log-likelihood of each choice, given all passages of a question at once.

    Args:
        reader: In evaluation mode; one thread at a time may use it.
        question: What is asked.
        passages: What it is answered from; may be none.
        choices: Answers of different tokens, none of them blank and none longer than the reader's longest answer.
        precision: Of the encoder's matrix products.

    Raises:
        ConfigError: The reader marks spans, and can say only what a passage says.
        DataError: There are fewer than two choices, or one is blank, stands twice, is too long, or is written with the
            same tokens as another.
    """
    if not isinstance(reader, FusionInDecoder):
        raise ConfigError(
            "choices: expected a reader that writes answers, got one that marks spans of passages, where a choice need "
            'not stand; ask a run with reader.kind = "fusion_in_decoder"'
        )
    if len(set(choices)) < max(2, len(choices)) or not all(choice.strip() for choice in choices):
        raise DataError(f"expected two or more different answers to choose from, got {list(choices)}", field="choices")
    token_ids = [tuple(reader.tokenizer(choice).input_ids) for choice in choices]
    tokens = max(map(len, token_ids))
    if tokens > reader.settings.max_answer_tokens:
        raise DataError(
            f"expected answers of at most {reader.settings.max_answer_tokens} tokens (reader.max_answer_tokens), got "
            f"one of {tokens}; cut short it could not be told from others",
            field="choices",
        )
    first: dict[tuple[int, ...], str] = {}
    for ids, choice in zip(token_ids, choices, strict=True):
        if (other := first.setdefault(ids, choice)) != choice:
            raise DataError(
                f"expected answers that the reader's tokenizer writes differently, got {other!r} and {choice!r}, which "
                "are the same tokens to it (blanks at the ends and unknown words are not told apart); leave one out",
                field="choices",
            )
    labels = reader.batch([question] * len(choices), [[]] * len(choices), answers=list(choices)).labels
    assert labels is not None, "answers were given"
    with autocast(precision, reader.device):
        fused = reader.fuse(reader.batch([question], [list(passages)]))
    owner = torch.zeros(len(choices), dtype=torch.long, device=reader.device)
    # The decoder is run in float32: what tells choices apart is small beside what bfloat16 rounds away.
    states = select_states(replace(fused, states=fused.states.float()), owner, fused.mask[owner])
    likely = reader.log_likelihood(states, labels)
    assert bool((labels != IGNORED_LABEL).any(dim=1).all()), "every choice has a token"
    return likely.double().sum(dim=1).cpu()
