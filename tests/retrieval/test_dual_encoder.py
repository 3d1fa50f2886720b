"""The student: one folder for us and for plain sentence-transformers, and the paper's score for a plain encoder."""

import json
import shutil

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize
from transformers import AutoModel, AutoTokenizer

from dogeared.errors import ModelError
from dogeared.records import Passage
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings

QUESTIONS = ["who was born in the north ?", "when ?", "which house did she build in the year of her birth ?"]
PASSAGES = [
    Passage(id="a", title="the north", text="she was born in the sea ."),
    Passage(id="b", title="", text="he built a house ."),
    Passage(id="c", title="a house", text="it was built in the year of the sea and of the house , " * 5),
]


def load(model, **changes):
    return DualEncoder.load(RetrieverSettings(model=str(model), **changes)).eval()


def vectors(encoder, chunks):
    with torch.inference_mode():
        return encoder.embed(chunks).numpy()


@pytest.fixture
def plain(tiny_models):
    return tiny_models / "encoder"


@pytest.fixture
def ready(plain, tmp_path):
    """A model that was made to retrieve: prompts of its own, and normalisation at its end."""
    model = SentenceTransformer(str(plain), prompts={"query": "find : ", "document": ""}, device="cpu")
    model.append(Normalize())
    model.save_pretrained(str(tmp_path / "ready"))
    return tmp_path / "ready"


def test_a_plain_encoder_is_the_papers(plain):
    """Mean over real tokens, the paper's prompts, dot product over the root of the dimension: by hand, text by text."""
    encoder = load(plain, max_length_tokens=24)
    assert not encoder.is_cosine
    assert encoder.dim == 32
    tokenizer, model = AutoTokenizer.from_pretrained(plain), AutoModel.from_pretrained(plain).eval()

    def by_hand(text):
        tokens = tokenizer(text, truncation=True, max_length=24, return_tensors="pt")
        with torch.inference_mode():
            return model(**tokens).last_hidden_state[0].mean(dim=0).numpy()

    queries = np.stack([by_hand(f"question: {text}") for text in QUESTIONS])
    passages = np.stack([by_hand(f"title: {p.title} context: {p.text}") for p in PASSAGES])
    np.testing.assert_allclose(vectors(encoder, encoder.query_chunks(QUESTIONS)), queries, atol=1e-5)
    np.testing.assert_allclose(vectors(encoder, encoder.passage_chunks(PASSAGES)), passages, atol=1e-5)
    with torch.inference_mode():
        scores = encoder.score(torch.from_numpy(queries), torch.from_numpy(np.stack([passages] * 3)))
    np.testing.assert_allclose(scores.numpy(), queries @ passages.T / np.sqrt(32), atol=1e-5)


def test_a_model_that_ends_in_normalisation_is_compared_by_cosine(ready):
    encoder = load(ready)
    assert encoder.is_cosine
    assert encoder.model.similarity_fn_name == "cosine"
    queries, passages = (
        vectors(encoder, encoder.query_chunks(QUESTIONS)),
        vectors(encoder, encoder.passage_chunks(PASSAGES)),
    )
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1.0, atol=1e-5)
    scores = encoder.score(torch.from_numpy(queries), torch.from_numpy(np.stack([passages] * 3))).numpy()
    np.testing.assert_allclose(scores, queries @ passages.T, atol=1e-5)
    # Its own prompt, and no word of ours.
    plain = SentenceTransformer(str(ready), device="cpu")
    np.testing.assert_allclose(queries, plain.encode([f"find : {text}" for text in QUESTIONS]), atol=1e-5)
    texts = [f"{p.title} {p.text}".strip() for p in PASSAGES]
    np.testing.assert_allclose(passages, plain.encode(texts), atol=1e-5)


@pytest.mark.parametrize("start", ["plain", "ready", "plain made cosine"])
def test_a_saved_student_is_a_sentence_transformer_and_comes_back_the_same(start, plain, ready, tmp_path):
    similarity = "cosine" if start == "plain made cosine" else "auto"
    encoder = load(ready if start == "ready" else plain, max_length_tokens=16, similarity=similarity)
    queries, passages = (
        vectors(encoder, encoder.query_chunks(QUESTIONS)),
        vectors(encoder, encoder.passage_chunks(PASSAGES)),
    )
    encoder.save(tmp_path / "saved")

    other = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert other.max_seq_length == 16
    assert other.similarity_fn_name == ("dot" if start == "plain" else "cosine")
    np.testing.assert_allclose(other.encode_query(QUESTIONS), queries, atol=1e-6)
    template = json.loads((tmp_path / "saved" / "dogeared.json").read_text())["passage_template"]
    texts = [template.format(title=p.title, text=p.text).strip() for p in PASSAGES]
    np.testing.assert_allclose(other.encode_document(texts), passages, atol=1e-6)
    ranks = other.similarity(other.encode_query(QUESTIONS), other.encode_document(texts)).argsort(dim=1)
    ours = encoder.score(torch.from_numpy(queries), torch.from_numpy(np.stack([passages] * 3))).argsort(dim=1)
    assert ranks.tolist() == ours.tolist()

    again = load(tmp_path / "saved", max_length_tokens=16)
    assert again.is_cosine == encoder.is_cosine
    np.testing.assert_array_equal(vectors(again, again.query_chunks(QUESTIONS)), queries)
    np.testing.assert_array_equal(vectors(again, again.passage_chunks(PASSAGES)), passages)


def test_padding_bears_on_no_vector(plain):
    encoder = load(plain)
    alone = vectors(encoder, encoder.query_chunks(QUESTIONS[1:2]))
    among = vectors(encoder, encoder.query_chunks([QUESTIONS[1], "a house in the north of the sea " * 12]))
    np.testing.assert_allclose(among[:1], alone, atol=1e-5)
    assert np.abs(alone).max() > 0.01


def test_a_long_text_is_padded_to_a_multiple_of_16_and_no_further_than_the_model_goes(plain):
    encoder = DualEncoder.load(RetrieverSettings(model=str(plain), max_length_tokens=56))
    widths = set()
    for words in range(1, 60):
        (chunk,) = encoder.query_chunks(["the " * words])
        length, width = int(chunk.features["attention_mask"].sum()), chunk.features["input_ids"].shape[1]
        assert length == min(words + 4, 56)  # "query", ":" and the two around them
        assert width == (length if length <= 32 else min(-(-length // 16) * 16, 56))
        assert (chunk.features["input_ids"][0, length:] == encoder.model.tokenizer.pad_token_id).all()
        widths.add(width)
    assert widths == {*range(5, 33), 48, 56}


@pytest.mark.parametrize("max_chunk_tokens", [1, 40, 16_384])
def test_chunks_of_any_size_give_the_vectors_one_by_one_in_order(plain, max_chunk_tokens):
    encoder = load(plain)
    texts = ["the " * length for length in (9, 2, 30, 1, 17, 2, 5)] + QUESTIONS
    chunks = encoder.query_chunks(texts, max_chunk_tokens=max_chunk_tokens)
    assert (len(chunks) == 1) == (max_chunk_tokens == 16_384)
    assert sorted(torch.cat([chunk.rows for chunk in chunks]).tolist()) == list(range(len(texts)))
    one_by_one = np.concatenate([vectors(encoder, encoder.query_chunks([text])) for text in texts])
    np.testing.assert_allclose(vectors(encoder, chunks), one_by_one, atol=1e-5)


def test_long_texts_are_cut_at_their_end(plain):
    encoder = load(plain, max_length_tokens=8)
    chunks = encoder.query_chunks(["the sea " * 20, "the sea"])
    assert max(chunk.features["input_ids"].shape[1] for chunk in chunks) == 8
    both = vectors(
        encoder,
        encoder.query_chunks(["the sea the sea the sea the sea house", "the sea the sea the sea the sea north"]),
    )
    np.testing.assert_allclose(both[0], both[1], atol=1e-6)


def test_weights_are_single_precision_however_they_were_stored(plain, tmp_path):
    shutil.copytree(plain, tmp_path / "half")
    AutoModel.from_pretrained(plain, dtype=torch.bfloat16).save_pretrained(tmp_path / "half")
    assert {parameter.dtype for parameter in load(tmp_path / "half").parameters()} == {torch.float32}


def test_dot_products_of_vectors_of_length_one_are_refused(ready):
    with pytest.raises(ModelError, match="expected cosine or auto for a model that ends in normalisation, got dot"):
        load(ready, similarity="dot")


def test_a_saved_student_is_compared_as_wanted_or_refused(plain, tmp_path):
    load(plain).save(tmp_path / "dot")
    load(plain, similarity="cosine").save(tmp_path / "cosine")
    for name in ("dot", "cosine"):
        for similarity in ("auto", name):
            assert load(tmp_path / name, similarity=similarity).is_cosine == (name == "cosine")
    assert load(tmp_path / "dot", similarity="cosine").is_cosine
    with pytest.raises(ModelError, match="expected cosine or auto for a model that ends in normalisation, got dot"):
        load(tmp_path / "cosine", similarity="dot")


def test_what_is_no_encoder_is_an_error_that_says_so(tmp_path):
    with pytest.raises(ModelError, match="expected a folder with a saved model"):
        load(tmp_path / "absent")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "no such kind"}')
    with pytest.raises(
        ModelError, match=r"retriever\.model: expected a sentence-transformers model or an encoder, got"
    ):
        load(tmp_path / "other")
    with pytest.raises(ModelError, match="no such model is shipped"):
        load("demo:nothing")
