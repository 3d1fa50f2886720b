"""Where every token goes, against a loop that anyone can check by eye."""

import random

import pytest
import torch

from dogeared.batching import (
    IGNORED_LABEL,
    ReaderBatch,
    TokenChunk,
    aligned,
    answer_labels,
    batch_of_rows,
    chunk_rows,
    reader_batch,
    sorted_chunks,
)
from tiny_readers import PASSAGES, QUESTIONS, passage, tiny_tokenizer

PAD = 0


def random_rows(seed: int, *, num_rows: int, longest: int = 9) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randint(1, 99) for _ in range(draw.randint(1, longest))] for _ in range(num_rows)]


def long_sequences(batch: ReaderBatch) -> list[list[int]]:
    """Lay tokens out as the reader lays out states, and read each long sequence back where it is real."""
    tokens = torch.cat([chunk.token_ids[chunk.mask] for chunk in batch.chunks])
    placed = torch.full((batch.plan.mask.numel(),), -7).index_copy(0, batch.plan.slots, tokens)
    rows = placed.view_as(batch.plan.mask)
    return [row[mask].tolist() for row, mask in zip(rows, batch.plan.mask, strict=True)]


@pytest.mark.parametrize("budget", [1, 9, 20, 64, 10_000])
@pytest.mark.parametrize("seed", range(4))
def test_every_row_is_in_one_chunk_whole_and_masked_as_it_is_long(budget: int, seed: int):
    rows = random_rows(seed, num_rows=17)
    seen = {}
    for chunk in chunk_rows(rows, pad_token_id=PAD, max_chunk_tokens=budget):
        for number, ids, mask in zip(chunk.rows.tolist(), chunk.token_ids, chunk.mask, strict=True):
            assert number not in seen
            seen[number] = ids[: len(rows[number])].tolist()
            assert mask.tolist() == [True] * len(rows[number]) + [False] * (len(ids) - len(rows[number]))
            assert ids[~mask].tolist() == [PAD] * int((~mask).sum())
    assert [seen[number] for number in range(len(rows))] == rows


@pytest.mark.parametrize("budget", [9, 20, 64])
def test_a_chunk_with_its_padding_keeps_to_the_budget_and_could_not_take_one_more(budget: int):
    rows = random_rows(1, num_rows=40)
    chunks = list(chunk_rows(rows, pad_token_id=PAD, max_chunk_tokens=budget))
    for chunk, following in zip(chunks, [*chunks[1:], None], strict=True):
        assert chunk.token_ids.numel() <= budget
        if following is not None:
            next_length = len(rows[following.rows[0]])
            assert next_length * (len(chunk.rows) + 1) > budget


def test_a_row_longer_than_the_budget_is_alone():
    chunks = list(chunk_rows([[1] * 30, [2, 2], [3] * 31], pad_token_id=PAD, max_chunk_tokens=10))
    assert [chunk.rows.tolist() for chunk in chunks] == [[1], [0], [2]]


def test_rows_of_one_length_keep_their_order_and_short_ones_come_first():
    chunks = list(chunk_rows([[1, 1], [2], [3, 3], [4]], pad_token_id=PAD, max_chunk_tokens=100))
    assert chunks[0].rows.tolist() == [1, 3, 0, 2]


def test_sorted_rows_of_equal_length_are_not_padded():
    rows = [[1] * length for length in (3, 8, 3, 8)]
    chunks = list(chunk_rows(rows, pad_token_id=PAD, max_chunk_tokens=16))
    assert all(chunk.mask.all() for chunk in chunks)


def test_shorter_rows_go_apart_where_that_saves_more_than_a_chunk_costs():
    def cut(lengths: list[int], most: int = 4096) -> list[tuple[int, int]]:
        return [(len(rows), width) for rows, width in sorted_chunks(lengths, max_chunk_tokens=most)]

    # 12 rows padded from 48 to 64 would be 192 tokens, 17 rows 272; a chunk costs 256.
    assert cut([48] * 12 + [64] * 20) == [(32, 64)]
    assert cut([48] * 17 + [64] * 20) == [(17, 48), (20, 64)]
    # Of 4 x 96 and 10 x 64 tokens the larger sum is saved first, and of what is left the larger again.
    assert cut([48] * 4 + [80] * 6 + [144] * 2) == [(10, 80), (2, 144)]
    assert cut([48] * 40 + [80] * 6 + [144] * 2) == [(40, 48), (6, 80), (2, 144)]
    # In chunks as a GPU likes them one more costs a sixteenth of the largest: here 4,096 tokens.
    assert cut([48] * 256 + [64] * 20, most=65_536) == [(276, 64)]
    assert cut([48] * 257 + [64] * 20, most=65_536) == [(257, 48), (20, 64)]


@pytest.mark.parametrize(
    ("length", "most", "width"),
    [(1, 99, 1), (32, 99, 32), (33, 99, 48), (48, 99, 48), (49, 99, 64), (97, 99, 99), (99, 99, 99), (100, 99, 100)],
)
def test_long_chunks_are_a_multiple_of_16_wide_unless_nothing_may_be_so_long(length: int, most: int, width: int):
    assert aligned(length, most=most) == width


def test_chunks_are_padded_to_a_multiple_of_16_and_keep_to_the_budget():
    rows = [[1] * length for length in (33, 40, 47, 48, 49, 70)]
    chunks = list(chunk_rows(rows, pad_token_id=PAD, max_length_tokens=72, max_chunk_tokens=150))
    assert [tuple(chunk.token_ids.shape) for chunk in chunks] == [(3, 48), (2, 64), (1, 72)]
    longest = list(chunk_rows(rows, pad_token_id=PAD, max_chunk_tokens=150))
    assert longest[-1].token_ids.shape == (1, 70)


@pytest.mark.parametrize("budget", [5, 18, 10_000])
@pytest.mark.parametrize("seed", range(6))
def test_every_token_is_where_a_plain_loop_puts_it(budget: int, seed: int):
    draw = random.Random(seed)
    num_passages = [draw.choice([0, 1, 1, 2, 3, 5]) for _ in range(draw.randint(1, 5))]
    rows = random_rows(seed, num_rows=sum(max(1, count) for count in num_passages))
    batch = batch_of_rows(rows, num_passages, pad_token_id=PAD, max_chunk_tokens=budget)

    remaining = iter(rows)
    tokens: list[list[int]] = []
    owners: list[list[int]] = []
    for count in num_passages:
        own = [next(remaining) for _ in range(max(1, count))]
        tokens.append([token for row in own for token in row])
        owners.append([place if count else -1 for place, row in enumerate(own) for _ in row])
    width = max(len(sequence) for sequence in tokens)

    assert long_sequences(batch) == tokens
    assert batch.plan.mask.shape == (len(num_passages), width)
    assert batch.plan.passage_of_token.tolist() == [own + [-1] * (width - len(own)) for own in owners]
    assert batch.plan.mask.sum(1).tolist() == [len(sequence) for sequence in tokens]
    assert batch.num_passages.tolist() == num_passages
    assert len(set(batch.plan.slots.tolist())) == sum(map(len, rows))


def test_by_hand():
    batch = batch_of_rows([[11, 12, 13], [21], [31, 32]], [2, 0], pad_token_id=PAD)
    # Sorted by length: row 1, row 2, row 0. Long sequences are four wide.
    assert batch.plan.slots.tolist() == [3, 4, 5, 0, 1, 2]
    assert batch.plan.mask.tolist() == [[True] * 4, [True, True, False, False]]
    assert batch.plan.passage_of_token.tolist() == [[0, 0, 0, 1], [-1] * 4]
    assert batch.labels is None
    assert batch.weight == 0


def test_the_number_of_rows_must_fit_the_numbers_of_passages():
    with pytest.raises(AssertionError, match="one row a passage"):
        batch_of_rows([[1], [2]], [2, 0], pad_token_id=PAD)


def fused_batch(kind: str = "t5", **kwargs) -> ReaderBatch:
    """Three questions with three passages, none, and one."""
    settings = {"max_length_tokens": 64} | kwargs
    return reader_batch(tiny_tokenizer(kind), QUESTIONS, [PASSAGES[:3], [], PASSAGES[3:4]], **settings)


@pytest.mark.parametrize("kind", ["t5", "bart", "bert"])
def test_the_long_sequences_are_the_templates_one_after_the_other(kind: str):
    tokenizer = tiny_tokenizer(kind)
    expected = [
        [
            token
            for p in PASSAGES[:3]
            for token in tokenizer(f"question: {QUESTIONS[0]} title: {p.title} context: {p.text}")["input_ids"]
        ],
        tokenizer(f"question: {QUESTIONS[1]}")["input_ids"],
        tokenizer(f"question: {QUESTIONS[2]} title: {PASSAGES[3].title} context: {PASSAGES[3].text}")["input_ids"],
    ]
    assert tokenizer.unk_token_id not in expected[0]
    assert long_sequences(fused_batch(kind)) == expected


def test_a_title_or_text_with_braces_is_text():
    batch = reader_batch(
        tiny_tokenizer("t5"), ["what {0} ?"], [[passage(0, "the {text} tower", title="{}")]], max_length_tokens=64
    )
    assert len(long_sequences(batch)[0]) == len(
        tiny_tokenizer("t5")("question: what {0} ? title: {} context: the {text} tower")["input_ids"]
    )


@pytest.mark.parametrize("budget", [1, 40, 100])
def test_the_budget_changes_chunks_and_nothing_else(budget: int):
    whole, cut = fused_batch(), fused_batch(max_chunk_tokens=budget)
    assert len(cut.chunks) > len(whole.chunks)
    assert long_sequences(cut) == long_sequences(whole)
    assert torch.equal(cut.plan.passage_of_token, whole.plan.passage_of_token)
    assert torch.equal(cut.plan.mask, whole.plan.mask)


def test_a_long_pair_is_cut_at_its_end_and_still_ended():
    tokenizer = tiny_tokenizer("t5")
    [row] = long_sequences(reader_batch(tokenizer, QUESTIONS[:1], [PASSAGES[:1]], max_length_tokens=12))
    whole = tokenizer(f"question: {QUESTIONS[0]} title: the book context: {PASSAGES[0].text}")["input_ids"]
    assert row == [*whole[:11], tokenizer.eos_token_id]


def test_questions_and_passages_must_be_equally_many():
    with pytest.raises(ValueError, match="shorter"):
        reader_batch(tiny_tokenizer("t5"), QUESTIONS, [[]], max_length_tokens=64)


def test_the_weight_counts_label_tokens_without_padding():
    batch = fused_batch(answers=["Anna", "the old tower", "river"])
    assert batch.weight == 2 + 4 + 2


def test_moving_moves_every_tensor():
    batch = fused_batch(answers=["Anna", "tower", "river"])
    moved = batch.to(torch.device("meta"))
    assert all(
        part.device.type == "meta" for chunk in moved.chunks for part in (chunk.token_ids, chunk.mask, chunk.rows)
    )
    assert isinstance(moved.chunks[0], TokenChunk)
    assert {moved.plan.slots.device.type, moved.plan.mask.device.type} == {"meta"}
    assert moved.plan.passage_of_token.device.type == "meta"
    assert moved.num_passages.device.type == moved.labels.device.type == "meta"
    assert batch.labels.device.type == "cpu"


@pytest.mark.parametrize("kind", ["t5", "bart", "bert"])
def test_an_answer_is_its_tokens_and_the_end_without_a_start(kind: str):
    tokenizer = tiny_tokenizer(kind)
    end = tokenizer.sep_token_id if kind == "bert" else tokenizer.eos_token_id
    word = tokenizer.convert_tokens_to_ids
    labels = answer_labels(tokenizer, ["the old tower", "Anna"], max_answer_tokens=32)
    assert labels.tolist() == [
        [word("the"), word("old"), word("tower"), end],
        [word("Anna"), end, IGNORED_LABEL, IGNORED_LABEL],
    ]


def test_a_long_answer_is_cut_so_that_its_end_fits():
    tokenizer = tiny_tokenizer("t5")
    [labels] = answer_labels(tokenizer, ["the old tower in the north"], max_answer_tokens=3).tolist()
    assert labels == [*tokenizer.convert_tokens_to_ids(["the", "old"]), tokenizer.eos_token_id]


def test_an_answer_without_tokens_is_the_end_alone():
    assert answer_labels(tiny_tokenizer("t5"), [""], max_answer_tokens=4).tolist() == [[1]]


def test_a_record_with_contradicting_shapes_is_refused_in_tests():
    with pytest.raises(TypeError, match="mask"):
        TokenChunk(
            token_ids=torch.zeros(2, 3, dtype=torch.long),
            mask=torch.ones(2, 2, dtype=torch.bool),
            places=torch.arange(4),
            rows=torch.tensor([0, 1]),
        )
