"""Training a reader: forward, backward and update over questions with passages.

What is compared is a step over the same questions: of a training of two, the second counts, from update to update. What
comes before the end of the first is named beside it, as a textbook's optimizer is there from the beginning.
"""

import shutil

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.speed.apart import Apart
from benchmarks.speed.floor import matrix_rate, training_flops
from benchmarks.speed.rows import Options, Row, Seconds, best_seconds, multiplies_bfloat16
from benchmarks.speed.subject import ANSWER_TOKENS, make_subject
from benchmarks.speed.textbook import make_textbook
from dogeared.reader.fid import FusionInDecoder, ReaderSettings
from dogeared.training.train_reader import ReaderTraining, train_reader

__all__ = ["measure"]

_PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}
_QUESTIONS = 8
_STEPS = 2
_DROPOUT = 0.1  # T5's own, and so what a training has whose settings name none


def measure(options: Options) -> dict[str, Row]:
    """Time steps of 8 questions, as ``train_reader`` takes them, without dropout and with it, in each precision.

    Both sides take 8 questions an update, by the same optimizer.
    """
    kinds = {
        f"train_{precision}{suffix}": (precision, dropout)
        for suffix, dropout in (("", 0.0), ("_dropout", _DROPOUT))
        for precision in _PRECISIONS
        if precision != "bf16" or multiplies_bfloat16()
    }
    wanted = {name: kind for name, kind in kinds.items() if options.wants(name)}
    if not wanted:
        return {}
    subject = make_subject(options.scratch / "train", quick=options.quick, num_questions=_QUESTIONS, seed=options.seed)
    drawn = (options.scratch / "textbook", options.quick, _QUESTIONS, options.seed)
    settings = ReaderSettings(num_passages=20, max_length_tokens=subject.padded)
    readers = {name: FusionInDecoder(subject.model(), subject.tokenizer, settings) for name in wanted}
    losses: dict[str, float] = {}
    before: dict[str, float] = {}

    def ours(name: str) -> Seconds:
        precision, dropout = wanted[name]
        folder = options.scratch / "checkpoint"
        shutil.rmtree(folder, ignore_errors=True)
        loop = ReaderTraining(
            steps=_STEPS,
            questions_per_step=_QUESTIONS,
            learning_rate=1e-5,
            dropout=dropout,
            precision=precision,  # type: ignore[arg-type]
            save_every_seconds=1e9,
        )
        times = [options.clock()]
        hook = register_optimizer_step_post_hook(lambda *_: times.append(options.clock()))
        try:
            state = train_reader(readers[name], subject.readings, loop, seed=options.seed, folder=folder)
        finally:
            hook.remove()
        began, first, second = times
        losses[name], before[name] = state.losses[0], first - began
        return Seconds(second - first)

    with Apart(make_textbook, *drawn) as textbook:

        def of_textbook(dropout: float) -> Seconds:
            textbook.call("set_dropout", dropout)
            return textbook.seconds(options.clock, "step", range(_QUESTIONS))

        dropouts = sorted({dropout for _, dropout in wanted.values()})
        seconds = best_seconds(
            {
                **{f"textbook {dropout}": lambda dropout=dropout: of_textbook(dropout) for dropout in dropouts},
                **{name: lambda name=name: ours(name) for name in wanted},
            },
            repeats=options.repeats,
            clock=options.clock,
        )
    flops = sum(training_flops(subject.shape, of, output=ANSWER_TOKENS) for of in subject.lengths) / len(
        subject.lengths
    )
    return {
        name: Row(
            unit="question of 20 passages",
            seconds=seconds[name] / _QUESTIONS,
            textbook_seconds=seconds[f"textbook {dropout}"] / _QUESTIONS,
            floor_seconds=flops / matrix_rate(_PRECISIONS[precision], clock=options.clock),
            figures={"first_loss": losses[name], "seconds_to_first_update": before[name]},
        )
        for name, (precision, dropout) in wanted.items()
    }
