"""A language model's eyes as the teacher: which passages it looks at while it reads the question.

All passages of a question stand in one prompt, and the question after them. What the question's tokens, and those of
the words around it, look at is compared with what they look at when the question has no content: much of attention goes
to where a passage stands and to signs, whatever is asked, and that is taken off. No answer is needed. Few heads of a
model look for what is asked; they can be found with the answers of a few questions.

The passages are read once; the two questions share what was read. The recording goes through the library's attention
interface and changes nothing of what the model computes; where the heads are known, the model runs no further than the
last of their layers.

Source: Chen, Gutiérrez and Su, "Attention in Large Language Models Yields Efficient Zero-Shot Re-Rankers" (2024, ICR),
for calibration and the tokens left out; Zhang et al., "Query-Focused Retrieval Heads" (2025, QRHead), for heads.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import (
    DynamicCache,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.cache_utils import DynamicLayer

from dogeared.attention import attend, attending_by
from dogeared.data.readings import Readings
from dogeared.distill.causal import before_answer
from dogeared.errors import ModelError
from dogeared.evaluation.answers import AnswerMatcher, Language
from dogeared.progress import bar
from dogeared.records import Passage, PassageRelevance

__all__ = ["CausalAttention", "best_heads", "passage_attention"]

logger = logging.getLogger(__name__)

_NAME = "dogeared_recording_causal"
_NO_CONTENT = "N/A"
_NUM_EXAMPLES = 32
_lock = Lock()


class CausalAttention:
    """Judges passages by how much more the question looks at them than a question without content does.

    Args:
        model: Any decoder-only language model; used as it is.
        tokenizer: Its tokenizer.
        max_length_tokens: Of all passages and the question together; each passage is cut to an equal share.
        num_heads: How many heads are asked: those that look most at passages with an answer, on the first questions
            judged that have passages with and without one. 0 asks all.
        heads: Which heads are asked, by layer and number in it, where they are known beforehand.
        language: How an answer is found in a text.

    Raises:
        ModelError: The model has no such head.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length_tokens: int = 4096,
        num_heads: int = 0,
        heads: Sequence[tuple[int, int]] = (),
        language: Language = "en",
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.max_length_tokens = max_length_tokens
        self.num_heads = num_heads
        self.heads = list(heads)
        layers, per_layer = self._shape
        if unknown := [head for head in self.heads if not (0 <= head[0] < layers and 0 <= head[1] < per_layer)]:
            raise ModelError(
                f"teacher.heads: expected heads of {layers} layers of {per_layer} heads each, counted from 0, got "
                f"{unknown[0][0]}.{unknown[0][1]}; find some with dogeared choose-heads"
            )
        self._matcher = AnswerMatcher(language)

    def relevance(self, readings: Readings) -> Iterator[PassageRelevance]:
        """Judge the passages of every question, in the order of the questions."""
        asked_heads = self.heads or (self.choose_heads(readings) if self.num_heads else [])
        flat = torch.tensor([layer * self._shape[1] + head for layer, head in asked_heads], dtype=torch.long)
        last = max((layer for layer, _ in asked_heads), default=None)
        with bar("score passages", total=len(readings), unit="questions") as progress:
            for index, question in enumerate(readings.questions):
                found = readings.passages(index)
                values = torch.zeros(0)
                if found:
                    of_token, owner = self.of_question(question.text, found, last_layer=last)
                    asked = of_token.flatten(0, 1)[flat] if asked_heads else of_token.flatten(0, 1)
                    values = passage_attention(asked, owner, num_passages=len(found))
                yield PassageRelevance(
                    question_id=question.id,
                    passage_ids=readings.passage_ids(index),
                    relevance=tuple(values.double().tolist()),
                )
                progress.advance(1)

    @property
    def _shape(self) -> tuple[int, int]:
        """How many layers the model has, and heads in each."""
        config = self.model.config.get_text_config()
        return config.num_hidden_layers, config.num_attention_heads

    @torch.inference_mode()
    def of_question(
        self, question: str, passages: Sequence[Passage], *, last_layer: int | None = None
    ) -> tuple[Float[Tensor, "layers heads length"], Int[Tensor, " length"]]:
        """Return the calibrated attention to each token before the question, and whose token it is; -1 for nobody's.

        Args:
            question: What is asked.
            passages: What is read before it.
            last_layer: The last layer that matters; no other follows it in the result. All where None.
        """
        read, owner = self._before_question(question, passages)
        cache = DynamicCache(config=self.model.config)
        with _watched(self.model, last_layer, record=False):
            self.model(input_ids=self._row(read), past_key_values=cache, use_cache=True, logits_to_keep=1)
        looked = []
        for asked in (question, _NO_CONTENT):
            ids = self.tokenizer.encode(before_answer(asked), add_special_tokens=False)
            with _watched(self.model, last_layer, record=True) as layers:
                self.model(input_ids=self._row(ids), past_key_values=cache, use_cache=True, logits_to_keep=1)
            for layer in cache.layers[: len(layers)]:
                assert isinstance(layer, DynamicLayer), "the cache of a model that keeps all keys"
                layer.crop(-len(ids))
            looked.append(torch.stack([layers[number] for number in sorted(layers)])[:, :, : len(read)])
        return looked[0] - looked[1], torch.tensor(owner)

    def _before_question(self, question: str, passages: Sequence[Passage]) -> tuple[list[int], list[int]]:
        """Lay out the passages' tokens, each passage cut to its share."""
        ends = [before_answer(text) for text in (question, _NO_CONTENT)]
        longest = max(len(self.tokenizer.encode(text, add_special_tokens=False)) for text in ends)
        share = (self.max_length_tokens - longest - 1) // len(passages)
        if share < 1:
            raise ModelError(
                f"teacher.max_length_tokens: expected room for {len(passages)} passages and a question of {longest} "
                f"tokens, got {self.max_length_tokens}; raise the setting, or compare fewer passages"
            )
        start = self.tokenizer.bos_token_id
        ids, owner = ([start], [-1]) if isinstance(start, int) else ([], [])
        for number, passage in enumerate(passages):
            text = f"{passage.title}\n{passage.text}\n\n".lstrip()
            tokens = self.tokenizer.encode(text, add_special_tokens=False)[:share]
            ids += tokens
            owner += [number] * len(tokens)
        return ids, owner

    def choose_heads(self, readings: Readings) -> list[tuple[int, int]]:
        """Find the heads that look most at passages with an answer, best first, by layer and number in it.

        Args:
            readings: Questions with answers; the first few that have passages with and without one are looked at.

        Raises:
            ModelError: None has.
        """
        mass, useful = [], []
        for index, question in enumerate(readings.questions):
            found = readings.passages(index)
            holds = [self._matcher.has_answer(question.answers, passage.text) for passage in found]
            if any(holds) and not all(holds):
                of_token, owner = self.of_question(question.text, found)
                belongs = owner[:, None] == torch.arange(len(found))
                mass.append(of_token.flatten(0, 1) @ belongs.float())
                useful.append(torch.tensor(holds))
            if len(mass) == _NUM_EXAMPLES:
                break
        if not mass:
            raise ModelError(
                "teacher.num_heads: expected questions with an answer that stands in some of their passages and not in "
                f"others, to choose heads by; none of the {len(readings)} is one. Set it to 0, to ask all heads"
            )
        chosen = best_heads(mass, useful, num_heads=self.num_heads)
        logger.info("asks %d of %d heads, chosen on %d questions", len(chosen), len(mass[0]), len(mass))
        return [divmod(number, self._shape[1]) for number in chosen.tolist()]

    def _row(self, ids: Sequence[int]) -> Int[Tensor, "1 length"]:
        return torch.tensor([list(ids)], device=self.model.device)


def passage_attention(
    of_token: Float[Tensor, "heads length"], owner: Int[Tensor, " length"], *, num_passages: int
) -> Float[Tensor, " passages"]:
    """Sum calibrated attention over heads and over the tokens of each passage.

    A token that is more than two standard deviations below the mean of its passage is left out: it is one that a
    question without content happens to look at.

    Args:
        of_token: Attention from the question, less that from a question without content.
        owner: The passage of each token; -1 for none.
        num_passages: How many there are, each with a token or more.
    """
    summed, values = of_token.sum(dim=0), []
    for passage in range(num_passages):
        own = summed[owner == passage]
        least = own.mean() - 2 * own.std(correction=0)
        values.append(own[own >= least].sum())
    return torch.stack(values)


def best_heads(
    mass: Sequence[Float[Tensor, "heads _"]], useful: Sequence[Bool[Tensor, " _"]], *, num_heads: int
) -> Int[Tensor, " chosen"]:
    """Return the numbers of the heads that look most at useful passages, on the mean of questions, best first.

    Args:
        mass: For each question what each head gives to each passage.
        useful: For each question which passages are.
        num_heads: How many; all where there are fewer.
    """
    score = torch.stack([of_question[:, some].sum(dim=1) for of_question, some in zip(mass, useful, strict=True)])
    return score.mean(dim=0).argsort(descending=True, stable=True)[:num_heads]


class _Enough(Exception):  # noqa: N818 - no error
    """The last layer that matters has been attended."""


@contextmanager
def _watched(model: PreTrainedModel, last_layer: int | None, *, record: bool) -> Iterator[dict[int, Tensor]]:
    """End the run of the model inside the block behind a layer, where one is named.

    With ``record``, note of each layer how much each head looks at each token, on the mean of the tokens that look.
    """
    layers: dict[int, Tensor] = {}

    def watch(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, None]:
        layer = int(getattr(module, "layer_idx", len(layers)))
        if record:
            layers[layer] = _looked_at(query, key, attention_mask, kwargs.get("scaling"))
        if layer == last_layer:
            raise _Enough
        return attend(module, query, key, value, attention_mask, **kwargs)

    with _lock, attending_by(model, _NAME, watch), suppress(_Enough):
        yield layers


def _looked_at(
    query: Tensor, key: Tensor, attention_mask: Tensor | None, scaling: float | None
) -> Float[Tensor, "heads seen"]:
    keys = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scores = torch.matmul(query, keys.transpose(-1, -2)).float() * (scaling or query.shape[-1] ** -0.5)
    num_asking, num_seen = scores.shape[-2:]
    place = torch.arange(num_seen, device=scores.device)
    scores = scores.masked_fill(place > (place[num_seen - num_asking :, None]), -torch.inf)
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attention_mask[..., :num_seen], -torch.inf)
    return scores.softmax(dim=-1)[0].mean(dim=1).cpu()
