"""Which runs stand in which table, and what the paper found there.

A row is one part of one run. The settings of a run are those of ``base.toml`` and what the row adds. Figures of the
paper: Izacard and Grave 2021, tables 1, 2, 3 and 5, NaturalQuestions and TriviaQA.
"""

from dataclasses import dataclass, field

__all__ = ["PREPARED", "TABLES", "Row", "Table"]

PREPARED = {"dpr-answer": "answer", "dpr-gold": "gold"}
"""Students trained as DPR is, before the runs: what counts as right for them. A setting may name one in braces."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table.

    Attributes:
        label: What it is.
        settings: What its run has besides ``base.toml``, as ``key=value``.
        part: Where in the run's directory its measures are.
        supervised: Whether relevance labels were looked at.
        against: The label of the line that it is compared with, where that is not the table's.
    """

    label: str
    settings: tuple[str, ...] = ()
    part: str = "round-1"
    supervised: bool = False
    against: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        title: Of what.
        rows: Its lines; the first is what others are compared with, unless ``against`` names another.
        against: The label of the line that others are compared with.
        paper: What the paper found, in Markdown.
        has_reader: Whether exact match is shown, for which each line trains a reader on what its retriever fetched.
        has_agreement: Whether it is shown how far the reader's order of its passages is from the retriever's.
    """

    title: str
    rows: tuple[Row, ...]
    paper: str
    against: str = ""
    has_reader: bool = True
    has_agreement: bool = False
    columns: tuple[str, ...] = field(default=("success@1", "success@5", "success@20", "mrr@10"))

    @property
    def reference(self) -> Row:
        """The line that others are compared with."""
        return self._labelled(self.against, otherwise=self.rows[0])

    def reference_of(self, row: Row) -> Row:
        """The line that one line is compared with; the first of its kind is compared with itself."""
        return self._labelled(row.against, otherwise=self.reference)

    def _labelled(self, label: str, *, otherwise: Row) -> Row:
        return next((row for row in self.rows if row.label == label), otherwise)


_ROUNDS = 2
_OWN_START = "an encoder made of the passages"
_UNASKED = ("retriever.model={language-model}", "retriever_training.learning_rate=2e-4")
_AMONG_OTHERS = (
    "retriever.model={language-model}",
    "retriever_training.learning_rate=5e-4",
    "retriever_training.contrastive_weight=0.5",
    "retriever_training.steps=300",
    "retriever_training.questions_per_step=32",
)
"""For a student that knows nothing of passages yet: it must tell the best one from those of other questions too."""
_STARTS = {
    "BM25": (),
    _OWN_START: ("start=dense", "start_model={language-model}", *_UNASKED),
    "DPR on answer strings": ("start=dense", "start_model={dpr-answer}", "retriever.model={dpr-answer}"),
}


def _rounds() -> tuple[Row, ...]:
    all_rounds = (f"rounds.max={_ROUNDS}", f"rounds.patience={_ROUNDS}")
    return tuple(
        Row(
            label=f"{name}, round {number}",
            settings=(*start, *all_rounds),
            part=f"round-{number}",
            against=f"{name}, round 0",
        )
        for name, start in _STARTS.items()
        for number in range(_ROUNDS + 1)
    )


_NO_ROUND = "rounds.max=0"
_MARKS = "retriever_training.teacher_temperature=0.1"
"""For marks of 0 and 1, which are nearly flat at 1 and then teach nothing but that."""
_AS_SHARP = "retriever_training.teacher_entropy=0.043"
"""That of the reference line's softmax: what is compared is what a teacher says, not how large its numbers are."""


_LEARNING_UNASKED = {
    "taught by attention (round 1)": _UNASKED,
    "taught by attention, and in-batch contrastive by half": _AMONG_OTHERS,
    "taught by gold labels, and in-batch contrastive by half": (*_AMONG_OTHERS, "teacher.kind=gold", _MARKS),
}


def _relevance(**choices: str) -> tuple[str, ...]:
    return (_AS_SHARP, *(f"relevance.{key}={value}" for key, value in choices.items()))


TABLES = {
    1: Table(
        title="Rounds, from each start",
        rows=_rounds(),
        has_agreement=True,
        paper="The paper, dev, by answer string, rounds 0 to 3 (R@20, R@100, EM). NaturalQuestions from BM25: 59.3, "
        "74.0, 41.2; 76.4, 84.3, 46.8; **80.4, 86.7, 47.9**; 80.0, 86.3, 46.2. From BERT: 4.8, 12.0, 9.8; 32.2, 45.8, "
        "16.9; 51.1, 62.6, 28.6; 67.8, 76.8, 39.3. From DPR it ends at EM 49.2. TriviaQA from BM25: 75.0, 82.3, 65.3; "
        "79.0, 85.5, 66.7; 82.1, 86.5, 67.5; 81.6, 86.6, 67.7. From BERT (R@20, EM): 4.6, 9.7; 37.1, 19.6; 60.8, "
        "43.3; 72.0, 52.0.",
    ),
    2: Table(
        title="Against what else there is",
        against="untouched MiniLM",
        has_reader=False,
        rows=(
            Row(label="BM25", settings=(_NO_ROUND,), part="round-0"),
            Row(label="TF-IDF", settings=("start=tfidf", _NO_ROUND), part="round-0"),
            Row(label="untouched MiniLM", settings=(_NO_ROUND,), part="untouched"),
            Row(label="taught by attention (round 1)"),
            Row(label="DPR on answer strings", settings=("retriever.model={dpr-answer}", _NO_ROUND), part="untouched"),
            Row(
                label="DPR on gold labels",
                settings=("retriever.model={dpr-gold}", _NO_ROUND),
                part="untouched",
                supervised=True,
            ),
            Row(label="taught by gold labels", settings=("teacher.kind=gold", _MARKS), supervised=True),
            Row(label="untouched MiniLM with BM25", settings=(_NO_ROUND,), part="hybrid/untouched"),
            Row(label="taught by attention, with BM25", part="hybrid/round-1"),
        ),
        paper="The paper, test, by answer string (R@20, R@100). NaturalQuestions: DPR 79.4, 86.0; ANCE 82.1, 87.9; "
        "distilled from BERT 68.8, 79.5, from BM25 80.0, 87.7, from DPR **84.3, 89.3**. TriviaQA, in the same order: "
        "79.4, 85.0; 80.3, 85.3; 78.4, 84.4; 81.4, 86.5; **83.6, 87.7**. EM on NaturalQuestions test from BERT, BM25,"
        " DPR: 40.0, 48.9, 50.1; not distilled 48.2.",
    ),
    3: Table(
        title="Losses",
        has_reader=False,
        rows=(
            Row(label="KL"),
            Row(label="mean squared error", settings=("retriever_training.loss=mse",)),
            *(
                Row(
                    label=f"max-margin, {margin}",
                    settings=("retriever_training.loss=max_margin", f"retriever_training.margin={margin}"),
                )
                for margin in (1.0, 0.2, 0.1)
            ),
            Row(label="cross-entropy on the teacher's best", settings=("retriever_training.loss=cross_entropy",)),
            Row(label="graded InfoNCE", settings=("retriever_training.loss=graded_infonce",)),
            Row(label="KL, and in-batch contrastive by half", settings=("retriever_training.contrastive_weight=0.5",)),
        ),
        paper="The paper, NaturalQuestions dev, R@5/R@20/R@100/EM: KL **64.7/76.4/84.3/46.8**; max-margin 1.0 "
        "60.3/73.6/82.7/45.4, 0.2 60.3/73.5/82.6/45.8, 0.1 60.2/73.5/82.6/45.1; mean squared error "
        "46.5/61.2/73.9/40.6.",
    ),
    4: Table(
        title="Aggregations of cross-attention",
        has_reader=False,
        rows=(
            Row(label="last layer, maximum over tokens (as in the other tables)"),
            Row(label="the paper's: mean over all", settings=_relevance(num_last_layers="0", over_tokens="mean")),
            Row(label="all layers, maximum over tokens", settings=_relevance(num_last_layers="0")),
            Row(label="last layer, mean over tokens", settings=_relevance(over_tokens="mean")),
            Row(label="maximum over heads", settings=_relevance(over_heads="max")),
            Row(label="passage tokens only", settings=_relevance(input_tokens="passage")),
            Row(label="all output tokens", settings=_relevance(output_tokens="generated")),
            Row(label="probability, summed", settings=_relevance(quantity="probability", over_tokens="sum")),
            Row(
                label="probability x length of value, summed",
                settings=_relevance(quantity="probability_times_value_norm", over_tokens="sum"),
            ),
        ),
        paper="The paper's own choice is the plain mean, which its Table 6 finds best; no other figure is known.",
    ),
    5: Table(
        title="Five passages cut to one",
        rows=(
            Row(label="all five that are read", settings=(_NO_ROUND,), part="round-0"),
            Row(label="the first by the retriever's score", settings=(_NO_ROUND,), part="cut/score"),
            Row(label="the first by relevance", settings=(_NO_ROUND,), part="cut/relevance"),
        ),
        paper="The paper, NaturalQuestions dev: EM 48.2 with 100 passages, 42.9 with the first ten by DPR's score, "
        "46.8 with the first ten by relevance.",
        columns=("success@1",),
    ),
    6: Table(
        title="Teachers",
        has_reader=False,
        rows=(
            Row(label="cross-attention"),
            *(
                Row(label=kind.replace("_", " "), settings=(f"teacher.kind={kind}", _AS_SHARP))
                for kind in ("perplexity", "leave_one_out", "perplexity_reduction")
            ),
            Row(label="answer string", settings=("teacher.kind=answer_string", _MARKS)),
            Row(
                label="EMDR2",
                settings=("teacher.kind=likelihood", "retriever_training.loss=emdr2"),
            ),
            Row(
                label="extractive reader's posterior",
                settings=(
                    "reader.kind=extractive",
                    "reader.model={student}",
                    "teacher.kind=passage_posterior",
                    _AS_SHARP,
                ),
            ),
            Row(label="gold labels", settings=("teacher.kind=gold", _MARKS), supervised=True),
        ),
        paper="The paper has cross-attention alone.",
    ),
    7: Table(
        title="Value of rounds, from BM25",
        rows=(
            *(row for row in _rounds() if row.label.startswith("BM25")),
            Row(label="untouched MiniLM", settings=(_NO_ROUND,), part="untouched", against="BM25, round 0"),
        ),
        has_agreement=True,
        paper="The paper, NaturalQuestions dev, against round 0: R@20 +17.1, +21.1, +20.7; EM +5.6, +6.7, +5.0: the "
        "first round gives most of the gain, and round 3 is worse than round 2.",
    ),
    8: Table(
        title="From a start that has seen no question",
        has_reader=False,
        rows=(
            Row(label=_OWN_START, settings=(*_UNASKED, _NO_ROUND), part="untouched"),
            *(
                Row(label=label, settings=settings, supervised="gold" in label)
                for label, settings in _LEARNING_UNASKED.items()
            ),
            Row(label="BM25", settings=(_NO_ROUND,), part="round-0"),
            Row(label=f"{_OWN_START}, with BM25", settings=(*_UNASKED, _NO_ROUND), part="hybrid/untouched"),
            *(
                Row(
                    label=f"{label}, with BM25",
                    settings=settings,
                    part="hybrid/round-1",
                    supervised="gold" in label,
                    against=f"{_OWN_START}, with BM25",
                )
                for label, settings in _LEARNING_UNASKED.items()
            ),
        ),
        paper="The paper, NaturalQuestions dev, from BERT, rounds 0 to 3: R@20 4.8, 32.2, 51.1, 67.8.",
    ),
}
