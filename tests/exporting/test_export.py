"""What is exported is what was trained, says so, and is found out where something reads it otherwise."""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer
from typer.testing import CliRunner

from dogeared.cli import app
from dogeared.errors import ArtifactError, ModelError
from dogeared.exporting.card import CardWords
from dogeared.exporting.export import export_retriever
from dogeared.exporting.onnx_graph import check_graph, write_onnx
from dogeared.exporting.reference import check_folder, check_server, read_reference, write_reference
from dogeared.pipeline.layout import RunFolder
from dogeared.records import Passage
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings

from .fake_hub import fake_hub


def call(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def exported(tiny_run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("exporting") / "model"
    told = ["--name", "me/model", "--license", "cc-by-sa-4.0", "--dataset", "us"]
    done = call("export", tiny_run, "--to", out, "--round", "1", *told)
    assert done.exit_code == 0, done.output
    assert "the retriever of round 1" in done.output
    return out


@pytest.fixture
def copied(exported, tmp_path) -> Path:
    return shutil.copytree(exported, tmp_path / "model")


def test_the_folder_is_the_rounds_retriever(exported, tiny_run):
    """Plain sentence-transformers loads it, and encodes as the student of the run does."""
    plain = SentenceTransformer(str(exported), device="cpu")
    student = DualEncoder.load(
        RetrieverSettings(model=str(tiny_run / "round-1/retriever"), max_length_tokens=64)
    ).eval()
    passage = Passage(id="1", title="Ada", text="She played the flute.")
    ours = student.embed(student.passage_chunks([passage]))[0].tolist()
    written = student.passage_template.format(title=passage.title, text=passage.text)
    assert plain.encode_document(written).tolist() == pytest.approx(ours, abs=1e-6)
    ours = student.embed(student.query_chunks(["Who?"]))[0].tolist()
    assert plain.encode_query("Who?").tolist() == pytest.approx(ours, abs=1e-6)


def test_the_card_says_what_the_run_says(exported, tiny_run):
    card = ModelCard.load(exported / "README.md")
    assert (card.data.license, card.data.datasets) == ("cc-by-sa-4.0", ["us"])
    assert (card.data.library_name, card.data.pipeline_tag) == ("sentence-transformers", "sentence-similarity")
    results = json.loads((tiny_run / "results.json").read_text(encoding="utf-8"))
    (row,) = [line for line in card.text.splitlines() if "round 1" in line and "| test |" in line]
    figures = [cell.strip() for cell in row.strip("|").split("|")][2:]
    measured = results["rounds"][1]["retriever"]["test"]
    names = ("answer_success@1", "answer_success@5", "answer_success@20", "success@1", "success@5", "mrr@10")
    assert figures == [f"{100 * measured[name]:.1f}" for name in names]
    assert "30 passages" in card.text
    assert "train 6, dev 6, test 6" in card.text
    assert "No label of relevance was used" in card.text
    assert card.text.count("\n| ") >= 6  # the start, the untouched student and round 1, on test and on dev


@pytest.mark.parametrize("language", ["en", "zh", "ja"])
def test_the_card_names_a_language_only_where_the_run_knows_it(tiny_run, tmp_path, language):
    """A run's "en" is any language with blanks between words: the model may as well be German."""
    run = RunFolder(shutil.copytree(tiny_run, tmp_path / "run"))
    told = json.loads(run.experiment.read_text(encoding="utf-8"))
    run.experiment.write_text(json.dumps(told | {"language": language}), encoding="utf-8")
    export_retriever(run, tmp_path / "model", words=CardWords(name="me/model"), number=1)
    card = ModelCard.load(tmp_path / "model" / "README.md")
    assert card.data.language == (None if language == "en" else language)
    rows = [line for line in card.text.splitlines() if line.startswith("| language |")]
    assert rows == ([] if language == "en" else [f"| language | {language} |"])


def test_no_path_of_this_machine_is_told(exported, tiny_models):
    for name in ("README.md", "experiment.json", "config.json", "config_sentence_transformers.json"):
        assert str(tiny_models) not in (exported / name).read_text(encoding="utf-8"), name
    assert json.loads((exported / "experiment.json").read_text(encoding="utf-8"))["retriever"]["model"] == "encoder"


def test_the_same_vectors_pass(exported):
    assert check_folder(exported) < 1e-5
    done = call("check-export", exported)
    assert done.exit_code == 0, done.output
    assert "the same vectors" in done.output
    assert {one.kind for one in read_reference(exported)} == {"query", "document"}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}),
        ("sentence_bert_config.json", {"max_seq_length": 16}),
        ("config.json", {"layer_norm_eps": 0.5}),
    ],
)
def test_what_reads_the_model_otherwise_is_found_out(copied, name, changes):
    told = json.loads((copied / name).read_text(encoding="utf-8"))
    assert set(changes) <= set(told)
    (copied / name).write_text(json.dumps(told | changes), encoding="utf-8")
    with pytest.raises(ModelError, match="differs by"):
        check_folder(copied)


def test_nothing_to_compare_with_is_an_error(copied):
    (copied / "reference_vectors.json").write_text("{}")
    assert call("check-export", copied).exit_code == 2
    (copied / "reference_vectors.json").unlink()
    with pytest.raises(ArtifactError, match="export the run again"):
        check_folder(copied)


@pytest.mark.parametrize("spoilt", [False, True])
def test_a_server_is_asked(exported, spoilt):
    """One that encodes as the folder says passes, one that pools otherwise does not."""
    model = SentenceTransformer(str(exported), device="cpu")
    if spoilt:
        model[1].pooling_mode = "cls"

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert (told["model"], self.headers["Authorization"]) == ("it", "Bearer secret")
            vectors = model.encode(told["input"])
            rows = [{"index": n, "embedding": vector.tolist()} for n, vector in enumerate(vectors)]
            body = json.dumps({"data": rows[::-1]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/v1/embeddings"
    try:
        if spoilt:
            with pytest.raises(ModelError, match="differs by"):
                check_server(exported, url, model="it", token="secret")
        else:
            assert check_server(exported, url, model="it", token="secret") < 1e-5
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
    with pytest.raises(ModelError, match="is it running"):
        check_server(exported, url, model="it")


def test_the_first_retrieval_has_nothing_to_export(tiny_run, tmp_path):
    refused = call("export", tiny_run, "--to", tmp_path / "out", "--round", "0")
    assert refused.exit_code == 2
    assert "expected a retriever that was trained" in refused.stderr
    assert not (tmp_path / "out").exists()
    assert call("export", tiny_run, "--to", tmp_path / "out", "--round", "best").exit_code == 2
    with pytest.raises(ArtifactError, match="round 9"):
        export_retriever(RunFolder(tiny_run), tmp_path / "out", words=CardWords(name="x"), number=9)


def test_the_graph_computes_what_torch_does(tmp_path, tiny_models):
    """By hand: the tokenizer of the folder, the graph, and the vectors that came along."""
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    encoder = DualEncoder.load(RetrieverSettings(model=str(tiny_models / "encoder"))).eval()
    encoder.save(tmp_path)
    write_reference(tmp_path, encoder)
    differences = write_onnx(encoder, tmp_path)
    assert set(differences) == {"model.onnx"}
    assert differences["model.onnx"] < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "onnx/model.onnx", providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_outputs()] == ["last_hidden_state", "sentence_embedding"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for one in read_reference(tmp_path):
        told = tokenizer([one.text], return_tensors="np", truncation=True)
        feeds = {name.name: told[name.name] for name in session.get_inputs()}
        (found,) = session.run(["sentence_embedding"], feeds)
        assert found[0].tolist() == pytest.approx(one.vector, abs=1e-5)
    # A graph of another encoder is not let through.
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(1.1)
    with pytest.raises(ModelError, match="differ from torch"):
        check_graph(encoder, None, tmp_path / "onnx/model.onnx")


def test_a_sparse_student_travels_too(tmp_path, tiny_language_model):
    settings = RetrieverSettings(model=str(tiny_language_model), vectors="sparse", max_length_tokens=64)
    encoder = DualEncoder.load(settings).eval()
    encoder.save(tmp_path)
    write_reference(tmp_path, encoder)
    assert check_folder(tmp_path) < 1e-5
    with pytest.raises(ModelError, match="dense"):
        write_onnx(encoder, tmp_path)


def test_a_folder_is_sent_whole_to_a_hub(tiny_run, tmp_path, monkeypatch):
    with fake_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        arguments = ["export", tiny_run, "--to", tmp_path / "model", "--round", "1", "--push-to-hub", "me/model"]
        done = call(*arguments)
        assert done.exit_code == 0, done.output
        assert f"{hub.url}/me/model" in done.output
        monkeypatch.setenv("HF_TOKEN", "hf_wrong")
        refused = call(*arguments)
        assert refused.exit_code == 2
        assert "HF_TOKEN" in refused.stderr
    assert (len(hub.made), hub.made[0]["visibility"], hub.unknown) == (1, "private", [])
    here = {path.relative_to(tmp_path / "model").as_posix(): path for path in (tmp_path / "model").rglob("*")}
    assert hub.files == {name: path.read_bytes() for name, path in here.items() if path.is_file()}
    assert hub.files["README.md"].startswith(b"---\nlibrary_name: sentence-transformers\n")


def test_a_name_that_no_hub_takes_is_refused_before_any_work(tiny_run, tmp_path):
    refused = call("export", tiny_run, "--to", tmp_path / "model", "--push-to-hub", "me/my model!")
    assert refused.exit_code == 2
    assert not (tmp_path / "model").exists()
