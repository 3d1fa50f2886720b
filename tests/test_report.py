"""The page a person sees: whole, true to the numbers, safe, and right where something is missing."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dogeared.artifacts import MANIFEST, discard_content
from dogeared.data.corpus import build_corpus
from dogeared.errors import ArtifactError
from dogeared.pipeline.dataset import Dataset
from dogeared.pipeline.layout import RunFolder
from dogeared.records import Passage
from dogeared.report import write_report
from dogeared.reporting.sides import read_side

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Checks that tags close in order, and gathers text, tags and ids."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.texts = [], [], [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        values = dict(attributes)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values[name] for name in ("href", "src") if name in values]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def run(tiny_run, tmp_path):
    return RunFolder(shutil.copytree(tiny_run, tmp_path / "run"))


def page_of(run):
    html = write_report(run).read_text(encoding="utf-8")
    return html, Page(html)


def change_json(file: Path, change):
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def change_lines(file: Path, change):
    lines = [change(json.loads(line)) for line in file.read_text().splitlines()]
    file.write_text("\n".join(json.dumps(line) for line in lines if line is not None) + "\n")
    note_sizes(file.parent)


def note_sizes(artifact: Path):
    """As if it had been made as it is now: what is opened is compared with its manifest by size."""

    def note(manifest):
        manifest["sizes"] = {name: (artifact / name).stat().st_size for name in manifest["sizes"]}

    change_json(artifact / MANIFEST, note)


def without_test_questions(run):
    def cut(results):
        results["untouched"]["test"] = None
        for entry in results["rounds"]:
            entry["retriever"]["test"] = entry["reader"]["test"] = None

    change_json(run.results, cut)
    change_json(run.data / "manifest.json", lambda manifest: manifest["facts"]["num_questions"].update(test=0))
    change_lines(run.data / "questions.jsonl", lambda line: line if line["split"] != "test" else None)
    for folder in (run.untouched, run.round(0), run.round(1)):
        change_lines(folder.measures / "predictions.jsonl", lambda line: line if line["split"] != "test" else None)


def test_the_run_itself_writes_the_page(tiny_run):
    html = (tiny_run / "report.html").read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    assert write_report(RunFolder(tiny_run)) == tiny_run / "report.html"
    assert (tiny_run / "report.html").read_text(encoding="utf-8") == html


def test_it_is_one_file_that_asks_for_nothing(run):
    html, page = page_of(run)
    assert {"script", "link", "img", "iframe", "object"}.isdisjoint(page.tags)
    assert "default-src 'none'" in html
    assert not re.search(r"https?:|@import|url\(", html)
    assert [link for link in page.links if not link.startswith("#")] == []
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_the_tables_hold_the_numbers_of_results_json(run):
    _, page = page_of(run)
    results = json.loads(run.results.read_text())
    for split in ("test", "dev"):
        (start,) = [match.start() for match in re.finditer(f"{split.capitalize()} questions", page.text)]
        rows = page.text[start:].split("In percent")[0]
        for contender in (results["untouched"], *(entry["retriever"] for entry in results["rounds"])):
            keys = ["success@1", "success@5", "success@20", "success@100", "mrr@10", "ndcg@10"]
            keys += [f"answer_success@{k}" for k in (1, 5, 20, 100)]
            assert " ".join(f"{100 * contender[split][key]:.1f}" for key in keys) in rows


def test_words_from_files_are_escaped(run):
    bad = "<script>alert('1')</script>"
    change_lines(
        run.data / "questions.jsonl", lambda line: line | {"question": f"Who {bad}?", "answers": ["& <i>x</i>"]}
    )
    for number in (0, 1):
        change_lines(run.round(number).measures / "predictions.jsonl", lambda line: line | {"prediction": bad})
    corpus = Dataset.open(run.data).corpus
    passages = [
        Passage(id=p.id, title=f"<b>{p.title}", text=f"{p.text} so & <I>X</I>, {bad}")
        for batch in corpus.iter_batches(100)
        for p in batch
    ]
    build_corpus(passages, run.data / "corpus")
    note_sizes(run.data)
    change_json(run.results, lambda results: results["untouched"].update(name="<style>"))
    html, page = page_of(run)
    assert "script" not in page.tags
    assert page.tags.count("style") == 1
    assert f"Who {bad}?" in page.text
    assert "<mark>&amp; &lt;I&gt;X&lt;/I&gt;</mark>" in html


def test_models_and_vectors_are_not_needed(run):
    before, _ = page_of(run)
    for folder in (run.untouched, run.round(0), run.round(1)):
        for artifact in (folder.retriever, folder.vectors, folder.reader):
            if artifact.exists():
                discard_content(artifact)
    after, _ = page_of(run)
    assert after == before


@pytest.mark.parametrize(
    ("best", "headline"),
    [
        (0, "Nothing beat the start, so the first retrieval is kept."),
        ("untouched", "No round beat the untouched student, so it is kept as it was."),
        (1, "Round 1 is the result."),
    ],
)
def test_the_verdict_is_said_first(run, best, headline):
    change_json(run.results, lambda results: results.update(best=best, improved=best == 1))
    html, page = page_of(run)
    assert f"<h1>{headline}</h1>" in html
    assert html.count('<span class="tag">result</span>') == 2  # in the table of test and in that of dev
    assert ("Change, result against first retrieval" in page.text) == (best != 0)
    assert ("which came closest but is not the result" in page.text) == (best == 0)


def test_without_rounds_there_are_no_curves(run):
    change_json(run.results, lambda results: results.update(rounds=results["rounds"][:1], best=0))
    html, page = page_of(run)
    assert "<h1>No round was done; the first retrieval leads.</h1>" in html
    assert "figure" not in page.tags
    assert "rounds" not in page.ids
    assert "after is the untouched student" in page.text
    assert "It has no reader of its own." in page.text


def test_without_test_questions_dev_is_shown_and_the_reader_warned(run):
    without_test_questions(run)
    _, page = page_of(run)
    assert "Test questions" not in page.text
    assert "Dev questions" in page.text
    assert "There are no test questions" in page.text
    assert "Of 6 dev questions" in page.text


def test_by_answer_string_alone(run):
    def cut(measured):
        measured["num_by_gold"] = 0

    def cut_all(results):
        for part in (results["untouched"], *(entry["retriever"] for entry in results["rounds"])):
            cut(part["dev"])
            cut(part["test"])

    change_json(run.results, cut_all)
    change_lines(run.data / "questions.jsonl", lambda line: line | {"gold": []})
    html, page = page_of(run)
    assert "gold passage" not in page.text.split("Round by round")[0].replace("gold passages play", "")
    assert html.count("Retriever, by answer string") == 2


def test_teacher_warnings_are_told(run):
    def warn(results):
        results["rounds"][0]["teacher_check"] = {"num_questions": 6, "num_compared": 0, "warnings": ["too <flat>"]}

    change_json(run.results, warn)
    _, page = page_of(run)
    assert "1 warning" in page.text
    assert "Round 0: too <flat>." in page.text


def test_a_directory_without_results_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"found none; make one with dogeared run"):
        write_report(RunFolder(tmp_path))


def test_what_ends_a_line_in_unicode_ends_none_of_the_predictions(run):
    """Such a character comes with a span of scraped text, or with an id."""
    for folder in (run.untouched, run.round(0), run.round(1)):
        file = folder.measures / "predictions.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        for row in rows:
            if "prediction" in row:
                row["prediction"] = "the\u2028sea\u0085"
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        note_sizes(folder.measures)
    assert "the\u2028sea" in write_report(run).read_text(encoding="utf-8")
    assert read_side(run.path).measured
