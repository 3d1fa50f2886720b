"""Training a reader: forward, backward and update over questions with passages.

What is compared are steps over the same questions, timed from update to update in the middle of one training, with a
step of the textbook after each. The first steps of a training are not counted, as a training has thousands: in them
memory is asked of the system, and what is freed is kept for those that follow. The time up to the first update, and
that of the second step, are named beside it.
"""

import gc
import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.speed.apart import Apart
from benchmarks.speed.floor import matrix_rate, training_flops
from benchmarks.speed.rows import Options, Row, Seconds, multiplies_bfloat16
from benchmarks.speed.subject import ANSWER_TOKENS, Subject, make_subject
from benchmarks.speed.textbook import make_textbook
from dogeared.reader.fid import FusionInDecoder, ReaderSettings
from dogeared.training.train_reader import ReaderTraining, train_reader

__all__ = ["measure"]

_PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}
_QUESTIONS = 8
_UNCOUNTED = 3  # steps, after which a training asks for no more memory
_DROPOUTS = {"": 0.1, "_no_dropout": 0.0}  # the former is T5's own, which a training has whose settings name none


def measure(options: Options) -> dict[str, Row]:
    """Time steps of 8 questions, as ``train_reader`` takes them, with T5's dropout and without, in each precision.

    Both sides take 8 questions an update, by the same optimizer.
    """
    kinds = {
        f"train_{precision}{suffix}": (precision, dropout)
        for suffix, dropout in _DROPOUTS.items()
        for precision in _PRECISIONS
        if precision != "bf16" or multiplies_bfloat16()
    }
    wanted = {name: kind for name, kind in kinds.items() if options.wants(name)}
    if not wanted:
        return {}
    drawn = {"quick": options.quick, "num_questions": _QUESTIONS, "seed": options.seed}
    subject = make_subject(options.scratch / "train", **drawn)
    flops = sum(training_flops(subject.shape, of, output=ANSWER_TOKENS) for of in subject.lengths) / len(
        subject.lengths
    )
    rows = {}
    with Apart(make_textbook, options.scratch / "textbook", "cpu", drawn) as textbook:

        def of_textbook() -> Seconds:
            return textbook.seconds(options.clock, "step", range(_QUESTIONS))

        for name, (precision, dropout) in wanted.items():
            textbook.call("set_dropout", dropout)
            of_textbook()
            ours, textbooks, first_loss = _by_turns(subject, precision, dropout, of_textbook, options)
            rows[name] = Row(
                unit="question of 20 passages",
                seconds=min(ours[_UNCOUNTED:]) / _QUESTIONS,
                textbook_seconds=min(textbooks) / _QUESTIONS,
                floor_seconds=flops / matrix_rate(_PRECISIONS[precision], clock=options.clock),
                figures={
                    "first_loss": first_loss,
                    "seconds_to_first_update": ours[0],
                    "seconds_of_second_step": ours[1],
                },
            )
    return rows


def _by_turns(
    subject: Subject, precision: Any, dropout: float, textbook: Callable[[], Seconds], options: Options
) -> tuple[list[float], list[float], float]:
    """Train; return the seconds of all steps, those of the textbook after each that counts, and the first loss."""
    ours: list[float] = []
    textbooks: list[float] = []

    def updated(*_: Any) -> None:
        nonlocal began
        ours.append(options.clock() - began)
        if len(ours) > _UNCOUNTED:
            textbooks.append(textbook())
        gc.collect()
        began = options.clock()

    settings = ReaderSettings(num_passages=20, max_length_tokens=subject.padded)
    reader = FusionInDecoder(subject.model(), subject.tokenizer, settings)
    loop = ReaderTraining(
        steps=_UNCOUNTED + options.repeats,
        questions_per_step=_QUESTIONS,
        learning_rate=1e-5,
        dropout=dropout,
        precision=precision,
        save_every_seconds=1e9,
    )
    folder = options.scratch / "checkpoint"
    shutil.rmtree(folder, ignore_errors=True)
    began = options.clock()
    hook = register_optimizer_step_post_hook(updated)
    try:
        state = train_reader(reader, subject.readings, loop, seed=options.seed, folder=folder)
    finally:
        hook.remove()
    return ours, textbooks, state.losses[0]
