"""One small file in each format that can be read, written as its tools write it, with what it says."""

import json
from pathlib import Path

__all__ = ["SAMPLES", "write_sample"]

CURIE = "Marie Curie was born in Warsaw. She won two prizes."
TEA = "Tea is a drink.\nIt is hot."
SUN = "The Sun is a star."


def lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


OWN_PASSAGES = lines(
    {"id": "p1", "title": "Curie", "text": CURIE},
    {"id": "p2", "title": "", "text": TEA},
    {"id": "p3", "title": "Sun", "text": SUN},
)
RANKED = [
    {"id": "p1", "title": "Curie", "text": CURIE, "score": "2.5", "has_answer": True},
    {"id": "p3", "title": "Sun", "text": SUN, "score": 1},
]
FID = [
    {"id": 7, "question": "Where was she born?", "target": "Warsaw", "answers": ["Warsaw", "Warszawa"], "ctxs": RANKED},
    {
        "id": 8,
        "question": "What is tea?",
        "answers": ["drink"],
        "ctxs": [{"id": "p2", "title": "", "text": TEA, "score": 3}],
    },
]
OWN_QUESTIONS = lines(
    FID[0] | {"split": "train", "gold": ["p1"], "near_gold": ["p3"]},
    {"id": "q2", "question": "What is tea?", "answers": ["drink"], "split": "dev", "gold": ["p2"]},
)
DPR_TRAINING = [
    {
        "dataset": "x",
        "question": "Where was she born?",
        "answers": ["Warsaw"],
        "positive_ctxs": [{"title": "Curie", "text": CURIE, "score": 1000, "title_score": 1, "passage_id": "p1"}],
        "negative_ctxs": [{"title": "", "text": TEA, "score": 0, "psg_id": 2}],
        "hard_negative_ctxs": [{"title": "Sun", "text": SUN, "score": 5.5, "title_score": 0, "passage_id": "p3"}],
    }
]
KILT = lines(
    {
        "id": "k1",
        "input": "Where was she born?",
        "output": [
            {
                "answer": "Warsaw",
                "provenance": [{"wikipedia_id": 10, "start_paragraph_id": 1, "end_paragraph_id": "1"}],
            },
            {"answer": "Warsaw"},
        ],
    }
)
KILT_SOURCE = lines(
    {"_id": "10", "wikipedia_id": "10", "wikipedia_title": "Curie", "text": ["Curie\n", CURIE + "\n"]},
    {"_id": "11", "wikipedia_id": "11", "wikipedia_title": "Tea", "text": ["Tea\n", "\n", TEA + "\n"]},
)
SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "Curie",
            "paragraphs": [
                {
                    "context": CURIE,
                    "qas": [
                        {
                            "id": "s1",
                            "question": "Where was she born?",
                            "answers": [{"text": "Warsaw", "answer_start": 24}] * 2,
                            "is_impossible": False,
                        },
                        {"id": "s2", "question": "Who ate it?", "answers": [], "is_impossible": True},
                    ],
                }
            ],
        }
    ],
}
HOTPOTQA = [
    {
        "_id": "h1",
        "question": "Where was she born?",
        "answer": "Warsaw",
        "supporting_facts": [["Curie", 0]],
        "context": [["Curie", ["Marie Curie was born in Warsaw.", " She won two prizes."]], ["Sun", [SUN]]],
        "type": "bridge",
        "level": "easy",
    }
]
MUSIQUE = lines(
    {
        "id": "m1",
        "question": "Where was she born?",
        "answer": "Warsaw",
        "answer_aliases": ["Warszawa", "Warsaw"],
        "answerable": True,
        "paragraphs": [
            {"idx": 0, "title": "Curie", "paragraph_text": CURIE, "is_supporting": True},
            {"idx": 1, "title": "Sun", "paragraph_text": SUN, "is_supporting": False},
        ],
    }
)
FLAG = lines(
    {
        "query": "Where was she born?",
        "pos": [CURIE],
        "neg": [TEA, SUN],
        "pos_scores": [0.5],
        "neg_scores": [0.75, -1],
        "prompt": "",
    }
)
FLASHRAG = lines(
    {
        "id": "f1",
        "question": "Where was she born?",
        "golden_answers": ["Warsaw"],
        "output": {
            "retrieval_result": [
                {"id": "0", "contents": f"Curie\n{CURIE}", "score": 12.5},
                {"id": "2", "contents": SUN, "score": 3},
            ],
            "pred": "Warsaw",
            "metric_score": {"em": 1.0},
        },
        "metadata": {},
    }
)
FLASHRAG_CORPUS = lines(
    {"id": "0", "contents": f"Curie\n{CURIE}"}, {"id": "1", "contents": f"\n{TEA}"}, {"id": "2", "contents": SUN}
)
ATLAS = lines({"question": "Where was she born?", "answers": ["Warsaw"], "target": "Warsaw", "passages": RANKED})
ATLAS_PASSAGES = lines(
    {"id": "p1", "title": "Curie", "section": "Life", "text": CURIE}, {"id": "p3", "title": "Sun", "text": SUN}
)
PSGS = f'id\ttext\ttitle\np1\t"{CURIE}"\tCurie\np2\t"{TEA}"\t\np3\t"The ""Sun"" is."\tSun\n'
DPR_QA = "Where was she born?\t['Warsaw', \"O'Hara\"]\nWhat is tea?\t['drink']\n"
CSV = (
    "id,question,answers,target,split,gold\n"
    'c1,"Where, when?","[""Warsaw""]",,train,"[""p1""]"\n'
    "c2,What is tea?,\"['drink', 'hot drink']\",drink,test,\n"
)
CSV_PASSAGES = f'id,title,text\np1,Curie,"{CURIE}"\np2,,"{TEA}"\n'


def _beir(folder: Path) -> None:
    (folder / "qrels").mkdir()
    (folder / "corpus.jsonl").write_text(
        lines({"_id": "p1", "title": "Curie", "text": CURIE, "metadata": {}}, {"_id": "p2", "title": "", "text": TEA})
    )
    (folder / "queries.jsonl").write_text(
        lines(
            {"_id": "b1", "text": "Where was she born?", "metadata": {"answers": ["Warsaw"]}},
            {"_id": "b2", "text": "What is tea?", "metadata": {}},
            {"_id": "b3", "text": "Nobody judges this."},
        )
    )
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nb1\tp1\t1\nb1\tp2\t0\n")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nb2\tp2\t2\n")


def _parquet(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"id": 1, "question": "Where was she born?", "answers": ["Warsaw"], "gold": ["p1"]}]
    pq.write_table(pa.Table.from_pylist(rows), folder / "questions")
    pq.write_table(pa.Table.from_pylist([{"id": "p1", "title": "Curie", "text": CURIE}]), folder / "passages")


def _hub(folder: Path) -> None:
    import datasets

    row = {"id": "d1", "title": "Curie", "context": CURIE, "question": "Where was she born?"}
    row["answers"] = {"text": ["Warsaw", "Warsaw"], "answer_start": [24, 24]}
    empty = {"id": "d2", "title": "Sun", "context": SUN, "question": "Who ate it?"}
    empty["answers"] = {"text": [], "answer_start": []}
    features = datasets.Features(
        {name: datasets.Value("string") for name in ("id", "title", "context", "question")}
        | {
            "answers": {
                "text": datasets.List(datasets.Value("string")),
                "answer_start": datasets.List(datasets.Value("int32")),
            }
        }
    )
    parts = {"train": [row], "validation": [empty]}
    made = {name: datasets.Dataset.from_list(rows, features=features) for name, rows in parts.items()}
    datasets.DatasetDict(made).save_to_disk(folder / "saved")


# By format: the name and the content of the file of questions, and of that of passages.
SAMPLES = {
    "jsonl": (("q.jsonl", OWN_QUESTIONS), ("p.jsonl", OWN_PASSAGES)),
    "fid": (("q.json", json.dumps(FID)), None),
    "psgs": (None, ("p.tsv", PSGS)),
    "dpr-qa": (("q.tsv", DPR_QA), None),
    "dpr-train": (("q.json", json.dumps(DPR_TRAINING)), None),
    "atlas": (("q.jsonl", ATLAS), ("p.jsonl", ATLAS_PASSAGES)),
    "kilt": (("q.jsonl", KILT), ("p.jsonl", KILT_SOURCE)),
    "beir": (("", _beir), None),
    "flashrag": (("q.jsonl", FLASHRAG), ("p.jsonl", FLASHRAG_CORPUS)),
    "flag": (("q.jsonl", FLAG), None),
    "squad": (("q.json", json.dumps(SQUAD)), None),
    "hotpotqa": (("q.json", json.dumps(HOTPOTQA)), None),
    "musique": (("q.jsonl", MUSIQUE), None),
    "csv": (("q.csv", CSV), ("p.csv", CSV_PASSAGES)),
    "parquet": (("questions", _parquet), ("passages", _parquet)),
    "hf": (("saved", _hub), None),
}


def write_sample(name: str, folder: Path) -> tuple[list[str], str | None]:
    """Write the sample of a format, and say where its questions and its passages are."""
    folder.mkdir(parents=True)
    paths: list[str | None] = []
    for part in SAMPLES[name]:
        if part is None:
            paths.append(None)
            continue
        file, content = part
        if callable(content):
            if not any(folder.iterdir()):
                content(folder)
        else:
            (folder / file).write_text(content, encoding="utf-8", newline="")
        paths.append(str(folder / file))
    questions, passages = paths
    return ([] if questions is None else [questions]), passages
