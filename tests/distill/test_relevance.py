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


REDUCE = {"mean": np.mean, "max": np.max, "sum": np.sum}


def numpy_choice(
    scores: np.ndarray,
    owners: np.ndarray,
    num_passages: int,
    choice: Aggregation,
    output_mask: np.ndarray,
    norms: np.ndarray,
    counted: np.ndarray,
) -> np.ndarray:
    """Every choice, spelled out question by question: output tokens, heads, layers, the tokens of each passage."""
    layers = range(len(scores))[-choice.num_last_layers or None :]
    result = np.full((len(owners), num_passages), -math.inf)
    for question, owner in enumerate(owners):
        real = owner >= 0
        if not real.any():
            continue
        outputs = [0] if choice.output_tokens == "first" else np.flatnonzero(output_mask[question])
        of_layers = []
        for layer in layers:
            of_heads = []
            for head in range(scores.shape[2]):
                of_outputs = []
                for output in outputs:
                    row = scores[layer, question, head, output, real]
                    if choice.quantity != "score":
                        row = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
                    if choice.quantity == "probability_times_value_norm":
                        row = row * norms[layer, question, head, real]
                    of_outputs.append(row)
                how = "mean" if choice.output_tokens == "first" else choice.over_output
                of_heads.append(REDUCE[how](of_outputs, axis=0))
            of_layers.append(REDUCE[choice.over_heads](of_heads, axis=0))
        of_token = REDUCE[choice.over_layers](of_layers, axis=0)
        for passage in set(owner[real].tolist()):
            mine = owner[real] == passage
            some = mine & counted[question][real] if choice.input_tokens == "passage" else mine
            result[question, passage] = REDUCE[choice.over_tokens](of_token[some if some.any() else mine])
    return result


OUTPUTS = torch.tensor([[True] * 5, [True, False, False, False, False], [True] * 5, [True, True, True, False, False]])
COUNTED = torch.tensor(
    [
        [False, True, False, True, True, True, False, False],  # nothing of the last passage counts
        [False, False, True, True, False, False, False, False],
        [False] * 8,
        [True, True, True, False, False, True, False, False],
    ]
)


def random_norms(seed: int = 7) -> torch.Tensor:
    return torch.rand(3, 4, 2, 8, generator=torch.Generator().manual_seed(seed)) + 0.1


@pytest.mark.parametrize("quantity", ["score", "probability", "probability_times_value_norm"])
@pytest.mark.parametrize("over_tokens", ["mean", "max", "sum"])
@pytest.mark.parametrize("input_tokens", ["all", "passage"])
@pytest.mark.parametrize(("output_tokens", "over_output"), [("first", "mean"), ("given", "mean"), ("generated", "max")])
@pytest.mark.parametrize(
    ("over_heads", "over_layers", "last"), [("mean", "mean", 0), ("max", "sum", 2), ("sum", "max", 1)]
)
def test_every_choice_equals_loops(
    quantity, over_tokens, input_tokens, output_tokens, over_output, over_heads, over_layers, last
):
    choice = Aggregation(
        quantity=quantity,
        output_tokens=output_tokens,
        over_output=over_output,
        over_tokens=over_tokens,
        over_heads=over_heads,
        over_layers=over_layers,
        num_last_layers=last,
        input_tokens=input_tokens,
    )
    scores, norms = random_scores(), random_norms()
    relevance = passage_relevance(
        scores,
        OWNERS,
        num_passages=4,
        aggregation=choice,
        output_mask=OUTPUTS,
        value_norms=norms,
        counted=COUNTED if input_tokens == "passage" else None,
    )
    arrays = (scores.double().numpy(), OWNERS.numpy(), 4, choice, OUTPUTS.numpy(), norms.double().numpy())
    np.testing.assert_allclose(relevance.numpy(), numpy_choice(*arrays, COUNTED.numpy()), rtol=1e-5, atol=1e-6)


def test_which_outputs_belong_to_an_answer_bears_on_nothing_where_the_first_is_asked():
    scores = random_scores()
    masked = passage_relevance(scores, OWNERS, num_passages=4, output_mask=torch.zeros_like(OUTPUTS))
    assert torch.equal(masked, passage_relevance(scores, OWNERS, num_passages=4))


def test_the_outputs_of_an_answer_add_up():
    ask = Aggregation(output_tokens="given", over_output="sum")
    found = passage_relevance(random_scores(), OWNERS, num_passages=4, aggregation=ask, output_mask=OUTPUTS)
    arrays = (OUTPUTS.numpy(), random_norms().double().numpy(), COUNTED.numpy())
    expected = numpy_choice(random_scores().double().numpy(), OWNERS.numpy(), 4, ask, *arrays)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_more_questions_than_tokens_are_asked_for_their_text():
    scores = torch.arange(6.0).reshape(1, 3, 1, 1, 2)
    relevance = passage_relevance(
        scores,
        torch.zeros(3, 2, dtype=torch.long),
        num_passages=1,
        aggregation=Aggregation(input_tokens="passage"),
        counted=torch.tensor([[False, True], [True, False], [False, False]]),
    )
    assert relevance.tolist() == [[1.0], [2.0], [4.5]]  # the last has no text that counts, and counts whole


def test_outputs_add_up_and_are_all_asked_without_a_mask():
    scores = random_scores()
    ask = Aggregation(output_tokens="given", over_output="sum")
    whole = passage_relevance(scores, OWNERS, num_passages=4, aggregation=ask)
    firsts = [passage_relevance(scores[:, :, :, output:], OWNERS, num_passages=4) for output in range(5)]
    torch.testing.assert_close(whole, torch.stack(firsts).sum(dim=0))


def test_output_positions_after_the_answer_never_count():
    scores = random_scores()
    spoiled = scores.masked_fill(~OUTPUTS[None, :, None, :, None], math.nan)
    for how in ("mean", "max", "sum"):
        ask = Aggregation(output_tokens="given", over_output=how)
        clean, dirty = (
            passage_relevance(s, OWNERS, num_passages=4, aggregation=ask, output_mask=OUTPUTS)
            for s in (scores, spoiled)
        )
        assert torch.equal(clean, dirty)


def one_sided(quantity: str) -> Aggregation:
    return Aggregation(quantity=quantity, input_tokens="passage")


def test_what_stands_before_the_text_does_not_count_however_long_it_is():
    scores = torch.randn(2, 1, 2, 1, 6, generator=torch.Generator().manual_seed(1))
    owners, counted = torch.tensor([[0, 0, 0, 1, 1, 1]]), torch.tensor([[False, True, True, False, True, True]])
    relevance = passage_relevance(scores, owners, num_passages=2, aggregation=one_sided("score"), counted=counted)
    for extra in range(1, 4):
        before = torch.full((2, 1, 2, 1, extra), 50.0)
        longer = torch.cat([before, scores[..., :3], before, scores[..., 3:]], dim=-1)
        more = torch.full((1, extra), 0)
        of_longer = passage_relevance(
            longer,
            torch.cat([more, owners[:, :3], more + 1, owners[:, 3:]], dim=1),
            num_passages=2,
            aggregation=one_sided("score"),
            counted=torch.cat([more > 0, counted[:, :3], more > 0, counted[:, 3:]], dim=1),
        )
        assert torch.equal(of_longer, relevance)


def test_probabilities_of_the_text_are_those_beside_the_question():
    scores = torch.tensor([[[[[1.0, 2.0, 3.0]]]]])
    counted = torch.tensor([[False, True, True]])
    relevance = passage_relevance(
        scores, torch.tensor([[0, 0, 1]]), num_passages=2, aggregation=one_sided("probability"), counted=counted
    )
    total = math.e + math.e**2 + math.e**3
    assert relevance[0].tolist() == pytest.approx([math.e**2 / total, math.e**3 / total])


def papers_own(scores: torch.Tensor, passage_of_token: torch.Tensor, num_passages: int) -> torch.Tensor:
    """The default as it was before there were other choices, operation by operation."""
    of_token = scores[:, :, :, 0, :].float().mean(dim=2).mean(dim=0)
    column = torch.where(passage_of_token < 0, num_passages, passage_of_token)
    relevance = of_token.new_full((of_token.shape[0], num_passages + 1), -torch.inf)
    return relevance.scatter_reduce_(1, column, of_token, reduce="mean", include_self=False)[:, :num_passages]


@pytest.mark.parametrize("seed", range(5))
def test_the_default_is_the_same_to_the_bit(seed):
    scores = random_scores(seed)
    for recorded in (scores, scores[:, :, :, :1], scores.bfloat16()):
        assert torch.equal(passage_relevance(recorded, OWNERS, num_passages=4), papers_own(recorded, OWNERS, 4))


def test_summed_probabilities_of_a_question_are_one():
    choice = Aggregation(quantity="probability", over_tokens="sum")
    relevance = passage_relevance(random_scores(), OWNERS, num_passages=4, aggregation=choice)
    summed = relevance.masked_fill(relevance.isneginf(), 0.0).sum(dim=1)
    torch.testing.assert_close(summed, torch.tensor([1.0, 1.0, 0.0, 1.0]))


def test_the_default_is_the_papers():
    paper = Aggregation()
    assert (paper.output_tokens, paper.input_tokens) == ("first", "all")
    assert (paper.quantity, paper.over_tokens, paper.over_heads, paper.over_layers, paper.num_last_layers) == (
        "score",
        "mean",
        "mean",
        "mean",
        0,
    )
