"""Training a reader: forward, backward and update over questions with passages.

What is compared is a step. A training of one step and one of three are timed, and the difference counts: what a
training takes before its first step is named beside it, as a textbook's optimizer is there from the beginning.
"""

import shutil

import torch

from benchmarks.speed.apart import Apart
from benchmarks.speed.floor import matrix_rate, training_flops
from benchmarks.speed.rows import Options, Row, best_seconds, more_and_before, multiplies_bfloat16
from benchmarks.speed.subject import ANSWER_TOKENS, make_subject
from benchmarks.speed.textbook import make_textbook
from dogeared.reader.fid import FusionInDecoder, ReaderSettings
from dogeared.training.train_reader import ReaderTraining, train_reader

__all__ = ["measure"]

_PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}
_QUESTIONS = 8
_FEW, _MANY = 1, 3  # steps


def measure(options: Options) -> dict[str, Row]:
    """Time steps of 8 questions, as ``train_reader`` takes them, in each precision that the machine has.

    Both sides take 8 questions an update, by the same optimizer, and no dropout.
    """
    wanted = [name for name in _PRECISIONS if options.wants(f"train_{name}")]
    if not multiplies_bfloat16():
        wanted = [name for name in wanted if name != "bf16"]
    if not wanted:
        return {}
    num_questions = _QUESTIONS * _MANY
    subject = make_subject(
        options.scratch / "train", quick=options.quick, num_questions=num_questions, seed=options.seed
    )
    drawn = (options.scratch / "textbook", options.quick, num_questions, options.seed)
    settings = ReaderSettings(num_passages=20, max_length_tokens=subject.padded)
    readers = {name: FusionInDecoder(subject.model(), subject.tokenizer, settings) for name in wanted}
    losses: dict[str, float] = {}

    def ours(precision: str, steps: int) -> None:
        folder = options.scratch / "checkpoint"
        shutil.rmtree(folder, ignore_errors=True)
        loop = ReaderTraining(
            steps=steps,
            questions_per_step=_QUESTIONS,
            learning_rate=1e-5,
            dropout=0.0,
            precision=precision,  # type: ignore[arg-type]
            save_every_seconds=1e9,
        )
        losses[precision] = train_reader(
            readers[precision], subject.readings, loop, seed=options.seed, folder=folder
        ).losses[0]

    with Apart(make_textbook, *drawn) as textbook:
        seconds = best_seconds(
            {
                "textbook": lambda: textbook.seconds(options.clock, "step", range(_QUESTIONS)),
                **{
                    f"{name} {steps}": lambda precision=name, steps=steps: ours(precision, steps)
                    for name in wanted
                    for steps in (_FEW, _MANY)
                },
            },
            repeats=options.repeats,
            clock=options.clock,
        )
    flops = sum(training_flops(subject.shape, of, output=ANSWER_TOKENS) for of in subject.lengths) / len(
        subject.lengths
    )
    rows: dict[str, Row] = {}
    for name in wanted:
        few, many = (seconds[f"{name} {steps}"] for steps in (_FEW, _MANY))
        of_a_step, before = more_and_before(few, many, (_FEW, _MANY))
        rows[f"train_{name}"] = Row(
            unit="question of 20 passages",
            seconds=of_a_step / _QUESTIONS,
            textbook_seconds=seconds["textbook"] / _QUESTIONS,
            floor_seconds=flops / matrix_rate(_PRECISIONS[name], clock=options.clock),
            figures={"first_loss": losses[name], "seconds_before": before},
        )
    return rows
