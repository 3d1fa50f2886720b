"""A language model as the teacher: how likely it finds the answer when a passage stands before the question.

Any decoder-only model of the Hugging Face library does, trained for this task or not. Each passage is read alone: the
passage, the question, and then the first of the question's answers, of whose tokens the mean log-likelihood is the
relevance. Questions without answers teach nothing here.

Source: Shi et al., "REPLUG: Retrieval-Augmented Black-Box Language Models", 2023 (its supervised retrieval). It puts
probabilities into a softmax, which is flat for any answer of some tokens; here it is log-likelihoods.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from dogeared.compute import default_device
from dogeared.data.readings import Readings
from dogeared.distill.teachers import judge_where
from dogeared.errors import ModelError
from dogeared.models import resolve_model
from dogeared.progress import bar
from dogeared.records import Passage, PassageRelevance

__all__ = ["CausalLikelihood", "before_answer", "load_causal", "prompt_ids"]

_TOKENS_AT_ONCE = 8_192


class CausalLikelihood:
    """Judges a passage by the mean log-likelihood of the answer's tokens after it and the question.

    Args:
        model: Any decoder-only language model; used as it is.
        tokenizer: Its tokenizer.
        max_length_tokens: Of passage, question and answer together; a passage is cut at its end to fit.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, max_length_tokens: int = 512
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.max_length_tokens = max_length_tokens

    def relevance(self, readings: Readings) -> Iterator[PassageRelevance]:
        """Judge the passages of every question that has an answer, in the order of the questions."""
        return judge_where(lambda question: bool(question.taught_answers), readings, self._judge, lacking="answers")

    def _judge(self, readings: Readings) -> Iterator[PassageRelevance]:
        with bar("score passages", total=len(readings), unit="questions") as progress:
            for index, question in enumerate(readings.questions):
                prompts, num_answer = prompt_ids(
                    self.tokenizer,
                    question.text,
                    readings.passages(index),
                    question.taught_answers[0],
                    max_length_tokens=self.max_length_tokens,
                )
                values = self._of_answer(prompts, num_answer).mean(dim=1) if prompts else torch.zeros(0)
                yield PassageRelevance(
                    question_id=question.id,
                    passage_ids=readings.passage_ids(index),
                    relevance=tuple(values.double().tolist()),
                )
                progress.advance(1)

    @torch.inference_mode()
    def _of_answer(self, prompts: Sequence[Sequence[int]], num_answer: int) -> Float[Tensor, "passages output"]:
        """Return the log-likelihood of the last tokens of each prompt, the answer's."""
        found = []
        at_once = max(1, _TOKENS_AT_ONCE // max(map(len, prompts)))
        for start in range(0, len(prompts), at_once):
            rows = prompts[start : start + at_once]
            width = max(map(len, rows))
            # Padded on the left, so that the answers end together and only their logits are kept.
            ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows], device=self.model.device)
            mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=self.model.device)
            logits = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
                logits_to_keep=num_answer + 1,
                use_cache=False,
            ).logits[:, :-1]
            likely = logits.float().log_softmax(dim=-1).gather(2, ids[:, -num_answer:, None]).squeeze(2)
            found.append(likely.cpu())
        return torch.cat(found)


def before_answer(question: str) -> str:
    """Write what stands between passage and answer."""
    return f"\n\nQuestion: {question}\nAnswer:"


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase,
    question: str,
    passages: Sequence[Passage],
    answer: str,
    *,
    max_length_tokens: int,
) -> tuple[list[list[int]], int]:
    """Tokenize one prompt a passage, each with the same question and answer at its end.

    Returns:
        The prompts, and how many tokens the answer has.

    Raises:
        ModelError: Question and answer alone are longer than ``max_length_tokens``, or the answer has no token.
    """

    def tokens(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    start = [tokenizer.bos_token_id] if isinstance(tokenizer.bos_token_id, int) else []
    ending, answer_ids = tokens(before_answer(question)), tokens(f" {answer}")
    room = max_length_tokens - len(start) - len(ending) - len(answer_ids)
    if room < 0 or not answer_ids:
        raise ModelError(
            f"teacher.max_length_tokens: expected room for a question and its answer, {max_length_tokens} are too few "
            f"for {len(ending)} and {len(answer_ids)} tokens of {question!r}; raise the setting"
        )
    texts = [f"{passage.title}\n{passage.text}".strip() for passage in passages]
    return [[*start, *tokens(text)[:room], *ending, *answer_ids] for text in texts], len(answer_ids)


def load_causal(model: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a decoder-only language model onto the device: as it was saved, or in float32 on a CPU.

    Raises:
        ModelError: There is no such model, or it is not of that kind.
    """
    name, device = resolve_model(model), default_device()
    try:
        loaded = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32 if device.type == "cpu" else "auto")
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ModelError(
            f"teacher.model: expected a decoder-only language model that the transformers library can load, got "
            f"{model!r}: {error}. Give a name on the hub (network needed) or a folder made by save_pretrained."
        ) from error
    loaded.to(device)  # type: ignore[arg-type]
    return loaded.eval(), tokenizer
