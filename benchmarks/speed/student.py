"""A training step of the student: MiniLM on real questions and passages, beside plain PyTorch in float32.

Plain PyTorch runs in a process of its own. Ours keeps the memory that it frees, as every training does
(``training/loop.py``), and takes some steps before the first that counts.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice

import torch
from sentence_transformers import SentenceTransformer

from benchmarks.speed.apart import Apart
from benchmarks.speed.encode import LENGTH, encoder_flops, minilm
from benchmarks.speed.floor import matrix_rate
from benchmarks.speed.rows import Options, Row, best_seconds, multiplies_bfloat16
from dogeared.compute import Precision, autocast, keep_freed_memory
from dogeared.data.corpus import Corpus, build_corpus
from dogeared.data.formats import iter_passages
from dogeared.distill.losses import distillation_loss
from dogeared.records import Passage, PassageRelevance, Question
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.training.dropout import set_dropout
from dogeared.training.optim import adamw
from dogeared.training.train_retriever import COSINE_TEMPERATURE, RetrieverTraining, Student, distillation_batch

__all__ = ["Lesson", "Textbook", "measure"]

_UNCOUNTED = 4  # steps of ours, after which no more memory is asked for
_QUESTION_LENGTH = 64  # to which the textbook pads questions; passages are padded to LENGTH


@dataclass(frozen=True)
class Lesson:
    """What the student learns: real passages, of which random relevance says which answered."""

    corpus: Corpus
    questions: list[Question]
    relevance: dict[str, PassageRelevance]
    each: int

    @classmethod
    def make(cls, options: Options, *, several: int = 4, each: int = 8) -> "Lesson":
        """Read some questions' passages, so many each; fewer where it shall be quick."""
        several, each = (2, 3) if options.quick else (several, each)
        read = islice(iter_passages(options.data / "wiki_en" / "passages.jsonl"), several * each)
        corpus = build_corpus(read, options.scratch / "student")
        titles = [passage.title for passage in corpus.passages(range(0, several * each, each))]
        draw = torch.Generator().manual_seed(options.seed)
        relevance = {
            str(n): PassageRelevance(
                question_id=str(n),
                passage_ids=tuple(corpus.ids(range(n * each, (n + 1) * each))),
                relevance=tuple(torch.randn(each, generator=draw).tolist()),
            )
            for n in range(several)
        }
        questions = [Question(id=str(n), text=f"what is told of {title} ?") for n, title in enumerate(titles)]
        return cls(corpus, questions, relevance, each)

    @property
    def passages(self) -> list[Passage]:
        """Of all questions, one question's after the other's."""
        return self.corpus.passages(range(len(self.questions) * self.each))

    def step(self, dropout: float, chunk_tokens: int = 0) -> Callable[[], float]:
        """Return a step of the package's student, from text to new weights."""
        encoder = DualEncoder.load(RetrieverSettings(model=str(minilm()), max_length_tokens=LENGTH))
        set_dropout(encoder, dropout)
        settings = RetrieverTraining(num_passages=self.each, chunk_tokens=chunk_tokens)
        student = Student(encoder, settings).train()
        optimizer = adamw(student, learning_rate=0.0, weight_decay=0.0)

        def step() -> float:
            batch = distillation_batch(encoder, self.questions, self.relevance, self.corpus, settings)
            with autocast(_precision(), torch.device("cpu")):
                loss = student(batch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss.item()

        return step


class Textbook:
    """The student in plain PyTorch: everything padded to one length, eager attention, float32.

    Args:
        options: Which lesson.
    """

    def __init__(self, options: Options) -> None:
        self.lesson = Lesson.make(options)
        self.model = SentenceTransformer(str(minilm()), device="cpu", model_kwargs={"attn_implementation": "eager"})
        self.model.max_seq_length = LENGTH
        self.model.train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.0, fused=True)

    def step(self, dropout: float) -> float:
        """Learn from all questions; return the loss."""
        set_dropout(self.model, dropout)
        lesson = self.lesson
        queries = self._encode([question.text for question in lesson.questions], _QUESTION_LENGTH)
        vectors = self._encode([f"{passage.title} {passage.text}" for passage in lesson.passages], LENGTH)
        wanted = torch.tensor([lesson.relevance[question.id].relevance for question in lesson.questions])
        score = torch.einsum("bd,bpd->bp", queries, vectors.view(*wanted.shape, -1))
        loss = distillation_loss(score, wanted, loss="kl", student_temperature=COSINE_TEMPERATURE)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    def _encode(self, texts: list[str], length: int) -> torch.Tensor:
        padded = self.model.tokenizer(
            texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        return self.model(dict(padded))["sentence_embedding"]


def _precision() -> Precision:
    return "bf16" if multiplies_bfloat16() else "fp32"


def measure(options: Options) -> dict[str, Row]:
    """Time a step from text to new weights, with the model's own dropout, without any, and so with gradients cached."""
    passages_file = options.data / "wiki_en" / "passages.jsonl"
    if not options.wants("student", "student_no_dropout", "student_cached") or not passages_file.is_file():
        return {}
    keep_freed_memory()
    lesson = Lesson.make(options)
    passages, several, each = lesson.passages, len(lesson.questions), lesson.each
    steps = {
        "student": lesson.step(0.1),
        "student_no_dropout": lesson.step(0.0),
        "student_cached": lesson.step(0.0, 1024),
    }
    for step in steps.values():
        for _ in range(1 if options.quick else _UNCOUNTED):
            step()
    with Apart(Textbook, replace(options, scratch=options.scratch / "apart")) as textbook:
        sides = {
            "textbook": lambda: textbook.seconds(options.clock, "step", 0.1),
            "textbook no dropout": lambda: textbook.seconds(options.clock, "step", 0.0),
            **steps,
        }
        seconds = best_seconds(sides, repeats=options.repeats, clock=options.clock)
        difference = abs(steps["student_no_dropout"]() - textbook.call("step", 0.0))
    encoder = DualEncoder.load(RetrieverSettings(model=str(minilm()), max_length_tokens=LENGTH))
    chunks = [
        *encoder.passage_chunks(passages),
        *encoder.query_chunks([question.text for question in lesson.questions]),
    ]
    lengths = [int(n) for chunk in chunks for n in chunk.features["attention_mask"].sum(dim=1)]
    rate = matrix_rate(torch.bfloat16 if _precision() == "bf16" else torch.float32, clock=options.clock)
    floor = 3 * encoder_flops(minilm(), lengths) / rate / several
    return {
        name: Row(
            unit=f"question of {each} passages",
            seconds=seconds[name] / several,
            textbook_seconds=seconds["textbook" if name == "student" else "textbook no dropout"] / several,
            floor_seconds=floor * (4 / 3 if name == "student_cached" else 1),
            figures={} if name == "student" else {"difference_of_loss": difference},
        )
        for name in ("student", "student_no_dropout", "student_cached")
    }
