"""Searching: exactly, beside the bare product with top-k and faiss; approximately and in smaller numbers, by recall."""

from typing import Any

import numpy as np
import torch

from benchmarks.speed.floor import matrix_rate, read_bandwidth
from benchmarks.speed.rows import Options, Row, best_seconds
from dogeared.retrieval.approximate import IndexSettings, build_approximate
from dogeared.retrieval.dense import open_index
from dogeared.retrieval.index import ExactIndex
from dogeared.retrieval.vectors import StoredVectors

__all__ = ["clustered", "measure"]

DIM, K = 384, 100
_ROWS = [f"search{one}{kind}" for one in ("", "_one") for kind in ("", "_float16", "_int8", "_ivfpq", "_hnsw")]


def clustered(rows: int, dim: int, *, seed: int) -> np.ndarray:
    """Return vectors of length 1 around centres, which have neighbours as texts have, and random ones have not."""
    draw = np.random.default_rng(seed)
    centres = draw.standard_normal((max(2, rows // 100), dim), dtype=np.float32)
    made = centres[draw.integers(0, len(centres), rows)] + draw.standard_normal((rows, dim), dtype=np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def measure(options: Options) -> dict[str, Row]:
    """Time a batch of queries, and one query alone, over the same vectors in every way there is.

    Many queries want arithmetic, one wants memory: all vectors are read for it.
    """
    if not options.wants(*_ROWS):
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
        suffix = "" if name == "float32" else f"_{name}"
        made[f"search{suffix}"] = Row(
            unit=f"query of many over {rows:,} vectors",
            seconds=seconds[name] / queries,
            textbook_seconds=seconds["bare"] / queries,
            floor_seconds=2 * rows * DIM / matrix_rate(torch.float32, clock=options.clock),
            figures=figures | _beside_faiss(seconds, name, "flat"),
        )
        reads_all = isinstance(index, ExactIndex)
        made[f"search_one{suffix}"] = Row(
            unit=f"single query over {rows:,} vectors",
            seconds=seconds[f"{name} one"],
            textbook_seconds=seconds["bare one"],
            floor_seconds=rows * bytes_on_disk[name] / read_bandwidth(clock=options.clock) if reads_all else None,
            figures=_beside_faiss(seconds, f"{name} one", "flat one"),
        )
    return made


def _beside_faiss(seconds: dict[str, float], name: str, flat: str) -> dict[str, float]:
    return {"times_faster_than_faiss_flat": seconds[flat] / seconds[name]} if flat in seconds else {}


def _faiss() -> Any:
    try:
        import faiss
    except ModuleNotFoundError:
        return None
    return faiss
