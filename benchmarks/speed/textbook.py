"""The textbook way of scoring with a Fusion-in-Decoder reader and of training it.

Every pair is padded to one length, attention is eager, everything is float32, and one question is handled at a time.
To read the relevance of passages off the decoder's first step, an answer is generated: always 50 tokens. Readers of
this kind were first published so, and are mostly built so today; it is kept to be measured against, and to check that
what is fast says the same.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask
from transformers.modeling_outputs import BaseModelOutput

from benchmarks.speed.subject import Subject, make_subject
from dogeared.pairs import PASSAGE_TEMPLATE
from dogeared.training.dropout import set_dropout

__all__ = ["Textbook", "make_textbook"]

_GENERATED_TOKENS = 50
_NAME = "textbook"


class Textbook:
    """A reader as it stands in the textbook.

    Args:
        subject: What it reads.
        learning_rate: In training, which is without dropout until :meth:`set_dropout`.
        device: Where it computes.
    """

    def __init__(self, subject: Subject, *, learning_rate: float = 1e-5, device: str = "cpu") -> None:
        self.subject = subject
        self.model = subject.model().to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=learning_rate, fused=True)
        self.first_scores: dict[int, Tensor] = {}
        AttentionInterface.register(_NAME, self._attend)
        AttentionMaskInterface.register(_NAME, eager_mask)
        self.model.set_attn_implementation(_NAME)
        self.cross = {id(m): i for i, m in enumerate(_cross_attention(self.model))}

    @torch.no_grad()
    def score(self, index: int) -> list[float]:
        """Return the relevance of each passage of a question: the mean of the scores of its real tokens."""
        self.model.eval()
        self.first_scores.clear()
        states, mask = self._encode(index)
        self.model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),  # type: ignore[arg-type]
            attention_mask=mask.view(1, -1),
            min_new_tokens=_GENERATED_TOKENS,
            max_new_tokens=_GENERATED_TOKENS,
            do_sample=False,
        )
        scores = torch.stack([self.first_scores[layer] for layer in range(len(self.cross))])
        of_token = scores[:, 0, :, 0].mean(dim=(0, 1)).view(mask.shape)
        return ((of_token * mask).sum(dim=1) / mask.sum(dim=1)).tolist()

    def set_dropout(self, probability: float) -> None:
        """Train with dropout from now on: torch's own, wherever the model has it."""
        set_dropout(self.model, probability)

    def step(self, indices: range) -> float:
        """Learn from some questions: their gradients added up one by one, then one update."""
        self.model.train()
        total = 0.0
        for index in indices:
            states, mask = self._encode(index)
            labels = self.subject.tokenizer(self.subject.readings.questions[index].answers[0], return_tensors="pt")
            loss = self.model(
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                attention_mask=mask.view(1, -1),
                labels=labels["input_ids"].to(self.model.device),
            ).loss
            (loss / len(indices)).backward()
            total += loss.item() / len(indices)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.model.device.type != "cpu":
            torch.accelerator.synchronize()  # or a step would be timed without its update
        return total

    def _encode(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the states of a question's passages, one after the other, padding and all; and what is real."""
        question = self.subject.readings.questions[index].text
        inputs = self.subject.tokenizer(
            [
                PASSAGE_TEMPLATE.format(question=question, title=passage.title, text=passage.text)
                for passage in self.subject.readings.passages(index)
            ],
            padding="max_length",
            truncation=True,
            max_length=self.subject.padded,
            return_tensors="pt",
        ).to(self.model.device)
        mask = inputs["attention_mask"]
        states = self.model.get_encoder()(input_ids=inputs["input_ids"], attention_mask=mask).last_hidden_state
        return states.reshape(1, -1, states.shape[-1]), mask

    def _attend(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float = 1.0,
        dropout: float = 0.0,
        position_bias: Tensor | None = None,
        **_: Any,
    ) -> tuple[Tensor, None]:
        scores = query @ key.transpose(-1, -2) * scaling
        layer = self.cross.get(id(module))
        if layer is not None and layer not in self.first_scores:
            self.first_scores[layer] = scores.detach()
        if position_bias is not None:
            scores = scores + position_bias
        if attention_mask is not None:
            scores = scores + attention_mask
        weights = nn.functional.dropout(scores.softmax(dim=-1), p=dropout, training=module.training)
        return (weights @ value).transpose(1, 2).contiguous(), None


def make_textbook(folder: Path, device: str, subject: Mapping[str, Any]) -> Textbook:
    """Make a reader and what it reads, of the same seed the same as another's.

    Args:
        folder: For the corpus; must not exist.
        device: Where it computes.
        subject: Arguments of ``make_subject``.
    """
    return Textbook(make_subject(folder, **subject), device=device)


def _cross_attention(model: PreTrainedModel) -> list[nn.Module]:
    return [module for name, module in model.named_modules() if name.endswith("EncDecAttention")]
