"""Retrievers of DPR's, the hub's and Contriever's kind are imported with every tensor in its place."""

import json

import pytest
import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from torch import nn
from transformers import BertConfig, BertModel, BertTokenizerFast
from typer.testing import CliRunner

from dogeared.cli import app
from dogeared.errors import ModelError
from dogeared.importing.checkpoints import import_checkpoint
from dogeared.records import Passage
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "who",
    "wrote",
    "it",
    "anna",
    "book",
    "question",
    "title",
    "context",
    ":",
]
SIZES = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
}
QUESTION = "who wrote it"
PASSAGE = Passage(id="1", title="book", text="anna wrote it")


@pytest.fixture
def base(tmp_path):
    """A folder with a tokenizer and the sizes of the encoders."""
    folder = tmp_path / "base"
    BertConfig(**SIZES).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def tokenizer():
    return BertTokenizerFast(vocab={word: number for number, word in enumerate(WORDS)})


def bert(seed):
    torch.manual_seed(seed)
    return BertModel(BertConfig(**SIZES)).eval()


def named(prefix, model):
    return {f"{prefix}{name}": tensor.clone() for name, tensor in model.state_dict().items()}


def states(model, *texts):
    given = tokenizer()(*texts, return_tensors="pt")
    with torch.no_grad():
        return model(**given | {"token_type_ids": torch.zeros_like(given["input_ids"])}).last_hidden_state[0]


def vectors(folder):
    student = DualEncoder.load(RetrieverSettings(model=str(folder))).eval()
    with torch.no_grad():
        return student.embed(student.query_chunks([QUESTION]))[0], student.embed(student.passage_chunks([PASSAGE]))[0]


def test_dprs_two_encoders_become_two_routes(tmp_path, base, caplog):
    asked, told = bert(0), bert(1)
    tensors = named("question_model.", asked) | named("ctx_model.", told)
    tensors |= {f"{side}.embeddings.position_ids": torch.arange(32)[None] for side in ("question_model", "ctx_model")}
    file = tmp_path / "biencoder.cp"
    torch.save({"model_dict": tensors, "optimizer_dict": {"state": {}}, "epoch": 3, "encoder_params": {"a": "b"}}, file)
    assert import_checkpoint(file, tmp_path / "out", tokenizer=str(base)) == "retriever"
    assert "file of pickles" in caplog.text
    query, passage = vectors(tmp_path / "out")
    torch.testing.assert_close(query, states(asked, QUESTION)[0], rtol=0, atol=1e-5)
    # DPR lays a title and a text as a pair, with the separator between them.
    torch.testing.assert_close(passage, states(told, "book [SEP] anna wrote it")[0], rtol=0, atol=1e-5)
    assert not torch.allclose(query, states(told, QUESTION)[0], atol=1e-3)


def test_dprs_projection_follows_the_pooling(tmp_path, base):
    encoder, projection = bert(0), nn.Linear(16, 6)
    tensors = named("question_model.", encoder) | named("question_model.encode_proj.", projection)
    save_file(tensors, tmp_path / "dpr.safetensors")
    import_checkpoint(tmp_path / "dpr.safetensors", tmp_path / "out", tokenizer=str(base))
    expected = projection(states(encoder, QUESTION)[0])
    torch.testing.assert_close(vectors(tmp_path / "out")[0], expected.detach(), rtol=0, atol=1e-5)


def test_an_encoder_of_the_hub_is_taken_for_both_sides_and_that_is_said(tmp_path, base, caplog):
    encoder = bert(0)
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**SIZES, "model_type": "dpr", "projection_dim": 0}))
    save_file(named("question_encoder.bert_model.", encoder), folder / "model.safetensors")
    import_checkpoint(folder, tmp_path / "out", tokenizer=str(base))
    assert "one of DPR's two encoders" in caplog.text
    torch.testing.assert_close(vectors(tmp_path / "out")[0], states(encoder, QUESTION)[0], rtol=0, atol=1e-5)


def test_two_encoders_that_are_kept_apart_go_together(tmp_path, base):
    asked, told = bert(0), bert(1)
    for name, prefix, encoder in (("q", "question_encoder.bert_model.", asked), ("p", "ctx_encoder.bert_model.", told)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(SIZES))
        save_file(named(prefix, encoder), tmp_path / name / "model.safetensors")
    import_checkpoint(tmp_path / "q", tmp_path / "out", tokenizer=str(base), beside=tmp_path / "p")
    query, passage = vectors(tmp_path / "out")
    torch.testing.assert_close(query, states(asked, QUESTION)[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(passage, states(told, "book [SEP] anna wrote it")[0], rtol=0, atol=1e-5)
    with pytest.raises(ModelError, match="the other half"):
        import_checkpoint(tmp_path / "q", tmp_path / "x", tokenizer=str(base), beside=tmp_path / "q")


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_contriever_is_the_mean_of_its_tokens_and_loads_in_the_plain_library(tmp_path, base, prefix):
    encoder = bert(0)
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**SIZES, "architectures": ["Contriever"]}))
    save_file(named(prefix, encoder), folder / "model.safetensors")
    tokenizer().save_pretrained(folder)
    import_checkpoint(folder, tmp_path / "out")
    query, passage = vectors(tmp_path / "out")
    torch.testing.assert_close(query, states(encoder, QUESTION).mean(0), rtol=0, atol=1e-5)
    torch.testing.assert_close(passage, states(encoder, "book anna wrote it").mean(0), rtol=0, atol=1e-5)
    plain = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    torch.testing.assert_close(torch.tensor(plain.encode(QUESTION)), query, rtol=0, atol=1e-5)


def fid_folder(tmp_path, tensors, **told):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    config = {**SIZES, "apply_question_mask": True, "apply_passage_mask": True, "projection": False, **told}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")
    tokenizer().save_pretrained(folder)
    return folder


def test_fids_released_kind_is_the_mean_with_its_prompts(tmp_path, caplog):
    encoder = bert(0)
    import_checkpoint(fid_folder(tmp_path, named("model.", encoder), passage_maxlength=20), tmp_path / "out")
    assert caplog.text == ""
    query, passage = vectors(tmp_path / "out")
    torch.testing.assert_close(query, states(encoder, f"question: {QUESTION}").mean(0), rtol=0, atol=1e-5)
    expected = states(encoder, "title: book context: anna wrote it").mean(0)
    torch.testing.assert_close(passage, expected, rtol=0, atol=1e-5)
    assert SentenceTransformer(str(tmp_path / "out"), device="cpu").max_seq_length == 20


def test_an_encoder_that_looked_at_padding_is_told(tmp_path, caplog):
    import_checkpoint(fid_folder(tmp_path, named("model.", bert(0)), apply_passage_mask=False), tmp_path / "out")
    assert "apply_passage_mask" in caplog.text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tensors: tensors.pop("model.encoder.layer.1.output.dense.bias"), "output.dense.bias"),
        (lambda tensors: tensors.update({"model.other": torch.ones(1)}), "other"),
        (lambda tensors: tensors.update({"loss.weight": torch.ones(1)}), "loss"),
        (lambda tensors: tensors.update({"model.embeddings.LayerNorm.bias": torch.ones(3)}), "size mismatch"),
        (lambda tensors: tensors.update({"proj.weight": torch.ones(4, 16), "proj.bias": torch.ones(4)}), "norm"),
    ],
)
def test_a_tensor_without_its_place_is_an_error_that_names_it(tmp_path, change, reason):
    tensors = named("model.", bert(0))
    change(tensors)
    with pytest.raises(ModelError, match=reason):
        import_checkpoint(fid_folder(tmp_path, tensors), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tensors_of_an_unknown_kind_are_an_error(tmp_path, base):
    save_file({"roberta.x": torch.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="found roberta"):
        import_checkpoint(tmp_path / "x.safetensors", tmp_path / "out", tokenizer=str(base))


def test_a_checkpoint_without_a_tokenizer_says_how_to_name_one(tmp_path):
    save_file(named("model.", bert(0)), tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="--tokenizer"):
        import_checkpoint(tmp_path / "x.safetensors", tmp_path / "out")


def test_a_tokenizer_with_too_many_tokens_is_refused(tmp_path, base):
    config = BertConfig(**SIZES | {"vocab_size": 5})
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    config.save_pretrained(folder)
    save_file(named("", BertModel(config)), folder / "model.safetensors")
    with pytest.raises(ModelError, match="at most 5 tokens"):
        import_checkpoint(folder, tmp_path / "out", tokenizer=str(base))


def test_the_command_says_what_it_made_and_how_to_use_it(tmp_path, base):
    save_file(named("", bert(0)), tmp_path / "x.safetensors")
    arguments = [str(tmp_path / "x.safetensors"), "--tokenizer", str(base), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["import-checkpoint", *arguments])
    assert done.exit_code == 0, done.output
    assert f"--set retriever.model={tmp_path / 'out'}" in done.output.replace("\n", "")
    assert CliRunner().invoke(app, ["import-checkpoint", str(tmp_path / "none"), *arguments[1:]]).exit_code == 2
