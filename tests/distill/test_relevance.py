"""From recorded scores to one number a passage, against loops and hand-made numbers."""

import math

import numpy as np
import pytest
import torch

from dogeared.distill.relevance import Aggregation, passage_relevance


def plain_loop(scores: np.ndarray, passage_of_token: np.ndarray, num_passages: int) -> np.ndarray:
    """The definition, spelled out: the mean over layers, heads and tokens of output position 0."""
    result = np.full((len(passage_of_token), num_passages), -math.inf)
    for question, owners in enumerate(passage_of_token):
        for passage in range(num_passages):
            values = [
                scores[layer, question, head, 0, token]
                for layer in range(scores.shape[0])
                for head in range(scores.shape[2])
                for token in range(len(owners))
                if owners[token] == passage
            ]
            if values:
                result[question, passage] = sum(values) / len(values)
    return result


# Ragged: four passages, one, none (a question alone), three of which tokens do not stand side by side.
OWNERS = torch.tensor(
    [
        [0, 0, 1, 1, 1, 2, 3, 3],
        [0, 0, 0, 0, 0, -1, -1, -1],
        [-1, -1, -1, -1, -1, -1, -1, -1],
        [2, 0, 1, 0, 2, 2, -1, -1],
    ]
)


def random_scores(seed: int = 0) -> torch.Tensor:
    return torch.randn(3, 4, 2, 5, 8, generator=torch.Generator().manual_seed(seed)) * 4


@pytest.mark.parametrize("seed", range(3))
def test_it_equals_a_plain_loop(seed: int):
    scores = random_scores(seed)
    relevance = passage_relevance(scores, OWNERS, num_passages=4)
    expected = plain_loop(scores.double().numpy(), OWNERS.numpy(), 4)
    np.testing.assert_allclose(relevance.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_by_hand():
    # Two layers, two heads, one output position, three tokens: passage 0 has two tokens, passage 1 has one.
    scores = torch.tensor([[[[[1.0, 3.0, 5.0]], [[2.0, 4.0, 6.0]]]], [[[[0.0, 0.0, 7.0]], [[8.0, -2.0, 10.0]]]]])
    relevance = passage_relevance(scores, torch.tensor([[0, 0, 1]]), num_passages=2)
    assert relevance.tolist() == [[(1 + 3 + 2 + 4 + 0 + 0 + 8 - 2) / 8, (5 + 6 + 7 + 10) / 4]]


def test_absent_passages_have_minus_infinity_and_only_they():
    relevance = passage_relevance(random_scores(), OWNERS, num_passages=4)
    assert torch.isneginf(relevance).tolist() == [
        [False] * 4,
        [False, True, True, True],
        [True] * 4,
        [False, False, False, True],
    ]


@pytest.mark.parametrize("junk", [1e6, math.inf, -math.inf, math.nan])
def test_tokens_of_no_passage_never_count(junk: float):
    scores = random_scores()
    spoiled = scores.masked_fill((OWNERS < 0)[None, :, None, None, :], junk)
    assert torch.equal(
        passage_relevance(spoiled, OWNERS, num_passages=4), passage_relevance(scores, OWNERS, num_passages=4)
    )


def test_output_positions_after_the_first_never_count():
    scores = random_scores()
    spoiled = scores.clone()
    spoiled[:, :, :, 1:] = math.nan
    assert torch.equal(
        passage_relevance(spoiled, OWNERS, num_passages=4), passage_relevance(scores, OWNERS, num_passages=4)
    )


def test_a_longer_passage_is_not_more_relevant_for_its_length():
    scores = torch.full((2, 1, 2, 1, 8), 3.0)
    relevance = passage_relevance(scores, torch.tensor([[0, 1, 1, 1, 1, 1, 1, 1]]), num_passages=2)
    assert relevance.tolist() == [[3.0, 3.0]]


def test_more_columns_are_absent_passages():
    relevance = passage_relevance(random_scores(), OWNERS, num_passages=4)
    wider = passage_relevance(random_scores(), OWNERS, num_passages=6)
    assert torch.equal(wider[:, :4], relevance)
    assert torch.isneginf(wider[:, 4:]).all()


def test_no_passages_at_all_give_no_columns():
    assert passage_relevance(random_scores()[:, :1], OWNERS[2:3], num_passages=0).shape == (1, 0)


def test_scores_in_half_precision_are_averaged_in_single():
    scores = torch.full((1, 1, 1, 1, 3000), 1.0, dtype=torch.bfloat16)
    scores[..., ::2] = 2.0
    relevance = passage_relevance(scores, torch.zeros(1, 3000, dtype=torch.long), num_passages=1)
    assert relevance.dtype == torch.float32
    assert relevance.item() == 1.5


def test_owners_of_another_length_are_refused_in_tests():
    with pytest.raises(TypeError, match="passage_of_token"):
        passage_relevance(random_scores(), OWNERS[:, :-1], num_passages=4)


def numpy_choice(scores: np.ndarray, owners: np.ndarray, num_passages: int, choice: Aggregation) -> np.ndarray:
    """Every choice, spelled out with numpy: heads, then layers, then the tokens of each passage."""
    scores = scores[-choice.num_last_layers or None :, :, :, 0, :]
    result = np.full((len(owners), num_passages), -math.inf)
    for question in range(len(owners)):
        real = owners[question] >= 0
        if not real.any():
            continue
        mine = scores[:, question][:, :, real]
        if choice.quantity == "probability":
            mine = np.exp(mine - mine.max(-1, keepdims=True))
            mine = mine / mine.sum(-1, keepdims=True)
        of_layer = mine.mean(1) if choice.over_heads == "mean" else mine.max(1)
        of_token = of_layer.mean(0) if choice.over_layers == "mean" else of_layer.max(0)
        for passage in set(owners[question][real].tolist()):
            tokens = of_token[owners[question][real] == passage]
            result[question, passage] = {"mean": np.mean, "max": np.max, "sum": np.sum}[choice.over_tokens](tokens)
    return result


@pytest.mark.parametrize("quantity", ["score", "probability"])
@pytest.mark.parametrize("over_tokens", ["mean", "max", "sum"])
@pytest.mark.parametrize(
    ("over_heads", "over_layers", "last"), [("mean", "mean", 0), ("max", "mean", 2), ("mean", "max", 1)]
)
def test_every_choice_equals_numpy(quantity, over_tokens, over_heads, over_layers, last):
    choice = Aggregation(
        quantity=quantity,
        over_tokens=over_tokens,
        over_heads=over_heads,
        over_layers=over_layers,
        num_last_layers=last,
    )
    scores = random_scores()
    relevance = passage_relevance(scores, OWNERS, num_passages=4, aggregation=choice)
    expected = numpy_choice(scores.double().numpy(), OWNERS.numpy(), 4, choice)
    np.testing.assert_allclose(relevance.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_summed_probabilities_of_a_question_are_one():
    choice = Aggregation(quantity="probability", over_tokens="sum")
    relevance = passage_relevance(random_scores(), OWNERS, num_passages=4, aggregation=choice)
    summed = relevance.masked_fill(relevance.isneginf(), 0.0).sum(dim=1)
    torch.testing.assert_close(summed, torch.tensor([1.0, 1.0, 0.0, 1.0]))


def test_the_default_is_the_papers():
    paper = Aggregation()
    assert (paper.quantity, paper.over_tokens, paper.over_heads, paper.over_layers, paper.num_last_layers) == (
        "score",
        "mean",
        "mean",
        "mean",
        0,
    )
