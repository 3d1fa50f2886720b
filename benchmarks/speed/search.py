"""Searching: exactly, beside the bare product with top-k and faiss; approximately and in smaller numbers, by recall."""

from typing import Any

import numpy as np
import torch

from benchmarks.speed.floor import matrix_rate
from benchmarks.speed.rows import Options, Row, best_seconds
from dogeared.retrieval.approximate import IndexSettings, build_approximate
from dogeared.retrieval.dense import open_index
from dogeared.retrieval.index import ExactIndex
from dogeared.retrieval.vectors import StoredVectors

__all__ = ["clustered", "measure"]

DIM, K = 384, 100


def clustered(rows: int, dim: int, *, seed: int) -> np.ndarray:
    """Return vectors of length 1 around centres, which have neighbours as texts have, and random ones have not."""
    draw = np.random.default_rng(seed)
    centres = draw.standard_normal((max(2, rows // 100), dim), dtype=np.float32)
    made = centres[draw.integers(0, len(centres), rows)] + draw.standard_normal((rows, dim), dtype=np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def measure(options: Options) -> dict[str, Row]:
    """Time a batch of queries, and one query, over the same vectors in every way there is."""
    if not options.wants("search", "search_one", "search_ivfpq", "search_hnsw", "search_float16", "search_int8"):
        return {}
    rows, queries = (3_000, 8) if options.quick else (131_072, 256)
    vectors = clustered(rows, DIM, seed=options.seed)
    asked = torch.from_numpy(vectors[:: rows // queries][:queries] + 0.02 * clustered(queries, DIM, seed=1))
    indexes: dict[str, Any] = {}
    bytes_on_disk: dict[str, float] = {}
    kinds = [("exact", "float32"), ("exact", "float16"), ("exact", "int8"), ("ivfpq", "int8"), ("hnsw", "float16")]
    faiss = _faiss()
    for kind, numbers in kinds if faiss else kinds[:3]:
        name = numbers if kind == "exact" else kind
        folder = options.scratch / name
        folder.mkdir()
        stored = StoredVectors.create(folder, rows=rows, dim=DIM, kind=numbers)  # type: ignore[arg-type]
        stored.put(range(rows), vectors)
        stored.flush()
        # Faiss takes half a minute to learn 48 codebooks, of however few vectors.
        size = 8 if options.quick else 48
        settings = IndexSettings(kind=kind, exact_below=1_000, bytes_per_vector=size)  # type: ignore[arg-type]
        build_approximate(folder, settings)
        indexes[name] = open_index(folder, settings)
        bytes_on_disk[name] = sum(file.stat().st_size for file in folder.iterdir()) / rows
    whole = torch.from_numpy(vectors)
    sides = {name: lambda index=index: index.search(asked, K) for name, index in indexes.items()}
    sides |= {"bare": lambda: (asked @ whole.T).topk(K)}
    sides |= {f"{name} one": lambda index=index: index.search(asked[:1], K) for name, index in indexes.items()}
    sides |= {"bare one": lambda: (asked[:1] @ whole.T).topk(K)}
    if faiss:
        flat = faiss.IndexFlatIP(DIM)
        flat.add(vectors)
        faiss.omp_set_num_threads(torch.get_num_threads())
        sides |= {"flat": lambda: flat.search(asked.numpy(), K), "flat one": lambda: flat.search(asked[:1].numpy(), K)}
    seconds = best_seconds(sides, repeats=options.repeats, clock=options.clock)
    exact = ExactIndex(vectors).search(asked, K)[1].tolist()
    made = {}
    for name, index in indexes.items():
        found = index.search(asked, K)[1].tolist()
        recall = np.mean([len(set(a) & set(b)) / K for a, b in zip(exact, found, strict=True)])
        figures = {"recall": float(recall), "bytes_a_vector": bytes_on_disk[name]}
        figures |= {"one_query_milliseconds": 1000 * seconds[f"{name} one"]}
        made["search" if name == "float32" else f"search_{name}"] = _row(
            seconds[name] / queries, seconds["bare"] / queries, rows, options, figures
        )
    made["search"].figures["times_bare_one_query"] = seconds["float32 one"] / seconds["bare one"]  # type: ignore[index]
    if faiss:
        made["search"].figures["times_faster_than_faiss_flat"] = seconds["flat"] / seconds["float32"]  # type: ignore[index]
        one = seconds["flat one"] / seconds["float32 one"]
        made["search"].figures["times_faster_than_faiss_flat_one_query"] = one  # type: ignore[index]
    return made


def _row(seconds: float, bare: float, rows: int, options: Options, figures: dict[str, float]) -> Row:
    floor = 2 * rows * DIM / matrix_rate(torch.float32, clock=options.clock)
    return Row(
        unit=f"query of many over {rows:,} vectors",
        seconds=seconds,
        textbook_seconds=bare,
        floor_seconds=floor,
        figures=figures,
    )


def _faiss() -> Any:
    try:
        import faiss
    except ModuleNotFoundError:
        return None
    return faiss
