"""Which heads of a language model a teacher shall ask, found on a few questions whose answers are known.

What was found goes into the settings, so that the heads stay the same for all questions, splits and rounds. Which head
is good is decided by answers in passages; gold labels play no part.

Source: Zhang et al., "Query-Focused Retrieval Heads" (2025, QRHead).
"""

from pathlib import Path

from dogeared.data.rankings import read_rankings
from dogeared.distill.causal import load_causal
from dogeared.distill.causal_attention import CausalAttention
from dogeared.errors import ConfigError
from dogeared.pipeline.config import Experiment
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.language import settle_language
from dogeared.pipeline.scoring import RANKINGS_FILE, readings_of

__all__ = ["find_heads"]


def find_heads(*, data: Path, ranking: Path, experiment: Experiment, split: str, num_heads: int) -> list[str]:
    """Return heads as ``layer.head``, best first.

    Args:
        data: The dataset.
        ranking: What was retrieved for its questions.
        experiment: For the teacher's model and lengths, and how many passages are compared.
        split: Whose questions tell.
        num_heads: How many.

    Raises:
        ConfigError: The teacher is no language model's attention.
        ModelError: The model cannot be loaded, or no question tells.
    """
    experiment = settle_language(experiment, data)
    teacher = experiment.teacher
    if teacher.kind != "causal_attention":
        raise ConfigError(
            f'teacher.kind: expected "causal_attention", whose heads can be chosen, got "{teacher.kind}"; set it, and '
            "teacher.model"
        )
    judge = CausalAttention(
        *load_causal(teacher.model),
        max_length_tokens=teacher.prompt_tokens,
        num_heads=num_heads,
        language=experiment.settled_language,
    )
    dataset, rankings = Dataset.open(data), read_rankings(ranking / RANKINGS_FILE)
    number = experiment.retriever_training.num_passages
    found = judge.choose_heads(readings_of(dataset, rankings, split, number, experiment))
    return [f"{layer}.{head}" for layer, head in found]
