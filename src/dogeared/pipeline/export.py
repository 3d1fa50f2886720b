"""Writes questions with their ranked passages, the retriever's score and the reader's relevance as FiD's JSON.

FiD's own scoring puts the reader's number in the place of the retriever's. Here both are kept, each under its name, and
either may stand in the field ``score``, which is what FiD's tools read: the retriever's to train a reader, the reader's
to train a retriever.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from dogeared.data.formats import SPLITS
from dogeared.data.rankings import read_rankings, read_relevance
from dogeared.errors import ArtifactError, ConfigError
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.scoring import RANKINGS_FILE, RELEVANCE_FILE
from dogeared.records import Ranking
from dogeared.storage import replacing

__all__ = ["export_fid"]

logger = logging.getLogger(__name__)

Whose = Literal["retriever", "reader"]
"""Whose number stands in the field ``score``."""


def export_fid(
    out: Path,
    *,
    data: Path,
    ranking: Path,
    relevance: Sequence[Path] = (),
    score: Whose = "retriever",
    split: str | None = None,
) -> int:
    """Write one JSON list; it is whole or not there.

    Args:
        out: The file.
        data: The dataset.
        ranking: The ranking whose passages are written.
        relevance: What a reader said of passages of this ranking; of several artifacts, the first that speaks of a
            question counts.
        score: Whose number goes into ``score``. With ``reader``, passages without relevance are left out and counted.
        split: Write only questions of this split; all where None.

    Returns:
        The number of questions.

    Raises:
        ArtifactError: One of the artifacts is missing, or none of the relevance is about this ranking.
        ConfigError: The dataset has no questions of this split.
    """
    dataset = Dataset.open(data)
    known = [name for name in SPLITS if dataset.split(name)]
    if split is not None and split not in known:
        raise ConfigError(f"--split: expected one of the splits of {data}, which are {', '.join(known)}; got {split!r}")
    rankings = read_rankings(ranking / RANKINGS_FILE)
    said: dict[str, dict[str, float]] = {}
    for folder in relevance:
        for question_id, one in read_relevance(folder / RELEVANCE_FILE).items():
            said.setdefault(question_id, dict(zip(one.passage_ids, one.relevance, strict=True)))
    if score == "reader" and not said.keys() & rankings.keys():
        raise ArtifactError(
            f"{ranking}: expected relevance of its passages to write as their score, found none; name the artifacts of "
            "`dogeared score` made from this ranking"
        )
    questions = [question for question in dataset.questions if split in (None, question.split)]
    num_left_out = 0
    with replacing(out) as stream:
        for number, question in enumerate(questions):
            ranked = rankings.get(question.id)
            rows = [] if ranked is None else _rows(dataset, ranked, said.get(question.id, {}), score=score)
            kept = [row for row in rows if row["score"] is not None]
            num_left_out += len(rows) - len(kept)
            line: dict[str, object] = {"id": question.id, "question": question.text}
            line |= {} if question.target is None else {"target": question.target}
            line |= {"answers": question.answers, "ctxs": kept}
            stream.write(("[\n" if number == 0 else ",\n") + json.dumps(line, ensure_ascii=False))
        stream.write("\n]\n" if questions else "[]\n")
    if num_left_out:
        logger.warning("%d ranked passages have no relevance and were left out of %s", num_left_out, out)
    return len(questions)


def _rows(
    dataset: Dataset, ranked: Ranking, relevance: Mapping[str, float], *, score: Whose
) -> list[dict[str, object]]:
    rows = []
    passages = dataset.corpus.passages(dataset.corpus.rows_of(ranked.passage_ids))
    for passage, number in zip(passages, ranked.scores, strict=True):
        row: dict[str, object] = {"id": passage.id, "title": passage.title, "text": passage.text}
        row["score"] = number if score == "retriever" else relevance.get(passage.id)
        row["retriever_score"] = number
        row |= {"relevance": relevance[passage.id]} if passage.id in relevance else {}
        rows.append(row)
    return rows
