"""Scoring: from questions with passages to one relevance a passage, by the attention of the reader."""

from itertools import islice

import torch

from benchmarks.speed.apart import Apart
from benchmarks.speed.floor import matrix_rate, scoring_flops
from benchmarks.speed.rows import Options, Row, best_seconds, multiplies_bfloat16
from benchmarks.speed.subject import make_subject
from benchmarks.speed.textbook import make_textbook
from dogeared.distill.teachers import CrossAttention
from dogeared.reader.fid import FusionInDecoder, ReaderSettings

__all__ = ["measure"]

_PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}


def measure(options: Options) -> dict[str, Row]:
    """Time scoring by the teacher of the package, in each precision that the machine has."""
    wanted = [name for name in _PRECISIONS if options.wants(f"score_{name}")]
    if not multiplies_bfloat16():
        wanted = [name for name in wanted if name != "bf16"]
    if not wanted:
        return {}
    num_questions = 4 if options.quick else 16
    drawn = {"quick": options.quick, "num_questions": num_questions, "seed": options.seed}
    subject = make_subject(options.scratch / "score", **drawn)
    settings = ReaderSettings(num_passages=20, max_length_tokens=subject.padded)
    reader = FusionInDecoder(subject.model(), subject.tokenizer, settings)
    teachers = {name: CrossAttention(reader, precision=name) for name in wanted}  # type: ignore[arg-type]
    with Apart(make_textbook, options.scratch / "textbook", "cpu", drawn) as textbook:
        seconds = best_seconds(
            {
                "textbook": lambda: textbook.seconds(options.clock, "score", 0),
                **{name: lambda t=teacher: list(t.relevance(subject.readings)) for name, teacher in teachers.items()},
            },
            repeats=options.repeats,
            clock=options.clock,
        )
        expected = torch.tensor([textbook.call("score", index) for index in range(2)])
    rows = {}
    for name in wanted:
        judged = islice(teachers[name].relevance(subject.readings), len(expected))
        got = torch.tensor([passages.relevance for passages in judged])
        flops = sum(scoring_flops(subject.shape, lengths) for lengths in subject.lengths) / num_questions
        rows[f"score_{name}"] = Row(
            unit="question of 20 passages",
            seconds=seconds[name] / num_questions,
            textbook_seconds=seconds["textbook"],
            floor_seconds=flops / matrix_rate(_PRECISIONS[name], clock=options.clock),
            figures={
                "largest_difference": (got - expected).abs().max().item(),
                "spread_of_relevance": expected.std(dim=1).mean().item(),
            },
        )
    return rows
