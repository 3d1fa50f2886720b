"""What each of several processes does in a training: a student, as one process trains it, and a toy that is stopped.

A program of its own. Its environment says which process it is, as a launcher would.
"""

import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_model
from torch import nn

from dogeared.data.corpus import Corpus
from dogeared.errors import TrainingError
from dogeared.records import PassageRelevance, Question
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.training.loop import LoopSettings, items_of_step, train
from dogeared.training.train_retriever import RetrieverTraining, Student, distillation_batch

RANK = int(os.environ.get("RANK", "0"))


@dataclass(frozen=True, kw_only=True)
class Number:
    """A batch of one number."""

    value: torch.Tensor
    weight: int = 1

    def to(self, device):
        return self


class Toy(nn.Module):
    """One weight."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(1, 1)

    def forward(self, batch):
        return self.line(batch.value).square().sum()


def train_student(folder: Path, encoder_folder: str, changes: dict) -> dict:
    """Distil a made-up relevance in batches of unequal size, and note which of them this process scored."""
    torch.manual_seed(0)
    encoder = DualEncoder.load(RetrieverSettings(model=encoder_folder, max_length_tokens=32, **changes["retriever"]))
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    corpus = Corpus.open(folder / "corpus")
    questions = [
        Question(id=str(n), text=text) for n, text in enumerate(["who ?", "what was it ?", "the sea", "a", "in"])
    ]
    relevance = {
        q.id: PassageRelevance(
            question_id=q.id, passage_ids=tuple(corpus.ids([n, n + 5, n + 11])), relevance=(0.0, float(n), 3.0)
        )
        for n, q in enumerate(questions)
    }
    settings = RetrieverTraining(
        steps=4,
        questions_per_step=5,
        questions_per_batch=2,
        learning_rate=1e-3,
        precision="fp32",
        evaluate_every_steps=2,
        **changes["retriever_training"],
    )
    student, scored = Student(encoder, settings), []

    def batches_of_step(step):
        chosen = [questions[item] for item in items_of_step(step, num_items=5, items_per_step=5, seed=3)]
        parts = [chosen[:2], chosen[2:4], chosen[4:]]
        return [distillation_batch(encoder, part, relevance, corpus, settings) for part in parts]

    embed = student.embed
    student.embed = lambda batch: (scored.append(batch.weight), embed(batch))[1]
    measures = iter([2.0, 1.0])
    out = folder / f"student-{RANK}"
    state = train(
        student,
        batches_of_step,
        settings,
        seed=3,
        folder=folder / "work",
        name="student",
        evaluate=lambda: next(measures),
    )
    save_model(student, str(out) + ".safetensors")
    return {"scored": scored, "losses": state.losses, "best_step": state.best_step}


def train_toy(folder: Path, *, num_batches: int, stop_at: int | None) -> str:
    """Return how a training ended in which the last process alone is asked to stop."""

    def batches_of_step(step):
        if step == stop_at and RANK == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return [Number(value=torch.ones(1, 1)) for _ in range(num_batches)]

    settings = LoopSettings(steps=5, precision="fp32")
    try:
        train(Toy(), batches_of_step, settings, seed=1, folder=folder, name="toy")
    except (KeyboardInterrupt, TrainingError) as error:
        return str(error)
    return "done"


def main() -> None:
    """Train, and write down what happened."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    found = train_student(folder, sys.argv[2], json.loads(sys.argv[3]))
    if "RANK" in os.environ:
        found["stopped"] = train_toy(folder / "toy", num_batches=2, stop_at=2)
        found["too_few"] = train_toy(folder / "few", num_batches=1, stop_at=None)
        torch.distributed.destroy_process_group()
    (folder / f"found-{RANK}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
