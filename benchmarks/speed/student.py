"""A training step of the student: MiniLM on real questions and passages, beside plain PyTorch in float32."""

from itertools import islice

import torch
from sentence_transformers import SentenceTransformer

from benchmarks.speed.encode import LENGTH, encoder_flops, minilm
from benchmarks.speed.floor import matrix_rate
from benchmarks.speed.rows import Options, Row, best_seconds, multiplies_bfloat16
from dogeared.compute import autocast
from dogeared.data.corpus import build_corpus
from dogeared.data.formats import iter_passages
from dogeared.distill.losses import distillation_loss
from dogeared.records import PassageRelevance, Question
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.training.dropout import set_dropout
from dogeared.training.optim import adamw
from dogeared.training.train_retriever import COSINE_TEMPERATURE, RetrieverTraining, Student, distillation_batch

__all__ = ["measure"]

_QUESTION_LENGTH = 64  # to which the textbook pads questions; passages are padded to LENGTH


def measure(options: Options) -> dict[str, Row]:
    """Time a step from text to new weights, without dropout, with it, and with gradients cached."""
    passages_file = options.data / "wiki_en" / "passages.jsonl"
    if not options.wants("student", "student_dropout", "student_cached") or not passages_file.is_file():
        return {}
    several, each = (2, 3) if options.quick else (4, 8)
    corpus = build_corpus(islice(iter_passages(passages_file), several * each), options.scratch / "student")
    passages = corpus.passages(range(several * each))
    questions = [Question(id=str(n), text=f"what is told of {passages[n * each].title} ?") for n in range(several)]
    draw = torch.Generator().manual_seed(options.seed)
    relevance = {
        str(n): PassageRelevance(
            question_id=str(n),
            passage_ids=tuple(corpus.ids(range(n * each, (n + 1) * each))),
            relevance=tuple(torch.randn(each, generator=draw).tolist()),
        )
        for n in range(several)
    }
    precision = "bf16" if multiplies_bfloat16() else "fp32"

    def ours(dropout: float, chunk_tokens: int = 0):  # noqa: ANN202 - a step
        encoder = DualEncoder.load(RetrieverSettings(model=str(minilm()), max_length_tokens=LENGTH))
        set_dropout(encoder, dropout)
        settings = RetrieverTraining(num_passages=each, chunk_tokens=chunk_tokens)
        student = Student(encoder, settings).train()
        optimizer = adamw(student, learning_rate=1e-9, weight_decay=0.0)

        def step() -> float:
            batch = distillation_batch(encoder, questions, relevance, corpus, settings)
            with autocast(precision, torch.device("cpu")):
                loss = student(batch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss.item()

        return step

    def textbook(dropout: float):  # noqa: ANN202 - a step
        model = SentenceTransformer(str(minilm()), device="cpu", model_kwargs={"attn_implementation": "eager"}).train()
        model.max_seq_length = LENGTH
        set_dropout(model, dropout)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-9, fused=True)
        wanted = torch.tensor([relevance[str(n)].relevance for n in range(several)])

        def encode(texts: list[str], length: int) -> torch.Tensor:
            padded = model.tokenizer(
                texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
            )
            return model(dict(padded))["sentence_embedding"]

        def step() -> float:
            queries = encode([question.text for question in questions], _QUESTION_LENGTH)
            vectors = encode([f"{passage.title} {passage.text}" for passage in passages], LENGTH)
            score = torch.einsum("bd,bpd->bp", queries, vectors.view(several, each, -1))
            loss = distillation_loss(score, wanted, loss="kl", student_temperature=COSINE_TEMPERATURE)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss.item()

        return step

    steps = {"textbook": textbook(0.0), "textbook dropout": textbook(0.1)}
    steps |= {"student": ours(0.0), "student_dropout": ours(0.1), "student_cached": ours(0.0, 1024)}
    seconds = best_seconds(steps, repeats=options.repeats, clock=options.clock)
    encoder = DualEncoder.load(RetrieverSettings(model=str(minilm()), max_length_tokens=LENGTH))
    chunks = [*encoder.passage_chunks(passages), *encoder.query_chunks([question.text for question in questions])]
    lengths = [int(n) for chunk in chunks for n in chunk.features["attention_mask"].sum(dim=1)]
    rate = matrix_rate(torch.bfloat16 if precision == "bf16" else torch.float32, clock=options.clock)
    floor = 3 * encoder_flops(minilm(), lengths) / rate / several
    difference = abs(steps["student"]() - steps["textbook"]())
    return {
        name: Row(
            unit=f"question of {each} passages",
            seconds=seconds[name] / several,
            textbook_seconds=seconds["textbook dropout" if name == "student_dropout" else "textbook"] / several,
            floor_seconds=floor * (4 / 3 if name == "student_cached" else 1),
            figures={} if name == "student_dropout" else {"difference_of_loss": difference},
        )
        for name in ("student", "student_dropout", "student_cached")
    }
