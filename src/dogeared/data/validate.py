"""Everything that is wrong with files of passages and questions, all at once.

Each file is read to its end with the readers of ``formats.py``, so that what passes here passes there. Files given
together are also held against each other: gold passages that no file has, answers that no passage holds. Those are
warnings, since the passages may be in a file that was not given.

Nothing is printed and nothing changed; the command line shows the reports.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from dogeared.data.files import data_suffix, read_json_rows, read_lines
from dogeared.data.formats import GivenQuestion, iter_passages, iter_questions
from dogeared.data.ids import SeenIds
from dogeared.data.occurrence import AnswerSearch
from dogeared.data.questions import assign_splits, count_by_split
from dogeared.errors import DataError
from dogeared.records import Question

__all__ = ["FileReport", "Kind", "validate"]

Kind = Literal["passages", "questions"]


@dataclass(frozen=True, kw_only=True)
class FileReport:
    """What was found in one file.

    Attributes:
        file: The file.
        kind: What it holds; None where that cannot be told, and then ``errors`` says why.
        num_rows: The rows that can be used.
        errors: The first of the errors.
        num_errors: How many there are in all. The file can be used as it is where this is 0.
        warnings: What is odd but can be used, and how often; only what occurs.
    """

    file: Path
    kind: Kind | None
    num_rows: int
    errors: tuple[DataError, ...]
    num_errors: int
    warnings: Mapping[str, int]


def validate(paths: Sequence[Path], *, num_shown: int = 20) -> list[FileReport]:
    """Check files of passages and questions, each for itself and against the others.

    Args:
        paths: The files, in any order.
        num_shown: How many errors of each file are kept; the rest is counted.

    Returns:
        A report for each file, in the order given. A file that cannot be read has a report too.
    """
    findings = [_Findings(path, num_shown) for path in paths]
    for one in findings:
        one.kind = _kind(one)
    questions = {id(one): _read_questions(one) for one in findings if one.kind == "questions"}
    search = AnswerSearch(answer for given in questions.values() for each in given for answer in each.question.answers)
    passage_ids = SeenIds()
    for one in findings:
        if one.kind == "passages":
            _read_passages(one, passage_ids, search)
    if len(passage_ids):
        for one in findings:
            _compare(one, questions.get(id(one), []), passage_ids, search.absent)
    return [one.report() for one in findings]


@dataclass(kw_only=False)
class _Findings:
    """A report in the making."""

    file: Path
    num_shown: int
    kind: Kind | None = None
    num_rows: int = 0
    errors: list[DataError] = field(default_factory=list)
    num_errors: int = 0
    warnings: Counter[str] = field(default_factory=Counter)

    def add(self, error: DataError) -> None:
        self.num_errors += 1
        if len(self.errors) < self.num_shown:
            self.errors.append(error)

    def report(self) -> FileReport:
        return FileReport(
            file=self.file,
            kind=self.kind,
            num_rows=self.num_rows,
            errors=tuple(self.errors),
            num_errors=self.num_errors,
            warnings={text: count for text, count in self.warnings.items() if count},
        )


def _kind(found: _Findings) -> Kind | None:
    """Tell from the name and the first row that says it what a file holds, or add the error that says why not."""
    broken: list[DataError] = []
    suffix = data_suffix(found.file)
    if suffix in (".csv", ".txt"):
        return "questions"
    if suffix not in (".jsonl", ".json", ".tsv"):
        found.add(
            DataError(
                f"expected a file named .jsonl, .json, .tsv, .csv or .txt (and .gz or .xz after it), found {suffix!r}; "
                "the name tells the format",
                file=found.file,
            )
        )
        return None
    try:
        if suffix == ".tsv":
            _, line = next(read_lines(found.file))
            header = {name.strip('"\r\n') for name in line.decode(errors="replace").split("\t")}
            return "passages" if {"id", "text"} <= header else "questions"
        for row in read_json_rows(found.file, broken.append):
            for name, kind in _TELLING_FIELDS.items():
                if name in row.values:
                    return kind
    except DataError as error:
        found.add(error)
        return None
    found.add(
        DataError(
            "expected passages (rows with a text) or questions (rows with a question), found no row of either kind",
            file=found.file,
        )
    )
    for error in broken:
        found.add(error)
    return None


_TELLING_FIELDS: Mapping[str, Kind] = {"question": "questions", "text": "passages"}


def _read_questions(found: _Findings) -> list[GivenQuestion]:
    """Read what can be read, without the passages that come along, whose number would fill the memory."""
    questions: list[GivenQuestion] = []
    dealt: Sequence[Question] = ()
    try:
        questions.extend(
            replace(given, passages=None, scores=None) for given in iter_questions(found.file, on_error=found.add)
        )
        dealt, _ = assign_splits(questions, seed=0)
    except DataError as error:
        found.add(DataError(error.reason, file=found.file, line=error.line, field=error.field))
    found.num_rows = len(questions)
    by_split = count_by_split(dealt)
    found.warnings["splits without a question, of which a run wants some (train, dev)"] = sum(
        not by_split[split] for split in ("train", "dev")
    )
    texts = Counter(given.question.text for given in questions)
    found.warnings["questions without an answer"] = sum(not given.question.answers for given in questions)
    found.warnings["questions whose text stands in an earlier row"] = len(questions) - len(texts)
    return questions


def _read_passages(found: _Findings, passage_ids: SeenIds, search: AnswerSearch) -> None:
    texts = SeenIds()
    try:
        for passage in iter_passages(found.file, on_error=found.add):
            found.num_rows += 1
            passage_ids.add(passage.id)
            search.look_in(passage.text)
            # A title may be what tells two passages apart.
            if not texts.add(f"{passage.title}\0{passage.text}"):
                found.warnings["passages whose title and text stand in an earlier row"] += 1
    except DataError as error:
        found.add(error)


def _compare(found: _Findings, questions: list[GivenQuestion], passage_ids: SeenIds, absent: set[str]) -> None:
    """Hold questions against the passages of all files."""
    asked = [given.question for given in questions]
    answers = {answer for question in asked for answer in question.answers}
    found.warnings["gold and near-gold ids that no passage has"] = sum(
        passage_id not in passage_ids for question in asked for passage_id in (*question.gold, *question.near_gold)
    )
    found.warnings["answers that occur in no passage"] = len(answers & absent)
    found.warnings["questions none of whose answers occurs in a passage"] = sum(
        bool(question.answers) and absent.issuperset(question.answers) for question in asked
    )
