"""Fill a table of docs/results.md.

    python -m benchmarks.reproduce 3 --data wiki_en --student all-MiniLM-L6-v2 --out runs/reproduce

``--data`` is a folder with ``passages.jsonl`` and ``questions.jsonl`` whose questions have gold passages and splits.
Interrupted, it goes on where it was; a second table shares the runs and steps of the first. ``--list`` shows what there
is. On one core a line takes twenty minutes at the default size, and 25 more where a reader is trained for it.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from benchmarks.reproduce.runs import Laboratory, Measured
from benchmarks.reproduce.show import insert, render
from benchmarks.reproduce.tables import TABLES
from dogeared.storage import write_atomically


def main() -> None:
    """Do the runs of one table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=int, nargs="?", choices=sorted(TABLES))
    parser.add_argument("--list", action="store_true", help="Show the tables and their lines, and do nothing.")
    parser.add_argument("--data", type=Path, help="The folder of passages.jsonl and questions.jsonl.")
    parser.add_argument("--student", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument(
        "--language-model",
        default="",
        help="For tables 1 and 8: an encoder that never saw a question, such as scripts/small_encoder.py makes.",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/reproduce"))
    parser.add_argument("--train", type=int, default=2400, help="Training questions.")
    parser.add_argument("--dev", type=int, default=300)
    parser.add_argument("--test", type=int, default=1200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", help="Labels of the lines to run; all where not said.")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--write", type=Path, help="A document to put the table into, such as docs/results.md.")
    options = parser.parse_args()
    if options.list or options.table is None:
        for number, table in TABLES.items():
            print(f"{number}. {table.title}: " + "; ".join(row.label for row in table.rows))
        return
    if options.data is None:
        parser.error("--data: expected a folder with passages.jsonl and questions.jsonl")
    table = TABLES[options.table]
    if unknown := set(options.only or ()) - {row.label for row in table.rows}:
        parser.error(f"--only: expected labels of table {options.table}, got {', '.join(sorted(unknown))}; see --list")
    if not options.language_model and any("{language-model}" in one for row in table.rows for one in row.settings):
        parser.error("--language-model: expected an encoder for this table, such as scripts/small_encoder.py makes")
    laboratory = Laboratory(
        out=options.out.absolute(),
        data=options.data,
        student=options.student,
        sizes={"train": options.train, "dev": options.dev, "test": options.test},
        settings=options.settings,
        language_model=options.language_model,
    )
    rows = [row for row in table.rows if not options.only or row.label in options.only]
    laboratory.prepare(rows)
    about = (
        f"{options.data.name}: {options.train:,} training, {options.test:,} test questions; student and reader's start "
        f"of {Path(options.student).name} where a line names no other; seeds {', '.join(map(str, options.seeds))}; by "
        f"gold passage. One column is of {options.dev:,} dev questions. Arrows: significantly above or below what the "
        "line is compared with, p < 0.05."
    )
    measured: dict[str, list[Measured]] = {}
    text = ""
    for row in rows:
        measured[row.label] = [laboratory.run(row, seed=seed, has_reader=table.has_reader) for seed in options.seeds]
        # After each line, so that an interrupted table shows what is known.
        text = render(options.table, table, measured, about=about)
        write_atomically(laboratory.out / f"table-{options.table}.md", text)
        write_atomically(laboratory.out / f"table-{options.table}.json", json.dumps(measured, default=asdict))
    print(text)
    if options.write:
        insert(text, options.table, options.write)


if __name__ == "__main__":
    main()
