"""Do the runs behind a table: a sample of questions, what is trained before, and one ordinary run for each line.

Everything is a finished artifact that a later call finds, and runs that have steps in common share them, so that a call
that was interrupted goes on, and a second table costs what it adds. Several tables may be filled at once: where two
processes want the same, one waits for the other.
"""

import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.reproduce.tables import PREPARED, Row
from dogeared.api import run_experiment
from dogeared.artifacts import MANIFEST, fingerprint
from dogeared.errors import ArtifactError
from dogeared.locks import hold
from dogeared.pipeline import steps
from dogeared.pipeline.config import Experiment, load_experiment
from dogeared.pipeline.dataset import prepare_data
from dogeared.pipeline.layout import RunFolder
from dogeared.pipeline.pretraining import pretrain_reader
from dogeared.pipeline.reranking import rerank
from dogeared.pipeline.rounds import measure_untouched
from dogeared.pipeline.starts import first_retrieval, fuse_rankings
from dogeared.pipeline.store import share
from dogeared.pipeline.supervised import train_dpr
from dogeared.storage import write_atomically

__all__ = ["Laboratory", "Measured", "Values", "before_teaching"]

Values = dict[str, dict[str, float]]
"""What was measured of each question, by its id."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one run measured in one of its parts.

    Attributes:
        test: Of test questions.
        dev: Of dev questions.
        agreement: Of the reader's order with the retriever's, where a reader was trained in that part.
    """

    test: Values
    dev: Values
    agreement: Mapping[str, float] = field(default_factory=dict)


_OF_TEACHING = ("teacher.", "relevance.", "retriever_training.")
_OF_READER = "teacher.kind=passage_posterior"  # a reader that marks spans can have none that looks at a decoder
_PATIENCE_SECONDS = 1.0
_BASE = Path(__file__).with_name("base.toml")


@dataclass(frozen=True, kw_only=True)
class Laboratory:
    """Where the runs of all tables stand, and what they have in common.

    Attributes:
        out: The directory of all of it.
        data: A folder with ``passages.jsonl`` and ``questions.jsonl``.
        student: The model that every student starts as, and the reader's start is made of.
        sizes: How many questions of each split are drawn; fewer where there are fewer.
        settings: ``key=value`` for every run.
        language_model: What stands for ``{language-model}``: an encoder that was never trained to retrieve.
    """

    out: Path
    data: Path
    student: str
    sizes: Mapping[str, int]
    settings: Sequence[str] = ()
    language_model: str = ""

    @property
    def questions(self) -> Path:
        """The sample."""
        return self.out / "questions.jsonl"

    def experiment(self, settings: Sequence[str], *, seed: int = 0) -> Experiment:
        """Return the settings of a run; names in braces stand for what was trained before."""
        places = {name: str(self.out / name) for name in PREPARED}
        places |= {"student": self.student, "language-model": self.language_model}
        own = [
            f"retriever.model={self.student}",
            f"reader.model={self.out / 'reader'}",
            f"seed={seed}",
            *self.settings,
            *(setting.format_map(places) for setting in settings),
        ]
        return load_experiment(config=_BASE, overrides=own)

    def prepare(self, rows: Sequence[Row]) -> None:
        """Draw the sample, make the reader's start, and train what the settings of these rows name."""
        data, experiment = self.out / "data", self.experiment(())
        with self._alone("prepare"), share(self.out / "store"):
            self._draw_questions()
            prepare_data(data, questions=self.questions, passages=self.data / "passages.jsonl")
            pretrain_reader(self.out / "reader", data=data, experiment=self._of_student("reader.model"))
            named = {name for name in PREPARED for row in rows if any(f"{{{name}}}" in one for one in row.settings)}
            for name in sorted(named):
                self._train_dpr(name, data, experiment)

    def run(self, row: Row, *, seed: int, has_reader: bool = True) -> Measured:
        """Do the run of a row, if it was not done before, and read what was measured.

        Args:
            row: Which.
            seed: Of its run.
            has_reader: Whether a reader is trained on what the retriever of the row fetched. Without it the row ends at
                what its retriever fetches, by the run's own steps.
        """
        if row.part in ("round-1", "hybrid/round-1") and not has_reader:
            return self._teach(row, seed=seed)
        if row.part in ("round-0", "untouched") and not has_reader:
            return self._retrieve(row, seed=seed)
        name = fingerprint([*row.settings])[:8]
        folder = RunFolder(self.out / "runs" / f"{name}-{seed}")
        experiment = self.experiment(row.settings, seed=seed)
        with self._alone(f"run-{name}-{seed}"), share(self.out / "store"):
            run_experiment(
                experiment,
                questions=self.questions,
                passages=self.data / "passages.jsonl",
                out=folder.path,
                share=self.out / "store",
            )
            if row.part.startswith("cut/"):
                _cut(folder, experiment, by=row.part.removeprefix("cut/"))
            elif row.part.startswith("hybrid/round-"):
                number = int(row.part.removeprefix("hybrid/round-"))
                _fuse(folder, experiment, number=number, lexical=folder.round(0).ranking)
        return _read(folder.path / row.part)

    def _teach(self, row: Row, *, seed: int) -> Measured:
        base = before_teaching(row)
        self.run(base, seed=seed)
        name, base_name = (fingerprint([*settings])[:8] for settings in (row.settings, base.settings))
        run = RunFolder(self.out / "runs" / f"{base_name}-{seed}")
        line = RunFolder(self.out / "lines" / f"{name}-{seed}")
        experiment, data, before, here = self.experiment(row.settings, seed=seed), run.data, run.round(0), line.round(1)
        told = {"data": data, "experiment": experiment}
        with self._alone(f"line-{name}-{seed}"), share(self.out / "store"):
            steps.score_passages(here.relevance, ranking=before.ranking, reader=before.reader, splits=["train"], **told)
            steps.train_retriever(
                here.retriever, relevance=here.relevance, start=run.untouched.retriever, round_number=1, **told
            )
            steps.encode(here.vectors, retriever=here.retriever, **told)
            steps.retrieve(here.ranking, retriever=here.retriever, vectors=here.vectors, **told)
            steps.evaluate(here.measures, ranking=here.ranking, reader=None, relevance=None, **told)
            if row.part.startswith("hybrid/"):
                _fuse(line, experiment, number=1, lexical=before.ranking, data=data)
        return _read(line.path / row.part)

    def _retrieve(self, row: Row, *, seed: int) -> Measured:
        """Measure the first retrieval of a row, or its untouched student, which no reader has a part in."""
        name = fingerprint([*row.settings])[:8]
        line = RunFolder(self.out / "lines" / f"{name}-{seed}")
        experiment = self.experiment(row.settings, seed=seed)
        with self._alone(f"line-{name}-{seed}"), share(self.out / "store"):
            prepare_data(line.data, questions=self.questions, passages=self.data / "passages.jsonl")
            measure_untouched(line, experiment)
            first_retrieval(line, experiment)
            first = line.round(0)
            steps.evaluate(
                first.measures,
                data=line.data,
                ranking=first.ranking,
                reader=None,
                relevance=None,
                experiment=experiment,
            )
        return _read(line.path / row.part)

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Wait until no other process makes what has this name, and keep it from them for the time of the block."""
        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(hold(self.out / "locks" / name))
                    break
                except ArtifactError:
                    time.sleep(_PATIENCE_SECONDS)
            yield

    def _of_student(self, key: str) -> Experiment:
        return self.experiment((f"{key}={self.student}",))

    def _train_dpr(self, name: str, data: Path, experiment: Experiment) -> None:
        words, ranking, untouched = self.out / "words", self.out / "bm25", self.out / "untouched"
        steps.index_words(words, data=data, experiment=experiment)
        steps.retrieve_first(ranking, data=data, words=words, experiment=experiment)
        steps.untouched_retriever(untouched, experiment=experiment)
        told = self.experiment((f"supervised.positives={PREPARED[name]}",))
        train_dpr(self.out / name, data=data, ranking=ranking, start=untouched, experiment=told)

    def _draw_questions(self) -> None:
        rows = [json.loads(line) for line in (self.data / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
        drawn = []
        for split, size in self.sizes.items():
            part = [row for row in rows if row["split"] == split]
            drawn += random.Random(0).sample(part, min(size, len(part)))
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in drawn)
        if not self.questions.is_file() or self.questions.read_text(encoding="utf-8") != text:
            write_atomically(self.questions, text)


def before_teaching(row: Row) -> Row:
    """Return the row's run up to its first reader, which rows that differ in their teaching share."""
    first = tuple(one for one in row.settings if one == _OF_READER or not one.startswith(_OF_TEACHING))
    return Row(label=row.label, settings=(*first, "rounds.max=0"), part="round-0")


def _cut(run: RunFolder, experiment: Experiment, *, by: str) -> None:
    """Let the reader of round 0 answer from a tenth of its passages, at least one, chosen by score or by relevance."""
    first, out = run.round(0), run.path / "cut" / by
    ranking = first.ranking
    if by == "relevance":
        ranking = out / "ranking"
        rerank(ranking, ranking=first.ranking, relevance=[first.relevance_eval])
    reader = experiment.reader.model_copy(update={"num_passages": max(1, experiment.reader.num_passages // 10)})
    steps.evaluate(
        out / "measures",
        data=run.data,
        ranking=ranking,
        reader=first.reader,
        relevance=None,
        experiment=experiment.model_copy(update={"reader": reader}),
    )


def _fuse(run: RunFolder, experiment: Experiment, *, number: int, lexical: Path, data: Path | None = None) -> None:
    """Measure a round fused with BM25, whether or not it was the best."""
    here = run.hybrid(number)
    if not (here.ranking / MANIFEST).is_file():
        fuse_rankings(here.ranking, lexical=lexical, dense=run.round(number).ranking, experiment=experiment)
    if not (here.measures / MANIFEST).is_file():
        steps.evaluate(
            here.measures,
            data=data or run.data,
            ranking=here.ranking,
            reader=None,
            relevance=None,
            experiment=experiment,
        )


def _read(part: Path) -> Measured:
    of_split: dict[str, Values] = {"dev": {}, "test": {}}
    for line in (part / "measures" / "predictions.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["split"] in of_split:
            of_split[row["split"]][row["id"]] = {
                **row.get("retriever", {}),
                **({"em": row["em"]} if "em" in row else {}),
            }
    summary = json.loads((part / "measures" / "measures.json").read_text(encoding="utf-8"))
    return Measured(**of_split, agreement=summary.get("agreement") or {})
