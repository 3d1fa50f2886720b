"""Formats go into each other: what comes out is what tools expect, what is lost is counted, what is bad is named."""

import contextlib
import csv
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from dogeared.cli import app
from dogeared.data.formats import iter_passages, iter_questions
from dogeared.data.trec import iter_trec_run, read_trec_judgments
from dogeared.errors import ArtifactError, ConfigError, DataError
from dogeared.exchange.convert import Sources, convert
from dogeared.exchange.formats import FORMATS
from exchange.samples import CURIE, SAMPLES, SUN, TEA, lines, write_sample

DOCUMENT = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
FILES = Path(os.environ.get("DOGEARED_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "formats"
needs_files = pytest.mark.skipif(not FILES.is_dir(), reason=f"the files of other tools are not at {FILES}")


def pairs() -> dict[tuple[str, str], bool]:
    """The table of pairs in the document: from, to, and whether it goes."""
    table = re.search(r"^\| from \\ to \|.*?\n\n", DOCUMENT, flags=re.DOTALL | re.MULTILINE)
    assert table is not None
    head, _, *rows = (
        [cell.strip(" `") for cell in row.strip("|").split("|")] for row in table.group().strip().splitlines()
    )
    return {(row[0], to): cell == "yes" for row in rows for to, cell in zip(head[1:], row[1:], strict=True)}


PAIRS = pairs()


def converted(tmp_path, source, target, **options):
    questions, passages = write_sample(source, tmp_path / "in")
    options.setdefault("skip_bad_rows", False)
    done = convert(
        tmp_path / "out", Sources(questions=questions, passages=passages), source=source, target=target, **options
    )
    return done, tmp_path / "out"


def rows(file):
    text = file.read_text(encoding="utf-8")
    return json.loads(text) if file.suffix == ".json" else [json.loads(line) for line in text.splitlines()]


def test_the_document_lists_every_pair():
    assert set(PAIRS) == {(a, b) for a in SAMPLES for b, one in FORMATS.items() if one.write is not None}
    assert set(SAMPLES) == {name for name, one in FORMATS.items() if one.questions or one.passages}


def test_the_document_says_what_each_format_carries():
    table = re.search(r"^\| format \| passages \|.*?\n\n", DOCUMENT, flags=re.DOTALL | re.MULTILINE)
    assert table is not None
    head, _, *found = (
        [cell.strip(" `") for cell in row[1:-1].split("|")] for row in table.group().strip().splitlines()
    )
    said = {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in found}
    assert said.keys() == {name for name, one in FORMATS.items() if one.write is not None}
    for name, parts in said.items():
        assert {part for part, cell in parts.items() if cell == "yes"} == FORMATS[name].carries - {"questions"}
        assert (parts["passages"] == "named") == FORMATS[name].names_passages


@pytest.mark.parametrize(("source", "target"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_every_pair_does_what_the_document_says(tmp_path, source, target):
    if not PAIRS[source, target]:
        with pytest.raises(DataError, match="needs"):
            converted(tmp_path, source, target)
        assert [file.name for file in tmp_path.iterdir()] == ["in"]
        return
    done, out = converted(tmp_path, source, target)
    assert done.files
    assert {*done.files, "manifest.json"} == {f.relative_to(out).as_posix() for f in out.rglob("*") if f.is_file()}
    kind = FORMATS[target]
    if kind.questions is None or not done.num_questions or target == "kilt":
        return
    # What was written is read back by the same format, as many as were not left out.
    splits = [
        name for name in done.files if Path(name).stem in ("train", "dev", "test", "questions") and "qrels" not in name
    ]
    questions = [str(out)] if target == "beir" else [str(out / name) for name in splits]
    passages = next((str(out / name) for name in done.files if Path(name).stem in ("passages", "corpus")), None)
    again = convert(
        tmp_path / "again",
        Sources(questions=questions, passages=None if target == "beir" else passages),
        source=target,
        target="jsonl",
        skip_bad_rows=False,
    )
    left_out = sum(n for note, n in done.notes.items() if note.startswith("questions without a gold passage"))
    if target == "beir" and not any("qrels" in name for name in done.files):
        left_out = 0
    assert again.num_questions == done.num_questions - left_out
    texts = {one.question.text for one in iter_questions(tmp_path / "again" / "questions.jsonl")}
    assert texts & {"Where was she born?", "Where, when?"}


def test_what_reads_and_writes_all_parts_loses_nothing(tmp_path):
    done, out = converted(tmp_path, "jsonl", "jsonl")
    assert done.notes == {}
    assert list(iter_questions(out / "questions.jsonl")) == list(iter_questions(tmp_path / "in" / "q.jsonl"))
    assert list(iter_passages(out / "passages.jsonl")) == list(iter_passages(tmp_path / "in" / "p.jsonl"))


def test_fid_is_written_as_its_tools_read_it(tmp_path):
    done, out = converted(tmp_path, "jsonl", "fid")
    ranked = [
        {"id": "p1", "title": "Curie", "text": CURIE, "score": 2.5},
        {"id": "p3", "title": "Sun", "text": SUN, "score": 1.0},
    ]
    answers = ["Warsaw", "Warszawa"]
    assert rows(out / "train.json") == [
        {"id": "7", "question": "Where was she born?", "target": "Warsaw", "answers": answers, "ctxs": ranked}
    ]
    assert rows(out / "dev.json") == [{"id": "q2", "question": "What is tea?", "answers": ["drink"], "ctxs": []}]
    assert done.notes == {"gold that fid has no place for": 2, "near-gold that fid has no place for": 1}


def test_passages_are_written_as_dprs_table(tmp_path):
    _, out = converted(tmp_path, "jsonl", "psgs")
    with (out / "passages.tsv").open(encoding="utf-8", newline="") as stream:
        assert list(csv.reader(stream, delimiter="\t")) == [
            ["id", "text", "title"],
            ["p1", CURIE, "Curie"],
            ["p2", TEA, ""],
            ["p3", SUN, "Sun"],
        ]


def test_questions_are_written_as_dprs_table(tmp_path):
    done, out = converted(tmp_path, "dpr-qa", "dpr-qa")
    with (out / "questions.tsv").open(encoding="utf-8", newline="") as stream:
        assert list(csv.reader(stream, delimiter="\t")) == [
            ["Where was she born?", "['Warsaw', \"O'Hara\"]"],
            ["What is tea?", "['drink']"],
        ]
    assert done.notes == {"question ids that dpr-qa has no place for": 2}


def test_dprs_training_file_keeps_positives_and_negatives(tmp_path):
    _, out = converted(tmp_path, "dpr-train", "dpr-train")
    (row,) = rows(out / "questions.json")
    assert [one["passage_id"] for one in row["positive_ctxs"]] == ["p1"]
    assert [one["passage_id"] for one in row["hard_negative_ctxs"]] == ["p3", "2"]
    assert row["positive_ctxs"][0] == {"title": "Curie", "text": CURIE, "passage_id": "p1"}


def test_negatives_are_the_ranked_passages_that_are_not_gold(tmp_path):
    questions = lines({"id": "1", "question": "Q?", "gold": ["b"], "near_gold": ["d"]})
    (tmp_path / "q.jsonl").write_text(questions)
    (tmp_path / "p.jsonl").write_text(lines(*({"id": name, "text": f"text {name}"} for name in "abcd")))
    (tmp_path / "run.trec").write_text("".join(f"1 Q0 {name} 0 {9 - n} x\n" for n, name in enumerate("abcd")))
    sources = Sources(
        questions=[str(tmp_path / "q.jsonl")], passages=str(tmp_path / "p.jsonl"), ranking=tmp_path / "run.trec"
    )
    convert(tmp_path / "out", sources, source="jsonl", target="flag", skip_bad_rows=False)
    assert rows(tmp_path / "out" / "questions.jsonl") == [
        {"query": "Q?", "pos": ["text b"], "neg": ["text a", "text c"], "pos_scores": [8.0], "neg_scores": [9.0, 7.0]}
    ]


def test_kilt_names_paragraphs_and_gets_them_back(tmp_path):
    _, out = converted(tmp_path, "kilt", "kilt")
    assert rows(out / "questions.jsonl") == [
        {
            "id": "k1",
            "input": "Where was she born?",
            "output": [
                {"answer": "Warsaw"},
                {"provenance": [{"wikipedia_id": "10", "start_paragraph_id": 1, "end_paragraph_id": 1}]},
            ],
        }
    ]


@pytest.mark.parametrize("name", ["doc/01", "\uff17/\uff13", "7/\uff13", "whole", "/3", "doc/1000000"])
def test_a_gold_passage_that_kilt_would_rename_is_written_as_a_page_and_counted(tmp_path, name):
    """01 and a full-width 3 would be read back as other ids, and paragraphs from a million on not at all."""
    (tmp_path / "q.jsonl").write_text(lines({"id": "1", "question": "Q?", "gold": [name, "a/b/0", "doc/10"]}))
    sources = Sources(questions=[str(tmp_path / "q.jsonl")])
    done = convert(tmp_path / "out", sources, source="jsonl", target="kilt", skip_bad_rows=False)
    ((written,),) = [row["output"] for row in rows(tmp_path / "out" / "questions.jsonl")]
    assert written["provenance"] == [
        {"wikipedia_id": name},
        {"wikipedia_id": "a/b", "start_paragraph_id": 0, "end_paragraph_id": 0},
        {"wikipedia_id": "doc", "start_paragraph_id": 10, "end_paragraph_id": 10},
    ]
    assert done.notes == {"gold passages that are not named PAGE/PARAGRAPH, which are pages now": 1}
    again = Sources(questions=[str(tmp_path / "out" / "questions.jsonl")])
    convert(tmp_path / "again", again, source="kilt", target="jsonl", skip_bad_rows=False)
    (one,) = iter_questions(tmp_path / "again" / "questions.jsonl")
    assert one.question.gold == ("a/b/0", "doc/10")


def test_kilts_knowledge_source_becomes_paragraphs(tmp_path):
    _, out = converted(tmp_path, "kilt", "jsonl")
    assert [(p.id, p.title, p.text) for p in iter_passages(out / "passages.jsonl")] == [
        ("10/0", "Curie", "Curie"),
        ("10/1", "Curie", CURIE),
        ("11/0", "Tea", "Tea"),
        ("11/2", "Tea", TEA),
    ]


def test_beir_is_written_with_judgments_by_split_and_answers_in_metadata(tmp_path):
    done, out = converted(tmp_path, "jsonl", "beir")
    assert (out / "qrels" / "train.tsv").read_text() == "query-id\tcorpus-id\tscore\n7\tp1\t1\n"
    assert (out / "qrels" / "dev.tsv").read_text() == "query-id\tcorpus-id\tscore\nq2\tp2\t1\n"
    assert rows(out / "queries.jsonl")[1] == {"_id": "q2", "text": "What is tea?", "metadata": {"answers": ["drink"]}}
    assert rows(out / "corpus.jsonl")[1] == {"_id": "p2", "title": "", "text": TEA, "metadata": {}}
    assert done.notes["near-gold that beir has no place for"] == 1


def test_ids_with_quotation_marks_are_judged_in_beir_and_read_back(tmp_path):
    (tmp_path / "q.jsonl").write_text(lines({"id": '"2', "question": "Q?", "split": "dev", "gold": ['"x', 'a"b']}))
    (tmp_path / "p.jsonl").write_text(lines({"id": '"x', "text": "one"}, {"id": 'a"b', "text": "two"}))
    sources = Sources(questions=[str(tmp_path / "q.jsonl")], passages=str(tmp_path / "p.jsonl"))
    convert(tmp_path / "beir", sources, source="jsonl", target="beir", skip_bad_rows=False)
    with (tmp_path / "beir" / "qrels" / "dev.tsv").open(encoding="utf-8", newline="") as stream:
        # As BEIR's own loader opens it.
        found = list(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_MINIMAL))
    assert found == [["query-id", "corpus-id", "score"], ['"2', '"x', "1"], ['"2', 'a"b', "1"]]
    again = Sources(questions=[str(tmp_path / "beir")])
    convert(tmp_path / "again", again, source="beir", target="jsonl", skip_bad_rows=False)
    (one,) = iter_questions(tmp_path / "again" / "questions.jsonl")
    assert (one.question.id, one.question.gold, one.question.split) == ('"2', ('"x', 'a"b'), "dev")


def test_beir_is_read_with_splits_gold_and_what_nobody_judges_counted(tmp_path):
    done, out = converted(tmp_path, "beir", "jsonl")
    found = {one.question.id: one.question for one in iter_questions(out / "questions.jsonl")}
    assert {name: (one.split, one.gold, one.answers) for name, one in found.items()} == {
        "b1": ("train", ("p1",), ("Warsaw",)),
        "b2": ("test", ("p2",), ()),
    }
    assert done.notes == {"queries that no split judges": 1}


def test_squad_says_where_answers_begin_and_counts_those_that_do_not_stand_there(tmp_path):
    done, out = converted(tmp_path, "jsonl", "squad")
    article = rows(out / "train.json")["data"][0]
    (question,) = article["paragraphs"][0]["qas"]
    assert (article["title"], article["paragraphs"][0]["context"]) == ("Curie", CURIE)
    assert [(one["text"], one["answer_start"]) for one in question["answers"]] == [("Warsaw", CURIE.index("Warsaw"))]
    assert done.notes["answers that do not stand in the gold passage"] == 1
    assert done.notes["passages that squad has no place for"] == 1


def test_squads_impossible_question_has_no_answer_and_no_gold(tmp_path):
    _, out = converted(tmp_path, "squad", "jsonl")
    found = [one.question for one in iter_questions(out / "questions.jsonl")]
    assert [(one.id, one.answers, len(one.gold)) for one in found] == [("s1", ("Warsaw",), 1), ("s2", (), 0)]


def test_annotated_passages_are_no_ranking(tmp_path):
    """Else a run that starts from given rankings would start from the truth."""
    for source in ("squad", "hotpotqa", "musique", "dpr-train"):
        _, out = converted(tmp_path / source, source, "jsonl")
        assert all(one.passages is None for one in iter_questions(out / "questions.jsonl"))


def test_flashrag_puts_the_title_on_the_first_line(tmp_path):
    _, out = converted(tmp_path, "jsonl", "flashrag")
    assert rows(out / "corpus.jsonl")[:2] == [
        {"id": "p1", "contents": f"Curie\n{CURIE}"},
        {"id": "p2", "contents": f"\n{TEA}"},
    ]
    assert rows(out / "dev.jsonl") == [
        {"id": "q2", "question": "What is tea?", "golden_answers": ["drink"], "metadata": {}}
    ]


def test_flashrag_keeps_titles_but_for_the_line_breaks_that_it_counts(tmp_path):
    titles = ["a\nb", "c\r\nd", "e\x0bf\u2028g", "h\ri", "plain"]
    passages = ({"id": str(number), "title": title, "text": "x"} for number, title in enumerate(titles))
    (tmp_path / "p.jsonl").write_text(lines(*passages), encoding="utf-8")
    sources = Sources(passages=str(tmp_path / "p.jsonl"))
    done = convert(tmp_path / "out", sources, source="jsonl", target="flashrag", skip_bad_rows=False)
    assert done.notes == {"line breaks in titles, which are blanks now": 2}
    again = Sources(passages=str(tmp_path / "out" / "corpus.jsonl"))
    convert(tmp_path / "again", again, source="flashrag", target="jsonl", skip_bad_rows=False)
    found = [one.title for one in iter_passages(tmp_path / "again" / "passages.jsonl")]
    assert found == ["a b", "c d", *titles[2:]]


def test_flashrag_gives_titles_and_texts_back(tmp_path):
    _, out = converted(tmp_path, "flashrag", "jsonl")
    found = [(p.title, p.text) for p in iter_passages(out / "passages.jsonl")]
    assert found == [("Curie", CURIE), ("", TEA), ("", SUN)]


def test_what_flashrag_found_is_the_ranking(tmp_path):
    _, out = converted(tmp_path, "flashrag", "jsonl")
    (given,) = iter_questions(out / "questions.jsonl")
    assert [(one.id, one.title, one.text) for one in given.passages] == [("0", "Curie", CURIE), ("2", "", SUN)]
    assert given.scores == (12.5, 3.0)
    _, again = converted(tmp_path / "trec", "flashrag", "trec")
    (ranking,) = iter_trec_run(again / "run.trec")
    assert (ranking.question_id, ranking.passage_ids) == ("f1", ("0", "2"))


@pytest.mark.parametrize("where", ["output", "beside"])
def test_flashrags_saved_list_is_read_without_scores_ids_or_corpus(tmp_path, where):
    """As ``Dataset.save`` writes it, from an index that holds the texts but not the ids."""
    found = [{"title": "Sun", "text": SUN, "contents": f"Sun\n{SUN}"}, {"title": "", "text": TEA, "contents": TEA}]
    saved = {"retrieval_result": found}
    row = {"id": "f1", "question": "Q?", "golden_answers": ["a"]} | ({"output": saved} if where == "output" else saved)
    (tmp_path / "intermediate_data.json").write_text(json.dumps([row], indent=4))
    sources = Sources(questions=[str(tmp_path / "intermediate_data.json")])
    convert(tmp_path / "out", sources, source="flashrag", target="jsonl", skip_bad_rows=False)
    (given,) = iter_questions(tmp_path / "out" / "questions.jsonl")
    assert [(one.title, one.text) for one in given.passages] == [("Sun", SUN), ("", TEA)]
    assert given.scores is None
    assert {one.text for one in iter_passages(tmp_path / "out" / "passages.jsonl")} == {SUN, TEA}


def test_a_ranking_is_written_where_flashrag_looks_for_it(tmp_path):
    _, out = converted(tmp_path, "jsonl", "flashrag")
    (row,) = rows(out / "train.jsonl")
    assert row["output"] == {
        "retrieval_result": [
            {"id": "p1", "contents": f"Curie\n{CURIE}", "score": 2.5},
            {"id": "p3", "contents": f"Sun\n{SUN}", "score": 1.0},
        ]
    }


def beir_folder(tmp_path, **splits):
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(lines({"_id": "p1", "title": "", "text": TEA}))
    (folder / "queries.jsonl").write_text(lines(*({"_id": name, "text": f"{name}?"} for name in splits)))
    for question, split in splits.items():
        (folder / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{question}\tp1\t1\n")
    return folder


def beir_splits(tmp_path, folder, **options):
    convert(
        tmp_path / "out",
        Sources(questions=[str(folder)], **options),
        source="beir",
        target="jsonl",
        skip_bad_rows=False,
    )
    return {one.question.id: one.question.split for one in iter_questions(tmp_path / "out" / "questions.jsonl")}


@pytest.mark.parametrize("name", ["validation", "valid", "val"])
def test_beirs_other_names_of_dev_are_read(tmp_path, name):
    assert beir_splits(tmp_path, beir_folder(tmp_path, a=name, b="test")) == {"a": "dev", "b": "test"}


def test_a_split_of_beir_with_another_name_is_what_is_said(tmp_path):
    folder = beir_folder(tmp_path, a="heldout", b="fold-1", c="fold-2", d="test")
    splits = {"heldout": "test", "fold-1": "train", "fold-2": "train", "test": "dev"}
    assert beir_splits(tmp_path, folder, splits=splits) == {"a": "test", "b": "train", "c": "train", "d": "dev"}


def test_a_split_of_beir_that_is_none_of_ours_is_refused_with_what_to_do(tmp_path):
    folder = beir_folder(tmp_path, a="heldout")
    with pytest.raises(DataError, match=r"qrels/heldout\.tsv: split: .*found 'heldout'.*--split test=heldout"):
        beir_splits(tmp_path, folder)
    with pytest.raises(ConfigError, match=r"--split: expected train, dev, test before the =, got dev2"):
        beir_splits(tmp_path, folder, splits={"heldout": "dev2"})


def test_a_split_is_renamed_on_the_command_line_in_tables_too(tmp_path):
    (tmp_path / "q.csv").write_text("question,answer,split\nWho?,Anna,validation\nWhen?,Now,later\n")
    options = ["convert", "--from", "csv", "--to", "jsonl", "--questions", str(tmp_path / "q.csv")]
    done = CliRunner().invoke(app, [*options, "--out", str(tmp_path / "out"), "--split", "test=later"])
    assert done.exit_code == 0, done.output
    found = [one.question.split for one in iter_questions(tmp_path / "out" / "questions.jsonl")]
    assert found == ["dev", "test"]
    wrong = CliRunner().invoke(app, [*options, "--out", str(tmp_path / "no"), "--split", "test"])
    assert "--split: expected OURS=THEIRS, such as dev=heldout, got 'test'" in " ".join(wrong.output.split())


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--split", "test=heldout", "--split: expected questions in one of the formats beir, csv, parquet, hf, whose"),
        ("--column", "question=query", "--column: expected one of the formats csv, parquet, hf, whose columns may"),
    ],
)
def test_a_name_that_no_reader_would_look_at_is_refused(tmp_path, option, value, reason):
    (tmp_path / "q.jsonl").write_text(lines({"id": "1", "question": "Who?", "answers": ["x"]}))
    options = ["convert", "--from", "jsonl", "--to", "jsonl", "--questions", str(tmp_path / "q.jsonl")]
    done = CliRunner().invoke(app, [*options, "--out", str(tmp_path / "out"), option, value])
    assert done.exit_code == 2
    assert reason in " ".join(done.output.split())
    assert [file.name for file in tmp_path.iterdir()] == ["q.jsonl"]


def test_columns_of_a_table_of_passages_are_renamed_beside_questions_that_have_none(tmp_path):
    (tmp_path / "q.jsonl").write_text(lines({"id": "1", "question": "Who?", "answers": ["x"]}))
    (tmp_path / "p.csv").write_text("id,body\np1,A text\n")
    sources = Sources(questions=[str(tmp_path / "q.jsonl")], passages=str(tmp_path / "p.csv"), columns={"text": "body"})
    convert(tmp_path / "out", sources, source="jsonl", target="jsonl", passages_source="csv", skip_bad_rows=False)
    assert [one.text for one in iter_passages(tmp_path / "out" / "passages.jsonl")] == ["A text"]


def test_a_section_of_atlas_becomes_part_of_the_title(tmp_path):
    _, out = converted(tmp_path, "atlas", "jsonl")
    assert next(iter_passages(out / "passages.jsonl")).title == "Curie: Life"


def test_trec_writes_rankings_and_judgments(tmp_path):
    done, out = converted(tmp_path, "jsonl", "trec")
    (ranking,) = iter_trec_run(out / "run.trec")
    assert (ranking.question_id, ranking.passage_ids, ranking.scores) == ("7", ("p1", "p3"), (2.5, 1.0))
    assert read_trec_judgments(out / "qrels.txt") == {"7": {"p1": 1.0}, "q2": {"p2": 1.0}}
    assert done.notes["texts of questions that trec has no place for"] == 2
    assert done.notes["passages that trec has no place for"] == 3


def test_judgments_of_trec_become_gold(tmp_path):
    (tmp_path / "q.jsonl").write_text(
        lines({"id": "1", "question": "Q?", "gold": ["z"]}, {"id": "2", "question": "R?"})
    )
    (tmp_path / "qrels").write_text("1 0 a 1\n1 0 b 0\n1 0 c 2\n9 0 a 1\n")
    sources = Sources(questions=[str(tmp_path / "q.jsonl")], judgments=tmp_path / "qrels")
    done = convert(tmp_path / "out", sources, source="jsonl", target="jsonl", skip_bad_rows=False)
    assert [one.question.gold for one in iter_questions(tmp_path / "out" / "questions.jsonl")] == [("a", "c"), ()]
    assert done.notes == {"judgments of questions that are not there": 1}


def test_parquet_opens_in_the_hubs_library_and_is_read_as_a_dataset(tmp_path):
    _, out = converted(tmp_path, "jsonl", "parquet")
    sources = Sources(questions=[str(out / "questions.parquet")], passages=str(out / "passages.parquet"))
    convert(tmp_path / "again", sources, source="parquet", target="jsonl", skip_bad_rows=False)
    found = [one.question for one in iter_questions(tmp_path / "again" / "questions.jsonl")]
    assert found == [one.question for one in iter_questions(tmp_path / "in" / "q.jsonl")]
    (out / "passages.parquet").rename(tmp_path / "passages.parquet")
    (out / "manifest.json").unlink()
    convert(tmp_path / "hub", Sources(questions=[str(out)]), source="hf", target="jsonl", skip_bad_rows=False)
    assert [one.question for one in iter_questions(tmp_path / "hub" / "questions.jsonl")] == found


@pytest.mark.parametrize(
    ("name", "options", "split"),
    [
        ("test", {}, "test"),
        ("validation", {}, "dev"),
        ("train", {}, None),
        ("corpus", {}, None),
        ("train", {"train": "test"}, "test"),
        ("heldout", {"heldout": "dev"}, "dev"),
    ],
)
def test_the_only_split_of_a_dataset_is_kept_where_it_says_something(tmp_path, name, options, split):
    datasets = pytest.importorskip("datasets")
    rows_ = datasets.Dataset.from_list([{"question": "Who?", "answers": ["x"]}])
    datasets.DatasetDict({name: rows_}).save_to_disk(tmp_path / "saved")
    sources = Sources(questions=[str(tmp_path / "saved")], splits=options)
    convert(tmp_path / "out", sources, source="hf", target="jsonl", skip_bad_rows=False)
    (row,) = rows(tmp_path / "out" / "questions.jsonl")
    assert row.get("split") == split


def test_a_dataset_without_ids_numbers_its_rows_through_all_splits(tmp_path):
    datasets = pytest.importorskip("datasets")
    made = {
        name: datasets.Dataset.from_list([{"question": f"Who is {name}?", "answers": ["x"]}] * 2)
        for name in ("train", "test")
    }
    datasets.DatasetDict(made).save_to_disk(tmp_path / "saved")
    sources = Sources(questions=[str(tmp_path / "saved")])
    convert(tmp_path / "out", sources, source="hf", target="jsonl", skip_bad_rows=False)
    found = [(one.question.id, one.question.split) for one in iter_questions(tmp_path / "out" / "questions.jsonl")]
    assert found == [("0", "train"), ("1", "train"), ("2", "test"), ("3", "test")]


@pytest.mark.parametrize("cell", ["[3.10, 1e3, -0.50]", "[3.10, 1e3, -0.50,]"], ids=["JSON", "Python"])
def test_numbers_in_a_cell_keep_the_way_they_were_written(tmp_path, cell):
    (tmp_path / "q.csv").write_text(f'id,question,answers\n1,How much?,"{cell}"\n')
    sources = Sources(questions=[str(tmp_path / "q.csv")])
    convert(tmp_path / "out", sources, source="csv", target="jsonl", skip_bad_rows=False)
    (one,) = iter_questions(tmp_path / "out" / "questions.jsonl")
    assert one.question.answers == ("3.10", "1e3", "-0.50")


@pytest.mark.parametrize(("target", "file"), [("csv", "passages.csv"), ("psgs", "passages.tsv")])
def test_a_passage_of_megabytes_goes_through_a_table(tmp_path, target, file):
    text = "word " * 1_000_000
    (tmp_path / "p.jsonl").write_text(lines({"id": "p1", "text": text}, {"id": "p2", "text": "short"}))
    sources = Sources(passages=str(tmp_path / "p.jsonl"))
    convert(tmp_path / "table", sources, source="jsonl", target=target, skip_bad_rows=False)
    again = Sources(passages=str(tmp_path / "table" / file))
    convert(tmp_path / "again", again, source=target, target="jsonl", skip_bad_rows=False)
    assert [one.text for one in iter_passages(tmp_path / "again" / "passages.jsonl")] == [text, "short"]


def test_a_column_may_have_another_name(tmp_path):
    (tmp_path / "q.csv").write_text("query,response\nWho?,Anna\n")
    sources = Sources(questions=[str(tmp_path / "q.csv")], columns={"question": "query", "answer": "response"})
    convert(tmp_path / "out", sources, source="csv", target="jsonl", skip_bad_rows=False)
    (one,) = iter_questions(tmp_path / "out" / "questions.jsonl")
    assert (one.question.text, one.question.answers) == ("Who?", ("Anna",))


def test_files_of_splits_and_of_formats_without_ids_go_together(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).with_suffix(".tsv").write_text(f"Who is {name}?\t['{name}']\n")
    sources = Sources(questions=[f"train={tmp_path / 'a.tsv'}", f"test={tmp_path / 'b.tsv'}"])
    convert(tmp_path / "out", sources, source="dpr-qa", target="jsonl", skip_bad_rows=False)
    found = [one.question for one in iter_questions(tmp_path / "out" / "questions.jsonl")]
    assert [(one.id, one.split) for one in found] == [("train-0", "train"), ("test-0", "test")]


def parquet_question(path, name):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([{"question": f"Who is {name}?", "answers": [name]}]), path)


WITHOUT_IDS = {
    "jsonl": (".tsv", "{question}\t['x']\n"),
    "dpr-qa": (".tsv", "{question}\t['x']\n"),
    "fid": (".json", '[{{"question": "{question}", "ctxs": [{{"id": "1", "text": "t"}}]}}]'),
    "dpr-train": (".json", '[{{"question": "{question}", "positive_ctxs": [{{"text": "t"}}]}}]'),
    "atlas": (".jsonl", '{{"question": "{question}"}}'),
    "flashrag": (".jsonl", '{{"question": "{question}"}}'),
    "flag": (".jsonl", '{{"query": "{question}", "pos": ["t"], "neg": []}}'),
    "hotpotqa": (".json", '[{{"question": "{question}", "context": [["T", ["t"]]]}}]'),
    "musique": (".jsonl", '{{"question": "{question}", "paragraphs": [{{"paragraph_text": "t"}}]}}'),
    "csv": (".csv", "question,answer\n{question},x\n"),
    "parquet": (".parquet", parquet_question),
}


@pytest.mark.parametrize("source", WITHOUT_IDS)
def test_rows_without_ids_in_several_files_are_told_apart_by_their_files(tmp_path, source):
    suffix, content = WITHOUT_IDS[source]
    for name in ("a", "b", "c"):
        path = (tmp_path / name).with_suffix(suffix)
        if callable(content):
            content(path, name)
        else:
            path.write_text(content.format(question=f"Who is {name}?"))

    def ids(out, *named):
        sources = Sources(questions=[f"{split}{tmp_path / name}{suffix}" for split, name in named])
        done = convert(tmp_path / out, sources, source=source, target="jsonl", skip_bad_rows=True)
        assert not done.skipped
        return [one.question.id for one in iter_questions(tmp_path / out / "questions.jsonl")]

    assert ids("one", ("train=", "a")) == ["0"]
    assert ids("splits", ("train=", "a"), ("dev=", "b")) == ["train-0", "dev-0"]
    assert ids("stems", ("", "a"), ("", "b")) == ["a-0", "b-0"]
    assert ids("both", ("train=", "a"), ("train=", "b"), ("dev=", "c")) == ["train-a-0", "train-b-0", "dev-c-0"]


def test_files_of_one_split_and_one_name_are_told_apart_by_their_number(tmp_path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "q.tsv").write_text(f"Who is {name}?\t['{name}']\n")
    named = [f"train={tmp_path / name / 'q.tsv'}" for name in ("x", "y")]
    convert(tmp_path / "out", Sources(questions=named), source="dpr-qa", target="jsonl", skip_bad_rows=False)
    found = [one.question.id for one in iter_questions(tmp_path / "out" / "questions.jsonl")]
    assert found == ["train-q-1-0", "train-q-2-0"]
    again = Sources(questions=[named[0], named[0].replace("train=", "dev=")])
    with pytest.raises(ConfigError, match=r"--questions: expected each file once, got .*q\.tsv again; name it once"):
        convert(tmp_path / "again", again, source="dpr-qa", target="jsonl", skip_bad_rows=False)


def test_ids_that_files_give_stay_as_they_are_and_may_not_meet(tmp_path):
    for name, row in {"a": {"id": "1"}, "b": {}, "c": {"id": "1"}}.items():
        (tmp_path / name).write_text(lines({"question": f"Who is {name}?", **row}))
    named = {name: f"train={tmp_path / name}" for name in "abc"}
    sources = Sources(questions=[named["a"], named["b"]])
    convert(tmp_path / "out", sources, source="atlas", target="jsonl", skip_bad_rows=False)
    found = [one.question.id for one in iter_questions(tmp_path / "out" / "questions.jsonl")]
    assert found == ["1", "train-b-0"]
    with pytest.raises(DataError, match="expected each id once, found '1' in two files; give one of the questions"):
        sources = Sources(questions=[named["a"], named["c"]])
        convert(tmp_path / "again", sources, source="atlas", target="jsonl", skip_bad_rows=False)


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev"])
def test_a_file_is_put_into_dev_by_its_other_names_too(tmp_path, name):
    (tmp_path / "q.jsonl").write_text(lines({"id": "1", "question": "Who?"}))
    sources = Sources(questions=[f"{name}={tmp_path / 'q.jsonl'}"])
    convert(tmp_path / "out", sources, source="atlas", target="jsonl", skip_bad_rows=False)
    (one,) = iter_questions(tmp_path / "out" / "questions.jsonl")
    assert (one.question.split, one.split_given) == ("dev", True)


# ---- what is bad

BAD = [
    (
        "dpr-train",
        '[{"question": "Q?", "positive_ctxs": [{"title": "", "text": ""}]}]',
        "[0].positive_ctxs[0].text",
        "blanks",
    ),
    (
        "dpr-train",
        '[{"question": "Q?", "positive_ctxs": [{"passage_id": 1, "text": "a"}], '
        '"negative_ctxs": [{"passage_id": 1, "text": "a"}]}]',
        "[0].negative_ctxs[0]",
        "positive too",
    ),
    ("kilt", '{"id": 1, "input": 5, "output": []}', "input", "expected text"),
    (
        "kilt",
        '{"id": 1, "input": "Q", "output": [{"provenance": [{"title": "x"}]}]}',
        "output[0].provenance[0].wikipedia_id",
        "id",
    ),
    (
        "kilt",
        '{"id": 1, "input": "Q", "output": [{"provenance": [{"wikipedia_id": 1, "start_paragraph_id": -1}]}]}',
        "output[0].provenance[0].start_paragraph_id",
        "number of a paragraph",
    ),
    ("flashrag", '{"id": "a\\tb", "question": "Q"}', "id", "tabs"),
    ("flashrag", '{"id": "a", "question": "Q", "golden_answers": "x"}', "golden_answers", "expected a list"),
    (
        "flashrag",
        '{"id": "a", "question": "Q", "output": {"retrieval_result": [{"id": "p", "contents": 5}]}}',
        "output.retrieval_result[0].contents",
        "expected text",
    ),
    (
        "flashrag",
        '{"id": "a", "question": "Q", "output": {"retrieval_result": '
        '[{"id": "p", "text": "x", "score": 1}, {"id": "r", "text": "y"}]}}',
        "retrieval_result",
        "or none of them",
    ),
    ("flag", '{"query": "Q", "pos": ["a"], "neg": [], "pos_scores": [NaN]}', "pos_scores[0]", "finite"),
    ("flag", '{"query": "Q", "pos": ["a"], "neg": [], "pos_scores": [1, 2]}', "pos_scores", "one score"),
    ("flag", '{"query": "Q", "pos": ["a"], "neg": ["a"]}', "neg", "once"),
    ("atlas", '{"question": "Q", "passages": [{"text": "a\\u0000"}]}', "passages[0].text", "NUL"),
    (
        "squad",
        '{"data": [{"title": "T", "paragraphs": [{"context": "c", "qas": [{"id": 1}]}]}]}',
        "data[0].paragraphs[0].qas[0].question",
        "expected text",
    ),
    ("squad", '{"data": [{"title": "T", "paragraphs": 3}]}', "data[0].paragraphs", "expected a list"),
    ("hotpotqa", '[{"_id": "1", "question": "Q", "context": [["T"]]}]', "[0].context[0]", "list of sentences"),
    (
        "hotpotqa",
        '[{"_id": "1", "question": "Q", "context": [["T", ["s"]]], "supporting_facts": [[["U"], 0]]}]',
        "[0].supporting_facts[0]",
        "expected a title",
    ),
    (
        "musique",
        '{"id": "1", "question": "Q", "paragraphs": [{"paragraph_text": "\\ud800"}]}',
        "paragraphs[0].paragraph_text",
        "surrogate",
    ),
    ("csv", "id,question,answers\n1,Q,not a list\n", "answers", "expected a list"),
    ("csv", "id,question\n1,Q,more\n", None, "expected 2 fields"),
]


@pytest.mark.parametrize(("source", "content", "field", "reason"), BAD)
def test_a_bad_row_is_named_with_its_place_raised_or_left_out(tmp_path, source, content, field, reason):
    path = tmp_path / "bad.jsonl"
    path.write_text(content, encoding="utf-8")
    sources = Sources(questions=[str(path)])
    with pytest.raises(DataError, match=re.escape(reason)) as raised:
        convert(tmp_path / "out", sources, source=source, target="jsonl", skip_bad_rows=False)
    assert (raised.value.file, raised.value.field) == (str(path), field)
    assert raised.value.line is not None
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="needs"):
        convert(tmp_path / "out", sources, source=source, target="jsonl", skip_bad_rows=True)


@pytest.mark.parametrize(
    ("source", "good"),
    [
        ("kilt", '{"id": 1, "input": "Q"}'),
        ("flashrag", '{"id": 1, "question": "Q"}'),
        ("musique", '{"id": 1, "question": "Q", "paragraphs": []}'),
        ("atlas", '{"id": 1, "question": "Q"}'),
    ],
)
@pytest.mark.parametrize("bad", ['{"id": 1', '{"id": 1}', "[]", '"text"', '{"id": NaN}', '{"id": " "}', b"\xff"])
def test_bad_lines_are_counted_and_good_ones_kept(tmp_path, source, good, bad):
    path = tmp_path / "q.jsonl"
    other = good.replace('"id": 1', '"id": 2')
    path.write_bytes(
        b"\n".join(line if isinstance(line, bytes) else line.encode() for line in (good, bad, other, good))
    )
    done = convert(tmp_path / "out", Sources(questions=[str(path)]), source=source, target="jsonl", skip_bad_rows=True)
    # The last row has the id of the first.
    assert (done.num_questions, [error.line for error in done.skipped]) == (2, [2, 4])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    source=st.sampled_from(["dpr-train", "atlas", "kilt", "flashrag", "flag", "squad", "hotpotqa", "musique"]),
    put=st.sampled_from(
        [None, 3, -0.5, True, "x", "", [], [[]], [1], [None], {}, [{}], [["T", 1]], [{"text": 1}], "\ud800"]
    ),
    data=st.data(),
)
def test_whatever_stands_in_a_field_nothing_but_data_errors_come_out(tmp_path, source, put, data):
    """One value somewhere in a good file becomes another."""
    (_, content), _ = SAMPLES[source]
    value = json.loads(content) if content.startswith(("[", '{"v')) else json.loads(content.splitlines()[0])
    at = value
    while True:
        keys = list(at) if isinstance(at, dict) else range(len(at))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(at[key], dict | list) or not at[key] or data.draw(st.booleans()):
            break
        at = at[key]
    at[key] = put
    (tmp_path / "q.json").write_text(json.dumps(value))
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    with contextlib.suppress(DataError):
        convert(
            tmp_path / "out",
            Sources(questions=[str(tmp_path / "q.json")]),
            source=source,
            target="jsonl",
            skip_bad_rows=data.draw(st.booleans()),
        )


@pytest.mark.parametrize("cell", ["{[]: 1}", "[" * 5000, "'\\s'", "open('trace')"])
def test_cells_that_are_no_lists_are_refused_and_never_run(tmp_path, cell):
    with (tmp_path / "q.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["question", "answers"], ["Q?", cell]])
    with pytest.raises(DataError, match="expected a list"):
        convert(
            tmp_path / "out",
            Sources(questions=[str(tmp_path / "q.csv")]),
            source="csv",
            target="jsonl",
            skip_bad_rows=False,
        )


def test_supporting_paragraphs_that_no_search_found_are_counted(tmp_path):
    row = {
        "_id": "1",
        "question": "Q",
        "answer": "a",
        "context": [["T", ["s"]]],
        "supporting_facts": [["T", 0], ["U", 0]],
    }
    (tmp_path / "q.json").write_text(json.dumps([row]))
    done = convert(
        tmp_path / "out",
        Sources(questions=[str(tmp_path / "q.json")]),
        source="hotpotqa",
        target="jsonl",
        skip_bad_rows=False,
    )
    assert done.notes == {"supporting paragraphs that are not among those of their question": 1}


def test_one_id_for_two_passages_is_an_error(tmp_path):
    ranked = [{"id": "1", "text": "one text"}, {"id": "1", "text": "another"}]
    rows_ = [{"id": n, "question": "Q", "ctxs": [one]} for n, one in enumerate(ranked)]
    (tmp_path / "q.json").write_text(json.dumps(rows_))
    with pytest.raises(DataError, match="one passage for each id"):
        convert(
            tmp_path / "out",
            Sources(questions=[str(tmp_path / "q.json")]),
            source="fid",
            target="fid",
            skip_bad_rows=False,
        )


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [("squad", "hotpotqa", "read only"), ("none", "fid", "one of the formats"), ("psgs", "jsonl", "no questions")],
)
def test_formats_that_do_not_go_are_errors_that_list_those_that_do(tmp_path, source, target, reason):
    with pytest.raises(ConfigError, match=reason) as raised:
        convert(tmp_path / "out", Sources(questions=["x"]), source=source, target=target, skip_bad_rows=False)
    assert "jsonl" in str(raised.value)


def test_gold_passages_that_are_not_there_are_an_error(tmp_path):
    (tmp_path / "q.jsonl").write_text(lines({"id": "1", "question": "Q?", "gold": ["z"]}))
    with pytest.raises(DataError, match="'z'"):
        convert(
            tmp_path / "out",
            Sources(questions=[str(tmp_path / "q.jsonl")]),
            source="jsonl",
            target="squad",
            skip_bad_rows=False,
        )


@pytest.mark.parametrize("name", ["nothing/here", "empty"])
def test_a_dataset_that_cannot_be_loaded_is_a_data_error(tmp_path, name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="a dataset that can be loaded"):
        convert(
            tmp_path / "out",
            Sources(questions=[str(tmp_path / name)]),
            source="hf",
            target="jsonl",
            skip_bad_rows=False,
        )


# ---- the command


def test_the_command_says_what_it_wrote_lost_and_left_out(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text(lines({"id": "1", "question": "Q?", "target": "x", "answers": ["x"]}, {"id": "2"}))
    options = ["--from", "jsonl", "--to", "flashrag", "--questions", str(path), "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(app, ["convert", *options]).exit_code == 2
    done = CliRunner().invoke(app, ["convert", *options, "--skip-bad-rows"])
    assert done.exit_code == 0, done.output
    assert "left out" in done.output
    assert "1 targets that flashrag has no place for" in done.output
    assert "1 questions, 0 passages" in done.output


def test_the_command_cuts_a_folder(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Title\n\nText.\n")
    done = CliRunner().invoke(app, ["chunk", str(tmp_path / "docs"), "--out", str(tmp_path / "p.jsonl")])
    assert done.exit_code == 0, done.output
    assert [p.title for p in iter_passages(tmp_path / "p.jsonl")] == ["Title"]
    refused = ["chunk", str(tmp_path / "docs"), "--out", str(tmp_path / "p.jsonl"), "--max-words", "10"]
    assert CliRunner().invoke(app, refused).exit_code == 2


# ---- real files


@needs_files
@pytest.mark.parametrize(
    ("source", "file", "num_questions", "num_passages", "num_gold"),
    [
        ("squad", "squad_tiny.json", 2, 2, 2),
        ("hotpotqa", "hotpotqa_train_100.json", 100, 994, 200),
        ("musique", "musique_train_100.json", 100, 1890, 237),
        ("kilt", "kilt_gold1.jsonl", 3, 0, 3),
        ("dpr-train", "dpr_train_sample.json", 5, 751, 18),
        ("fid", "fid_bm25_300q_top20.json", 300, 5841, 0),
        ("dpr-qa", "topics.dpr.curated.test.txt", 694, 0, 0),
    ],
)
def test_real_files_are_read_whole(tmp_path, source, file, num_questions, num_passages, num_gold):
    done = convert(
        tmp_path / "out", Sources(questions=[str(FILES / file)]), source=source, target="jsonl", skip_bad_rows=False
    )
    assert (done.num_questions, done.num_passages) == (num_questions, num_passages)
    found = list(iter_questions(tmp_path / "out" / "questions.jsonl"))
    assert sum(len(one.question.gold) for one in found) == num_gold


@needs_files
def test_real_hotpotqa_is_what_json_says(tmp_path):
    raw = json.loads((FILES / "hotpotqa_train_100.json").read_text(encoding="utf-8"))
    sources = Sources(questions=[str(FILES / "hotpotqa_train_100.json")])
    convert(tmp_path / "out", sources, source="hotpotqa", target="jsonl", skip_bad_rows=False)
    passages = {p.id: p for p in iter_passages(tmp_path / "out" / "passages.jsonl")}
    for row, one in zip(raw, iter_questions(tmp_path / "out" / "questions.jsonl"), strict=True):
        assert (one.question.text, one.question.answers) == (row["question"], (row["answer"],))
        assert {passages[name].title for name in one.question.gold} == {title for title, _ in row["supporting_facts"]}
        texts = {title: "".join(sentences).strip() for title, sentences in row["context"]}
        assert all(passages[name].text == texts[passages[name].title] for name in one.question.gold)


@needs_files
@pytest.mark.parametrize("file", ["kilt_gold2.jsonl", "kilt_guess2_1.jsonl"])
def test_kilts_answers_without_questions_are_refused(tmp_path, file):
    with pytest.raises(DataError, match="expected text") as raised:
        convert(
            tmp_path / "out", Sources(questions=[str(FILES / file)]), source="kilt", target="jsonl", skip_bad_rows=False
        )
    assert (raised.value.line, raised.value.field) == (1, "input")


def test_what_would_be_lost_by_converting_again_is_not_replaced(tmp_path):
    """The same again is the same; anything else may be somebody's only copy."""
    questions, passages = write_sample("jsonl", tmp_path / "in")
    out = tmp_path / "out"

    def again(passages):
        of_files = Sources(questions=questions, passages=passages)
        convert(out, of_files, source="jsonl", target="jsonl", skip_bad_rows=False)

    again(passages)
    names = {file.name for file in out.iterdir()}
    again(passages)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match=r"found notes\.txt put in or altered since, which would be lost"):
        again(passages)
    (out / "notes.txt").unlink()
    with pytest.raises(ArtifactError, match="found another conversion, which would be lost"):
        again(None)
    assert {file.name for file in out.iterdir()} == names
