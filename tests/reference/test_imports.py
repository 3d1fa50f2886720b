"""Checkpoints as the reference implementation saves them are imported, and give its numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import BertTokenizerFast, PreTrainedTokenizerBase

from dogeared.batching import batch_of_rows
from dogeared.distill.teachers import CrossAttention
from dogeared.importing.checkpoints import import_checkpoint
from dogeared.importing.readers import CROSS_BIAS
from dogeared.reader.fid import FusionInDecoder, ReaderSettings
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from tiny_readers import tiny_tokenizer


def assert_close(tensor: torch.Tensor, expected: np.ndarray) -> None:
    wanted = torch.tensor(expected)
    torch.testing.assert_close(tensor.detach(), wanted, rtol=0.0, atol=1e-4 * float(wanted.abs().max()))


def as_saved(reference: Path, name: str, folder: Path, tokenizer: PreTrainedTokenizerBase) -> dict[str, np.ndarray]:
    """Write a case's weights and configuration as a checkpoint of safetensors."""
    file = reference / f"{name}.npz"
    if not file.is_file():
        pytest.skip(f"the reference's case {name} is not there")
    arrays = dict(np.load(file))
    told: dict[str, Any] = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    weights = {k.removeprefix("weight/"): torch.tensor(v) for k, v in arrays.items() if k.startswith("weight/")}
    folder.mkdir()
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(told["config"]), encoding="utf-8")
    tokenizer.save_pretrained(folder)
    return arrays


def bert_tokenizer() -> PreTrainedTokenizerBase:
    return BertTokenizerFast(vocab={word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])})


@pytest.mark.parametrize("name", ["bert_projection", "bert_cls"])
def test_a_retriever_gives_the_vectors_and_scores_of_the_reference(name, reference_folder, tmp_path):
    arrays = as_saved(reference_folder, name, tmp_path / "checkpoint", bert_tokenizer())
    assert import_checkpoint(tmp_path / "checkpoint", tmp_path / "student") == "retriever"
    student = DualEncoder.load(RetrieverSettings(model=str(tmp_path / "student"))).eval()
    ids, mask = torch.tensor(arrays["question_ids"]), torch.tensor(arrays["question_mask"]).long()
    queries = student.encode({"input_ids": ids, "attention_mask": mask})
    assert_close(queries, arrays["question_embedding"])
    ids, mask = torch.tensor(arrays["passage_ids"]), torch.tensor(arrays["passage_mask"]).long()
    passages = student.encode({"input_ids": ids.flatten(0, 1), "attention_mask": mask.flatten(0, 1)})
    assert_close(passages.view(*ids.shape[:2], -1), arrays["passage_embedding"])
    assert_close(student.score(queries, passages.view(*ids.shape[:2], -1)), arrays["score"])


def test_a_retriever_is_saved_and_loaded_again(reference_folder, tmp_path):
    arrays = as_saved(reference_folder, "bert_projection", tmp_path / "checkpoint", bert_tokenizer())
    import_checkpoint(tmp_path / "checkpoint", tmp_path / "student")
    DualEncoder.load(RetrieverSettings(model=str(tmp_path / "student"))).save(tmp_path / "again")
    student = DualEncoder.load(RetrieverSettings(model=str(tmp_path / "again"))).eval()
    ids, mask = torch.tensor(arrays["question_ids"]), torch.tensor(arrays["question_mask"]).long()
    assert_close(student.encode({"input_ids": ids, "attention_mask": mask}), arrays["question_embedding"])
    assert student.model.prompts == {"query": "question: ", "document": "title: "}
    assert student.passage_template == "{title} context: {text}"


def test_a_reader_orders_passages_as_the_reference_and_says_what_was_dropped(reference_folder, tmp_path, caplog):
    arrays = as_saved(reference_folder, "fid_checkpoint_cross_bias", tmp_path / "checkpoint", tiny_tokenizer("t5"))
    assert import_checkpoint(tmp_path / "checkpoint", tmp_path / "reader") == "reader"
    assert CROSS_BIAS in caplog.text
    assert "was dropped" in caplog.text
    reader = FusionInDecoder.load(ReaderSettings(model=str(tmp_path / "reader"), max_answer_tokens=7)).eval()
    rows = [
        row[mask].tolist()
        for ids, masks in zip(arrays["input_ids"], arrays["attention_mask"].astype(bool), strict=True)
        for row, mask in zip(ids, masks, strict=True)
    ]
    batch = batch_of_rows(
        rows, [arrays["input_ids"].shape[1]] * 2, labels=torch.tensor(arrays["labels"]), pad_token_id=0
    )
    relevance = CrossAttention(reader, precision="fp32").of_batch(batch)
    expected = torch.tensor(arrays["crossattention_scores"])
    assert relevance.argsort(1).tolist() == expected.argsort(1).tolist()
    # What the bias did at the first output position is the same for all passages of a question.
    shift = expected - relevance
    torch.testing.assert_close(shift, shift.mean(1, keepdim=True).expand_as(shift), rtol=0.0, atol=1e-4)
    logits = reader.decode(reader.fuse(batch), reader.decoder_inputs(batch.labels))
    assert_close(logits[:, 0], arrays["logits"][:, 0])
