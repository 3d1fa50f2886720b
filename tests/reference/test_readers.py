"""Readers give the numbers of the reference implementation: loss, logits, gradients, relevance, generated tokens."""

import copy
import json
import os
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from dogeared.batching import ReaderBatch, batch_of_rows
from dogeared.distill.teachers import CrossAttention
from dogeared.reader.fid import FusionInDecoder, ReaderSettings
from reference.conftest import REPOSITORY
from tiny_readers import tiny_tokenizer

OTHER_LAYOUTS = ("fid_checkpoint_", "bert_")
CROSS_BIAS = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"


def reader_files() -> list[Path]:
    """Every file of the folder that holds a reader's numbers under plain T5 names."""
    folder = Path(os.environ.get("DOGEARED_REFERENCE", REPOSITORY.parent / "shared" / "reference"))
    files = sorted(file for file in folder.glob("*.npz") if not file.name.startswith(OTHER_LAYOUTS))
    return [file for file in files if "crossattention_scores" in np.load(file)]


def assert_close(tensor: torch.Tensor, expected: np.ndarray) -> None:
    """Compare with a tolerance of 1e-4, relative to the largest number: the small ones are what cancelling leaves."""
    wanted = torch.tensor(expected)
    torch.testing.assert_close(tensor.detach(), wanted, rtol=0.0, atol=1e-4 * float(wanted.abs().max()))


@cache
def load(file: Path) -> tuple[dict[str, np.ndarray], dict[str, Any], FusionInDecoder]:
    arrays = dict(np.load(file))
    told = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    weights = {
        name.removeprefix("weight/"): torch.tensor(a) for name, a in arrays.items() if name.startswith("weight/")
    }
    model, loading = T5ForConditionalGeneration.from_pretrained(
        None, config=T5Config(**told["config"]), state_dict=weights, output_loading_info=True
    )
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    # Its generated tokens are counted with the start token, ours without.
    settings = ReaderSettings(max_answer_tokens=told["max_length"] - 1)
    return arrays, told, FusionInDecoder(model, tiny_tokenizer("t5"), settings).eval()


def batch_of(arrays: dict[str, np.ndarray]) -> ReaderBatch:
    """The same pairs without their padding; a passage that is all padding is none."""
    rows, num_passages = [], []
    for ids, masks in zip(arrays["input_ids"], arrays["attention_mask"].astype(bool), strict=True):
        own = [row[mask].tolist() for row, mask in zip(ids, masks, strict=True) if mask.any()]
        rows += own
        num_passages.append(len(own))
    # A budget this small makes several chunks.
    return batch_of_rows(rows, num_passages, labels=torch.tensor(arrays["labels"]), pad_token_id=0, max_chunk_tokens=40)


@pytest.fixture(params=reader_files(), ids=lambda file: file.stem)
def case(
    request: pytest.FixtureRequest, reference_folder: Path
) -> tuple[dict[str, np.ndarray], dict[str, Any], FusionInDecoder]:
    return load(request.param)


def test_loss_and_logits(case):
    arrays, _, reader = case
    batch = batch_of(arrays)
    assert_close(reader(batch), arrays["loss"])
    assert_close(reader.decode(reader.fuse(batch), reader.decoder_inputs(batch.labels)), arrays["logits"])


def gradient_norms(reader: FusionInDecoder, batch: ReaderBatch) -> dict[str, float]:
    reader.zero_grad()
    reader(batch).backward()
    return {name: p.grad.norm().item() for name, p in reader.model.named_parameters() if p.grad is not None}


def rounding_noise(reader: FusionInDecoder, batch: ReaderBatch) -> float:
    """How far gradients are known at all: their usual relative change when weights move by float32's rounding."""
    exact = copy.deepcopy(reader).double()
    before = gradient_norms(exact, batch)
    changes = []
    for seed in range(5):
        draw = torch.Generator().manual_seed(seed)
        moved = copy.deepcopy(exact)
        with torch.no_grad():
            for p in moved.parameters():
                p.mul_(1 + torch.finfo(torch.float32).eps / 2 * torch.randn(p.shape, generator=draw, dtype=p.dtype))
        after = gradient_norms(moved, batch)
        changes.append(max(abs(after[name] - before[name]) / before[name] for name in before))
    return median(changes)


def test_the_gradient_of_every_parameter(case):
    arrays, told, reader = case
    batch = batch_of(arrays)
    norms = gradient_norms(reader, batch)
    # Old T5 had one parameter more; these files hold models in which it is zero, but zeros have a gradient too.
    expected = {name: norm for name, norm in told["grad_norms"].items() if name != CROSS_BIAS}
    assert norms.keys() == expected.keys()
    noise = rounding_noise(reader, batch)
    assert noise < 1e-2
    assert norms == pytest.approx(expected, rel=1e-4 + 4 * noise)


def test_relevance_is_the_papers_cross_attention(case):
    arrays, _, reader = case
    assert_close(CrossAttention(reader, precision="fp32").of_batch(batch_of(arrays)), arrays["crossattention_scores"])


def test_generated_tokens(case):
    arrays, told, reader = case
    generated = reader.generate_ids(reader.fuse(batch_of(arrays)))
    padded = torch.zeros(len(generated), told["max_length"], dtype=torch.long)
    padded[:, : generated.shape[1]] = generated
    assert padded.tolist() == arrays["generated"].tolist()


def test_fusion_is_what_is_compared():
    """The files would not tell fusion from reading one passage if all had one."""
    if not reader_files():
        pytest.skip("there is no folder of reference numbers")
    assert any(np.load(file)["input_ids"].shape[1] > 1 for file in reader_files())
