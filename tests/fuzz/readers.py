"""Every reader of files, as something that takes a file and must end well.

Ending well is: it reads the file, and all that it hands over keeps the promises of its type; or it raises the error of
its kind. Anything else that it raises is a fault of ours. Bad rows are skipped, not raised, so that a file is read to
its end.
"""

import gzip
import io
import json
import lzma
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dogeared.artifacts import MANIFEST, read_manifest
from dogeared.data.formats import GivenQuestion, iter_passages, iter_questions
from dogeared.data.rankings import read_rankings, write_rankings
from dogeared.data.relevance_files import read_relevance_file
from dogeared.data.rows import id_fault, text_fault
from dogeared.data.trec import iter_trec_run, read_trec_judgments
from dogeared.data.validate import validate
from dogeared.documents.sections import read_sections
from dogeared.errors import ArtifactError, ConfigError, DataError, DogearedError, ModelError
from dogeared.exchange.entries import Entry, Reading
from dogeared.exchange.formats import FORMATS
from dogeared.records import Passage, Question, Ranking
from exchange import samples

__all__ = ["READERS", "Reader", "ends_well"]


@dataclass(kw_only=True)
class Reader:
    """A reader of one kind of file.

    Attributes:
        file: The name that tells the reader what it is given.
        read: Reads a file to its end, and checks what comes.
        make_seeds: Makes sound files, from which others are made.
        error: What it may raise.
    """

    file: str
    read: Callable[[Path], None]
    make_seeds: Callable[[], tuple[bytes, ...]]
    error: type[DogearedError] = DataError

    @cached_property
    def seeds(self) -> tuple[bytes, ...]:
        """The sound files; made when they are asked for, since some want a library that takes seconds to load."""
        return self.make_seeds()


def ends_well(reader: Reader, content: bytes, folder: Path) -> bool:
    """Write a file and read it; tell whether it was taken, where it is not refused in the right way raise what came."""
    file = folder / reader.file
    file.write_bytes(content)
    try:
        reader.read(file)
    except reader.error:
        return False
    return True


def _check_passage(passage: Passage) -> None:
    assert id_fault(passage.id) is None, passage
    assert passage.text.strip(), passage
    assert text_fault(passage.text) is None, passage
    assert text_fault(passage.title) is None, passage


def _check_question(question: Question) -> None:
    for name in (question.id, *question.gold, *question.near_gold):
        assert id_fault(name) is None, question
    for text in (question.text, *question.answers):
        assert text.strip(), question
        assert text_fault(text) is None, question
    assert question.split in ("train", "dev", "test"), question


def _check_scores(names: Iterable[str], scores: Iterable[float]) -> None:
    names, scores = list(names), list(scores)
    assert len(names) == len(scores) == len(set(names))
    assert all(map(math.isfinite, scores)), scores
    assert scores == sorted(scores, reverse=True), scores


def _check(item: Passage | GivenQuestion | Entry) -> None:
    if isinstance(item, Passage):
        return _check_passage(item)
    _check_question(item.question)
    for passage in item.passages or ():
        _check_passage(passage)
    ranked = item.ranked if isinstance(item, Entry) else item.passages and [one.id for one in item.passages]
    if item.scores is not None:
        _check_scores(ranked or (), item.scores)
    return None


def _own(iterate: Callable[..., Iterator[Any]]) -> Callable[[Path], None]:
    def read(file: Path) -> None:
        for item in iterate(file, on_error=lambda _: None):
            _check(item)

    return read


def _exchanged(name: str, what: str) -> Callable[[Path], None]:
    def read(file: Path) -> None:
        iterate = getattr(FORMATS[name], what)
        for item in iterate(file, Reading(reject=lambda _: None)):
            _check(item)

    return read


def _beir(file: Path) -> None:
    """Read BEIR's folder, whose three files stand in one, parted by a line of ``---``."""
    corpus, queries, judged = (*file.read_bytes().split(b"\n---\n", 2), b"", b"")[:3]
    folder = file.with_suffix("")
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for path, content in (("corpus.jsonl", corpus), ("queries.jsonl", queries), ("qrels/test.tsv", judged)):
        (folder / path).write_bytes(content)
    reading = Reading(reject=lambda _: None)
    for iterate in (FORMATS["beir"].passages, FORMATS["beir"].questions):
        assert iterate is not None
        for item in iterate(folder, reading):
            _check(item)


def _run(file: Path) -> None:
    for ranking in iter_trec_run(file, on_error=lambda _: None):
        _check_scores(ranking.passage_ids, ranking.scores)


def _judgments(file: Path) -> None:
    for judged in read_trec_judgments(file, on_error=lambda _: None).values():
        assert all(map(math.isfinite, judged.values()))


def _relevance(file: Path) -> None:
    for values in read_relevance_file(file).values():
        assert all(map(math.isfinite, values.values()))


def _validate(file: Path) -> None:
    (report,) = validate([file])
    assert report.num_errors >= len(report.errors)
    assert report.num_rows or report.num_errors


def _document(file: Path) -> None:
    for section in read_sections(file):
        assert all(text.strip() for text in section.paragraphs)
        for text in (section.title, *section.paragraphs):
            assert text_fault(text) is None, section


def _ranked(file: Path) -> None:
    for name, ranking in read_rankings(file).items():
        assert name == ranking.question_id
        assert len(ranking.passage_ids) == len(ranking.scores)


def _manifest(file: Path) -> None:
    manifest = read_manifest(file.parent)
    assert len(manifest.fingerprint) == 16
    assert isinstance(manifest.facts, dict)
    assert all(isinstance(name, str) for name in manifest.files)


def _checkpoint(file: Path) -> None:
    from dogeared.importing.tensors import read_checkpoint

    checkpoint = read_checkpoint(file)
    assert checkpoint.tensors
    assert all(value.numel() >= 0 for value in checkpoint.tensors.values())


def _config_beside(file: Path) -> None:
    from dogeared.importing.tensors import read_checkpoint

    weights = file.with_name("model.safetensors")
    if not weights.is_file():
        weights.write_bytes(_safetensors())
    assert isinstance(read_checkpoint(file.parent).config, dict)


def _settings(file: Path) -> None:
    from dogeared.pipeline.config import load_experiment

    load_experiment(config=file)


def _safetensors() -> bytes:
    import torch
    from safetensors.torch import save

    return save({"encoder.weight": torch.ones(2, 3), "bias": torch.zeros(2)})


def _pickled() -> bytes:
    import torch

    stream = io.BytesIO()
    torch.save({"model_dict": {"encoder.weight": torch.ones(2, 3)}, "epoch": 3}, stream)
    return stream.getvalue()


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), stream)
    return stream.getvalue()


def _rankings() -> bytes:
    import tempfile

    ranking = Ranking(question_id="q1", passage_ids=("p1", "p2"), scores=(2.0, 1.0))
    with tempfile.TemporaryDirectory() as folder:
        write_rankings([ranking], Path(folder) / "r.parquet")
        return (Path(folder) / "r.parquet").read_bytes()


def _pdf() -> bytes:
    """Write a page with a line of text by hand; the library can only write empty ones."""
    stream = b"BT /F1 12 Tf 72 720 Td (Marie Curie was born in Warsaw.) Tj ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(out)
    return out + b"xref\n0 6\n0000000000 65535 f \n" + table + end


def _encoded(*texts: str) -> Callable[[], tuple[bytes, ...]]:
    return lambda: tuple(text.encode() for text in texts)


def _of_format(name: str, what: str, place: int) -> Reader:
    part = samples.SAMPLES[name][place]
    assert part is not None
    return Reader(file=part[0], read=_exchanged(name, what), make_seeds=_encoded(part[1]))


_OWN = _encoded(samples.OWN_PASSAGES)
_MANIFEST = json.dumps(
    {"kind": "encode", "settings": {"a": 1}, "inputs": {"data": "c0"}, "facts": {}, "files": {"vectors.npy": "0" * 64}}
)
_MARKDOWN = (
    "---\ntitle: x\n---\n# Curie\n\nShe was *born* in [Warsaw](x).\n\n"
    "| a | b |\n|---|---|\n| 1 | 2 |\n\n```\ncode\n```\n"
)
_HTML = (
    "<html><head><title>Curie</title></head><body><h1>Life</h1><p>She was <b>born</b><table><tr><td>x</table></body>"
)
_SETTINGS = (
    'seed = 3\nlanguage = "en"\n[reader]\nmodel = "demo:reader"\n'
    "[retriever_training]\nsteps = 5\nlearning_rate = 1e-3\n"
)

READERS: Mapping[str, Reader] = {
    "passages-jsonl": Reader(file="p.jsonl", read=_own(iter_passages), make_seeds=_OWN),
    "passages-list": Reader(
        file="p.json",
        read=_own(iter_passages),
        make_seeds=_encoded('[{"id": 1, "text": "a"},\n {"id": "2", "text": "b"}]'),
    ),
    "passages-tsv": Reader(file="p.tsv", read=_own(iter_passages), make_seeds=_encoded(samples.PSGS)),
    "passages-gz": Reader(
        file="p.jsonl.gz",
        read=_own(iter_passages),
        make_seeds=lambda: (gzip.compress(_OWN()[0], mtime=0), gzip.compress(b"", mtime=0)),
    ),
    "passages-xz": Reader(file="p.jsonl.xz", read=_own(iter_passages), make_seeds=lambda: (lzma.compress(_OWN()[0]),)),
    "questions-jsonl": Reader(file="q.jsonl", read=_own(iter_questions), make_seeds=_encoded(samples.OWN_QUESTIONS)),
    "questions-fid": Reader(file="q.json", read=_own(iter_questions), make_seeds=_encoded(json.dumps(samples.FID))),
    "questions-tsv": Reader(file="q.tsv", read=_own(iter_questions), make_seeds=_encoded(samples.DPR_QA)),
    "validate": Reader(
        file="v.jsonl", read=_validate, make_seeds=_encoded(samples.OWN_QUESTIONS, samples.OWN_PASSAGES)
    ),
    "trec-run": Reader(
        file="r.trec", read=_run, make_seeds=_encoded("q1 Q0 p1 1 2.5 x\nq1 Q0 p2 2 -1e3 x\nq2 Q0 p1 1 3 x\n")
    ),
    "trec-judgments": Reader(file="j.txt", read=_judgments, make_seeds=_encoded("q1 0 p1 1\nq1 0 p2 0\nq2 0 p1 -1\n")),
    "relevance": Reader(
        file="t.jsonl",
        read=_relevance,
        make_seeds=_encoded(samples.lines({"question_id": "q1", "passage_id": 1, "relevance": "0.5"})),
    ),
    "dpr-train": _of_format("dpr-train", "questions", 0),
    "atlas-questions": _of_format("atlas", "questions", 0),
    "atlas-passages": _of_format("atlas", "passages", 1),
    "kilt-questions": _of_format("kilt", "questions", 0),
    "kilt-passages": _of_format("kilt", "passages", 1),
    "flashrag-questions": _of_format("flashrag", "questions", 0),
    "flashrag-passages": _of_format("flashrag", "passages", 1),
    "flag": _of_format("flag", "questions", 0),
    "squad": _of_format("squad", "questions", 0),
    "hotpotqa": _of_format("hotpotqa", "questions", 0),
    "musique": _of_format("musique", "questions", 0),
    "csv-questions": _of_format("csv", "questions", 0),
    "csv-passages": _of_format("csv", "passages", 1),
    "beir": Reader(
        file="beir.parts",
        read=_beir,
        make_seeds=_encoded(
            '{"_id": "p1", "title": "x", "text": "a"}\n\n---\n'
            '{"_id": "b1", "text": "q?", "metadata": {"answers": ["a"]}}\n'
            "\n---\nquery-id\tcorpus-id\tscore\nb1\tp1\t1\n"
        ),
    ),
    "parquet-questions": Reader(
        file="q.parquet",
        read=_exchanged("parquet", "questions"),
        make_seeds=lambda: (_parquet([{"id": 1, "question": "Who?", "answers": ["a", "b"], "gold": ["p1"]}]),),
    ),
    "parquet-passages": Reader(
        file="p.parquet",
        read=_exchanged("parquet", "passages"),
        make_seeds=lambda: (_parquet([{"id": "p1", "title": "x", "text": "a"}]),),
    ),
    "text": Reader(file="d.txt", read=_document, make_seeds=_encoded("One paragraph.\n\nAnother one.\n")),
    "markdown": Reader(file="d.md", read=_document, make_seeds=_encoded(_MARKDOWN)),
    "html": Reader(file="d.html", read=_document, make_seeds=_encoded(_HTML)),
    "pdf": Reader(file="d.pdf", read=_document, make_seeds=lambda: (_pdf(),)),
    "manifest": Reader(file=MANIFEST, read=_manifest, make_seeds=_encoded(_MANIFEST), error=ArtifactError),
    "rankings": Reader(
        file="rankings.parquet",
        read=_ranked,
        make_seeds=lambda: (_rankings(),),
        error=ArtifactError,
    ),
    "safetensors": Reader(
        file="model.safetensors", read=_checkpoint, make_seeds=lambda: (_safetensors(),), error=ModelError
    ),
    "torch-checkpoint": Reader(file="model.pt", read=_checkpoint, make_seeds=lambda: (_pickled(),), error=ModelError),
    "model-config": Reader(
        file="config.json",
        read=_config_beside,
        make_seeds=_encoded('{"model_type": "t5", "d_model": 8}'),
        error=ModelError,
    ),
    "settings": Reader(file="settings.toml", read=_settings, make_seeds=_encoded(_SETTINGS), error=ConfigError),
}
