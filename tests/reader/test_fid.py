"""Fusion in the decoder: passages apart in the encoder, together in the decoder, and nothing else decides."""

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from dogeared.batching import ReaderBatch, reader_batch
from dogeared.compute import autocast, multiplies_bfloat16
from dogeared.distill.teachers import CrossAttention
from dogeared.errors import ModelError
from dogeared.reader.fid import FusionInDecoder, ReaderSettings
from dogeared.records import Passage
from dogeared.rounded import rounded_weights
from dogeared.training.dropout import set_dropout
from tiny_readers import KINDS, PASSAGES, QUESTIONS, passage, save_tiny, tiny_reader, tiny_tokenizer

ANSWERS = ["Anna", "the old tower", "river"]
FOUND = [PASSAGES[:3], [], PASSAGES[3:4]]
CLOSE = {"rtol": 0.0, "atol": 1e-5}


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FusionInDecoder]:
    """One of each kind; no test changes their weights."""
    return {kind: tiny_reader(kind, tmp_path_factory.mktemp("readers")) for kind in KINDS}


@pytest.fixture(params=KINDS)
def reader(request: pytest.FixtureRequest, readers: dict[str, FusionInDecoder]) -> FusionInDecoder:
    return readers[request.param]


def batch_of(
    reader: FusionInDecoder, questions: list[int], found: list[list[Passage]], *, budget: int = 16_384
) -> ReaderBatch:
    return reader_batch(
        reader.tokenizer,
        [QUESTIONS[i] for i in questions],
        found,
        answers=[ANSWERS[i] for i in questions],
        max_length_tokens=64,
        max_chunk_tokens=budget,
    )


@torch.no_grad()
def logits_of(reader: FusionInDecoder, batch: ReaderBatch) -> torch.Tensor:
    return reader.decode(reader.fuse(batch), reader.decoder_inputs(batch.labels))


@torch.no_grad()
def all_of(reader: FusionInDecoder, batch: ReaderBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What must not depend on anything but questions and passages: loss, logits, relevance."""
    return reader(batch), logits_of(reader, batch), CrossAttention(reader, precision="fp32").of_batch(batch)


def plain(reader: FusionInDecoder, question: int, found: Passage | None) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits and the loss of the library's own model on one pair."""
    text = f"question: {QUESTIONS[question]}"
    text += f" title: {found.title} context: {found.text}" if found else ""
    inputs = reader.tokenizer(text, return_tensors="pt")
    labels = batch_of(reader, [question], [[]]).labels
    start = torch.tensor([[reader.start_token_id]])
    with torch.no_grad():
        output = reader.model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            decoder_input_ids=torch.cat([start, labels[:, :-1]], dim=1),
        )
    return output.logits, F.cross_entropy(output.logits[0], labels[0])


def test_with_one_passage_it_is_the_plain_model(reader: FusionInDecoder):
    batch = batch_of(reader, [1], [[PASSAGES[2]]])
    logits, loss = plain(reader, 1, PASSAGES[2])
    torch.testing.assert_close(logits_of(reader, batch), logits, **CLOSE)
    torch.testing.assert_close(reader(batch).detach(), loss, **CLOSE)


def test_without_passages_it_is_the_plain_model_on_the_question(reader: FusionInDecoder):
    logits, _ = plain(reader, 1, None)
    torch.testing.assert_close(logits_of(reader, batch_of(reader, [1], [[]])), logits, **CLOSE)


def test_the_loss_is_the_library_s_own(readers: dict[str, FusionInDecoder]):
    reader = readers["t5"]
    batch = batch_of(reader, [1], [[PASSAGES[2]]])
    inputs = reader.tokenizer(
        f"question: {QUESTIONS[1]} title: {PASSAGES[2].title} context: {PASSAGES[2].text}", return_tensors="pt"
    )
    theirs = reader.model(**{k: inputs[k] for k in ("input_ids", "attention_mask")}, labels=batch.labels).loss
    torch.testing.assert_close(reader(batch), theirs, **CLOSE)


def test_the_loss_averages_over_tokens_not_over_questions(reader: FusionInDecoder):
    apart = [batch_of(reader, [i], [FOUND[i]]) for i in range(3)]
    weighted = sum(reader(batch).item() * batch.weight for batch in apart) / sum(batch.weight for batch in apart)
    assert reader(batch_of(reader, [0, 1, 2], FOUND)).item() == pytest.approx(weighted, abs=1e-5)


def test_zero_one_and_three_passages_in_one_batch_are_as_if_alone(reader: FusionInDecoder):
    _, logits, relevance = all_of(reader, batch_of(reader, [0, 1, 2], FOUND))
    for i in range(3):
        batch = batch_of(reader, [i], [FOUND[i]])
        _, own, own_relevance = all_of(reader, batch)
        torch.testing.assert_close(logits[i : i + 1, : batch.labels.shape[1]], own, **CLOSE)
        torch.testing.assert_close(relevance[i, : len(FOUND[i])], own_relevance[0], **CLOSE)
        assert relevance[i, len(FOUND[i]) :].tolist() == [-math.inf] * (3 - len(FOUND[i]))


@pytest.mark.parametrize("budget", [1, 45, 90])
def test_chunks_and_their_padding_change_nothing(reader: FusionInDecoder, budget: int):
    whole, cut = (batch_of(reader, [0, 1, 2], FOUND, budget=b) for b in (16_384, budget))
    assert len(cut.chunks) > len(whole.chunks) == 1
    assert not whole.chunks[0].mask.all()
    for after, before in zip(all_of(reader, cut), all_of(reader, whole), strict=True):
        torch.testing.assert_close(after, before, **CLOSE)


def test_the_order_of_passages_changes_nothing_but_the_order_of_relevance(reader: FusionInDecoder):
    order = [3, 0, 4, 1, 2]
    loss, logits, relevance = all_of(reader, batch_of(reader, [0], [PASSAGES]))
    moved_loss, moved_logits, moved_relevance = all_of(reader, batch_of(reader, [0], [[PASSAGES[i] for i in order]]))
    torch.testing.assert_close(moved_loss, loss, **CLOSE)
    torch.testing.assert_close(moved_logits, logits, **CLOSE)
    torch.testing.assert_close(moved_relevance[0], relevance[0, order], **CLOSE)
    assert relevance[0].sort().values.diff().min() > 2e-5


def test_the_other_questions_of_a_batch_change_nothing(reader: FusionInDecoder):
    for others in ([], [2], [2, 0]):
        batch = batch_of(reader, [1, *others], [PASSAGES[:2], *(PASSAGES[: 4 - i] for i in range(len(others)))])
        own = all_of(reader, batch_of(reader, [1], [PASSAGES[:2]]))
        torch.testing.assert_close(logits_of(reader, batch)[:1, : own[1].shape[1]], own[1], **CLOSE)
        torch.testing.assert_close(all_of(reader, batch)[2][:1, :2], own[2], **CLOSE)


@torch.no_grad()
def test_passages_are_encoded_apart(reader: FusionInDecoder):
    changed = [PASSAGES[0], passage(9, "a new blue song in Ghent"), PASSAGES[2]]
    before = reader.fuse(batch_of(reader, [0], [PASSAGES[:3]]))
    after = reader.fuse(batch_of(reader, [0], [changed]))
    for place in range(3):
        mine = before.states[0, before.passage_of_token[0] == place]
        other = after.states[0, after.passage_of_token[0] == place]
        same = mine.shape == other.shape and bool((mine - other).abs().max() <= 1e-6)
        assert same == (place != 1)


@torch.no_grad()
def test_every_passage_reaches_the_decoder(reader: FusionInDecoder):
    logits = logits_of(reader, batch_of(reader, [0], [PASSAGES[:3]]))
    for left_out in range(3):
        rest = [p for place, p in enumerate(PASSAGES[:3]) if place != left_out]
        assert (logits_of(reader, batch_of(reader, [0], [rest])) - logits).abs().max() > 1e-4


def test_gradients_do_not_depend_on_chunks(readers: dict[str, FusionInDecoder]):
    reader = readers["t5"]
    gradients = []
    for budget in (16_384, 45):
        reader.zero_grad()
        reader(batch_of(reader, [0, 1, 2], FOUND, budget=budget)).backward()
        gradients.append({name: p.grad.clone() for name, p in reader.named_parameters() if p.grad is not None})
    reader.zero_grad()
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_saves_loads_and_answers(kind: str, tmp_path: Path):
    reader = tiny_reader(kind, tmp_path)
    batch = reader.batch(QUESTIONS, FOUND, answers=ANSWERS)
    optimizer = torch.optim.Adam(reader.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = reader(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[:6] == sorted(losses[:6], reverse=True)
    assert losses[-1] < 0.2
    # Labels, start token, end token and generation fit together only if three answers can be learned by heart.
    assert reader.generate(batch) == ANSWERS

    reader.save(tmp_path / "saved")
    again = FusionInDecoder.load(reader.settings.model_copy(update={"model": str(tmp_path / "saved")})).eval()
    assert torch.equal(logits_of(again, batch), logits_of(reader, batch))
    assert again.generate(again.batch(QUESTIONS, FOUND)) == ANSWERS
    assert again.start_token_id == reader.start_token_id


def test_generation_is_the_plain_model_s_where_there_is_one_passage(readers: dict[str, FusionInDecoder]):
    reader = readers["t5_v1_1"]
    inputs = reader.tokenizer(f"question: {QUESTIONS[1]} title: song context: Cora sang", return_tensors="pt")
    theirs = reader.model.generate(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=6, do_sample=False
    )
    batch = reader.batch(QUESTIONS[1:2], [PASSAGES[1:2]])
    assert reader.generate_ids(reader.fuse(batch)).tolist() == theirs.tolist()
    assert reader.generate(batch) == [reader.tokenizer.decode(theirs[0], skip_special_tokens=True)]


@torch.no_grad()
def test_generated_tokens_are_the_best_of_each_step(readers: dict[str, FusionInDecoder]):
    for kind in ("t5_v1_1", "bart", "bert2bert"):
        reader = readers[kind]
        fused = reader.fuse(reader.batch(QUESTIONS, FOUND))
        ids = reader.generate_ids(fused)
        assert ids[:, 0].tolist() == [reader.start_token_id] * 3
        best = reader.decode(fused, ids[:, :-1]).argmax(-1)
        end, pad = reader.model.generation_config.eos_token_id, reader.model.generation_config.pad_token_id
        for row, greedy in zip(ids[:, 1:].tolist(), best.tolist(), strict=True):
            length = row.index(end) + 1 if end in row else len(row)
            assert row[:length] == greedy[:length]
            assert row[length:] == [pad] * (len(row) - length)


def test_answers_are_no_longer_than_the_settings_say(readers: dict[str, FusionInDecoder], tmp_path: Path):
    short = tiny_reader("bart", tmp_path, max_answer_tokens=2)
    batch = short.batch(QUESTIONS, FOUND)
    assert short.generate_ids(short.fuse(batch)).shape == (3, 1 + 2)
    assert readers["bart"].generate_ids(readers["bart"].fuse(batch)).shape == (3, 1 + 6)


def test_more_beams_find_an_answer_no_less_likely(readers: dict[str, FusionInDecoder], tmp_path: Path):
    greedy = readers["t5_v1_1"]
    wide = tiny_reader("t5_v1_1", tmp_path, num_beams=4)
    fused = greedy.fuse(greedy.batch(QUESTIONS, FOUND))

    def likelihood(ids: torch.Tensor) -> torch.Tensor:
        tokens = greedy.decode(fused, ids[:, :-1]).log_softmax(-1).gather(2, ids[:, 1:, None]).squeeze(2)
        # Beams are ranked by likelihood per token; padding follows the end and counts for nothing.
        real = (ids[:, 1:] == 1).cumsum(1).roll(1, 1)
        real[:, 0] = 0
        return (tokens * (real == 0)).sum(1) / (real == 0).sum(1)

    with torch.no_grad():
        assert (likelihood(wide.generate_ids(fused)) >= likelihood(greedy.generate_ids(fused)) - 1e-5).all()


@torch.no_grad()
@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_as_likely_as_the_decoder_finds_it_afterwards(kind: str, num_beams: int, tmp_path: Path):
    reader = tiny_reader(kind, tmp_path, num_beams=num_beams)
    fused = reader.fuse(reader.batch(QUESTIONS, FOUND))
    ids, likelihood = reader.generate_with_likelihood(fused)
    assert torch.equal(ids, reader.generate_ids(fused))
    assert likelihood.shape == ids[:, 1:].shape
    expected = reader.decode(fused, ids[:, :-1]).log_softmax(-1).gather(2, ids[:, 1:, None]).squeeze(2)
    end, counted = reader.model.generation_config.eos_token_id, 0
    for row, ours, theirs in zip(ids[:, 1:].tolist(), likelihood, expected, strict=True):
        length = row.index(end) + 1 if end in row else len(row)
        torch.testing.assert_close(ours[:length], theirs[:length], atol=1e-5, rtol=1e-5)
        counted += length
    assert counted > len(ids)


def test_habits_of_a_former_task_are_dropped(tmp_path: Path):
    saved = save_tiny("bart", tmp_path / "bart")
    plain_reader = FusionInDecoder.load(ReaderSettings(model=str(saved), max_length_tokens=64))
    told = saved / "generation_config.json"
    habits = {"forced_bos_token_id": 0, "no_repeat_ngram_size": 1, "min_length": 20, "num_beams": 3}
    told.write_text(json.dumps(json.loads(told.read_text()) | habits))
    reader = FusionInDecoder.load(ReaderSettings(model=str(saved), max_length_tokens=64))
    batch = reader.batch(QUESTIONS, FOUND)
    assert (
        reader.generate_ids(reader.fuse(batch)).tolist() == plain_reader.generate_ids(plain_reader.fuse(batch)).tolist()
    )


def test_what_stands_in_place_of_ignored_labels_is_never_looked_at(reader: FusionInDecoder):
    batch = batch_of(reader, [0, 1], [PASSAGES[:2], PASSAGES[2:4]])
    inputs = reader.decoder_inputs(batch.labels)
    assert inputs[:, 0].tolist() == [reader.start_token_id] * 2
    assert inputs[1, 1:].tolist() == batch.labels[1, :-1].tolist()
    other = inputs.clone()
    other[0, 3:] = 7
    assert not torch.equal(other, inputs)
    counted = batch.labels != -100
    fused = reader.fuse(batch)
    with torch.no_grad():
        torch.testing.assert_close(reader.decode(fused, other)[counted], reader.decode(fused, inputs)[counted], **CLOSE)


def test_a_batch_without_answers_has_no_loss(readers: dict[str, FusionInDecoder]):
    with pytest.raises(AssertionError, match="without answers"):
        readers["t5"](readers["t5"].batch(QUESTIONS, FOUND))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["no-such-owner/no-such-model", "demo:no-such-model", "./no/such/folder"])
def test_a_wrong_name_is_named(name: str):
    with pytest.raises(ModelError) as caught:
        FusionInDecoder.load(ReaderSettings(model=name))
    assert name in str(caught.value)


def test_a_folder_that_cannot_be_loaded_is_named(tmp_path: Path):
    cut = save_tiny("t5", tmp_path / "cut")
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    empty = save_tiny("t5", tmp_path / "empty")
    (empty / "config.json").write_text("{}")
    larger = save_tiny("t5", tmp_path / "larger")
    config = json.loads((larger / "config.json").read_text())
    (larger / "config.json").write_text(json.dumps(config | {"d_ff": 64}))
    for folder in (cut, empty, larger):
        with pytest.raises(ModelError) as caught:
            FusionInDecoder.load(ReaderSettings(model=str(folder)))
        assert str(folder) in str(caught.value)


def test_a_decoder_alone_is_no_reader(tmp_path: Path):
    tokenizer = tiny_tokenizer("t5")
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError) as caught:
        FusionInDecoder.load(ReaderSettings(model=str(tmp_path)))
    assert str(tmp_path) in str(caught.value)


def test_a_model_without_a_start_token_is_refused(tmp_path: Path):
    saved = save_tiny("t5", tmp_path / "t5")
    for name in ("config.json", "generation_config.json"):
        told = json.loads((saved / name).read_text())
        told.pop("decoder_start_token_id", None)
        (saved / name).write_text(json.dumps(told))
    with pytest.raises(ModelError, match="decoder_start_token_id"):
        FusionInDecoder.load(ReaderSettings(model=str(saved)))


@pytest.mark.parametrize("kind", ["t5", "bart", "bert2bert"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_activations_that_are_computed_anew_give_the_same_gradients(kind, dropout, tmp_path):
    reader = tiny_reader(kind, tmp_path).train()
    set_dropout(reader, dropout)
    batch = reader.batch(QUESTIONS[:2], [PASSAGES, PASSAGES[:1]], answers=["red", "green fox"])
    gradients = []
    for reader.encodes_twice in (False, True):
        reader.zero_grad()
        torch.manual_seed(3)
        reader(batch).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in reader.parameters() if p.grad is not None]))
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=0)


def of_the_library(reader: FusionInDecoder, folder: Path) -> PreTrainedModel:
    """A model of the same weights that this package has not touched."""
    reader.model.save_pretrained(folder)
    return type(reader.model).from_pretrained(folder, attn_implementation="eager").eval()


def states_of_the_library(model: PreTrainedModel, reader: FusionInDecoder, question: int, found: list[Passage]):
    """The states of each pair, encoded alone and without padding."""
    texts = [f"question: {QUESTIONS[question]} title: {one.title} context: {one.text}" for one in found]
    pairs = [reader.tokenizer(text, return_tensors="pt") for text in texts or [f"question: {QUESTIONS[question]}"]]
    encoder = model.get_encoder()
    return [encoder(pair["input_ids"], attention_mask=pair["attention_mask"]).last_hidden_state for pair in pairs]


@pytest.mark.parametrize("is_given", [False, True])
@pytest.mark.parametrize("kind", ["t5", "t5_v1_1", "mt5", "bart", "bert2bert"])
def test_weights_rounded_once_give_what_autocast_gives(kind, is_given, tmp_path):
    reader = tiny_reader(kind, tmp_path)
    for name, weight in reader.named_parameters():
        if "norm" in name.lower() and name.endswith("weight"):
            nn.init.normal_(weight, 1.0, 0.5)  # where all are 1, one that is lost or counted twice changes nothing
    library, batch = of_the_library(reader, tmp_path / "saved"), reader.batch(QUESTIONS[:2], [PASSAGES, PASSAGES[:1]])
    with torch.inference_mode():
        exact = reader.fuse(batch)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = reader.fuse(batch, reader.rounded_weights() if is_given else None).states
            plain = [
                torch.cat(states_of_the_library(library, reader, question, found), dim=1)[0].float()
                for question, found in enumerate([PASSAGES, PASSAGES[:1]])
            ]
    assert rounded.dtype == torch.bfloat16
    exact, plain = exact.states[exact.mask], torch.cat(plain)
    rounded = rounded[batch.plan.mask].float()
    error, usual = ((one - exact).norm() / exact.norm() for one in (rounded, plain))
    assert 0 < error < max(0.01, 1.3 * usual)


def test_every_weight_of_a_linear_layer_is_rounded_once(reader: FusionInDecoder):
    encoder = reader.model.get_encoder()
    linear = [part for part in encoder.modules() if isinstance(part, nn.Linear)]
    wanted = {id(weight) for part in linear for weight in part.parameters(recurse=False)}
    assert len(wanted) >= 12
    with torch.autocast("cpu", torch.bfloat16):
        weights = dict(encoder.named_parameters())
        assert {id(weights[name]) for name in rounded_weights(encoder)} == wanted
        assert reader.rounded_weights().keys() >= rounded_weights(encoder).keys()


def test_every_gradient_is_that_of_the_library_s_model(reader: FusionInDecoder, tmp_path: Path):
    """Each pair encoded alone, the states of a question one after the other: what the paper says, and no more."""
    library, batch = of_the_library(reader, tmp_path), batch_of(reader, [0, 1, 2], FOUND)
    total, labels = torch.zeros(()), batch.labels
    for question, found in enumerate(FOUND):
        output = library(
            encoder_outputs=BaseModelOutput(torch.cat(states_of_the_library(library, reader, question, found), dim=1)),
            decoder_input_ids=reader.decoder_inputs(labels)[question : question + 1],
        )
        total = total + F.cross_entropy(output.logits[0], labels[question], reduction="sum")
    (total / (labels >= 0).sum()).backward()
    reader.zero_grad()
    reader(batch).backward()
    expected = {name: weight.grad for name, weight in library.named_parameters() if weight.grad is not None}
    found_at = {name: weight.grad for name, weight in reader.model.named_parameters() if weight.grad is not None}
    reader.zero_grad()
    assert found_at.keys() == expected.keys()
    for name, gradient in expected.items():
        if not name.endswith(("key.bias", "k_proj.bias")):  # to which a softmax is blind: 0 and rounding
            assert gradient.norm() > 0, name
            assert (found_at[name] - gradient).norm() < 1e-5 * gradient.norm(), name


in_bfloat16 = pytest.mark.skipif(
    not multiplies_bfloat16(torch.device("cpu")), reason="this processor multiplies no matrices in bfloat16"
)


@in_bfloat16
@pytest.mark.parametrize("encodes_twice", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_learned_in_bfloat16_is_what_is_learned_in_float32(kind, encodes_twice, tmp_path):
    """The loss, and the gradient of every weight that has one of some size, within what bfloat16 can hold."""
    reader = tiny_reader(kind, tmp_path).train()
    set_dropout(reader, 0.0)
    reader.encodes_twice = encodes_twice
    batch = reader.batch(QUESTIONS, [PASSAGES, PASSAGES[:1], PASSAGES[1:3]], answers=["Anna", "Rome", "the river"])
    losses, gradients = [], []
    for precision in ("fp32", "bf16"):
        reader.zero_grad()
        with autocast(precision, reader.device):
            loss = reader(batch)
        loss.backward()
        losses.append(loss.detach())
        gradients.append({name: p.grad.clone() for name, p in reader.named_parameters() if p.grad is not None})
    exact, rounded = gradients
    assert losses[1].dtype == torch.float32 and losses[1].isfinite()
    assert losses[0] != losses[1], "bfloat16 is another precision"
    torch.testing.assert_close(*losses, rtol=2e-2, atol=0)
    assert rounded.keys() == exact.keys()
    largest = max(value.norm() for value in exact.values())
    for name, value in exact.items():
        assert rounded[name].dtype == torch.float32, name
        # A bias of keys has no gradient but rounding: softmax takes it away.
        assert (rounded[name] - value).norm() < 0.1 * value.norm() + 1e-3 * largest, name
    whole = [torch.cat([value.flatten() for value in one.values()]) for one in gradients]
    assert (whole[1] - whole[0]).norm() < 0.05 * whole[0].norm()
