from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spvit.decision import sample_keep, straight_through, top_k_indices, top_k_keep
from spvit.light_selector import LightSelector
from spvit.multi_head_selector import MultiHeadSelector
from spvit.options import HeadWeighting
from spvit.per_head_selector import PerHeadSelector
from spvit.selector import INITIAL_KEEP_PROBABILITY, Scores


def scores_head_by_head(selector: MultiHeadSelector, x: Tensor, policy: Tensor) -> Scores:
    """SPViT, section 3.1, as it is written down: one head after the other, two logits, two averages."""
    heads = x.chunk(selector.num_heads, dim=-1)
    pooled = torch.stack([head.mean(-1) for head in heads], dim=-1)
    weights = torch.ones_like(pooled) if selector.weigh is None else torch.sigmoid(selector.weigh(pooled))
    log_sum, prob_sum = torch.zeros(*x.shape[:2], 2), torch.zeros(*x.shape[:2], 2)
    for h, head in enumerate(heads):
        z = F.gelu(selector.project(selector.norm(head)))
        half = z.shape[-1] // 2
        p = policy.unsqueeze(-1)
        context = (z[..., half:] * p).sum(1, keepdim=True) / p.sum(1, keepdim=True)
        u = torch.cat((z[..., :half], context.expand_as(z[..., half:])), dim=-1)
        logits = selector.out(F.gelu(selector.narrow(F.gelu(selector.hidden(u)))))
        log_sum = log_sum + weights[..., h, None] * logits.log_softmax(-1)
        prob_sum = prob_sum + weights[..., h, None] * logits.softmax(-1)
    total = weights.sum(-1, keepdim=True)
    log_score, prob = log_sum / total, prob_sum / total
    return Scores(log_score[..., 0] - log_score[..., 1], prob[..., 0])


def randomised(selector: MultiHeadSelector) -> MultiHeadSelector:
    for parameter in selector.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return selector


@pytest.mark.parametrize(("dim", "heads", "senet"), [(192, 3, 6_940), (384, 6, 6_975), (768, 12, 7_092)])
def test_parameter_counts_are_those_of_spvit(dim: int, heads: int, senet: int) -> None:
    def count(weighting: HeadWeighting) -> int:
        return sum(p.numel() for p in MultiHeadSelector(dim, heads, weighting=weighting).parameters())

    assert count(HeadWeighting.SENET) == senet
    assert count(HeadWeighting.MEAN) == 6_930


@pytest.mark.parametrize("weighting", HeadWeighting)
@pytest.mark.parametrize("heads", [1, 2, 3])
def test_fast_equals_head_by_head(weighting: HeadWeighting, heads: int) -> None:
    selector = randomised(MultiHeadSelector(48, heads, weighting=weighting))
    x, policy = torch.randn(2, 9, 48), (torch.rand(2, 9) > 0.4).float()
    torch.testing.assert_close(selector(x, policy), scores_head_by_head(selector, x, policy), rtol=1e-5, atol=1e-5)


def test_no_policy_means_that_all_tokens_are_there() -> None:
    selector, x = randomised(MultiHeadSelector(48, 3)), torch.randn(2, 9, 48)
    torch.testing.assert_close(selector(x), selector(x, torch.ones(2, 9)))


def test_tokens_outside_the_policy_change_no_other_score() -> None:
    selector, x = randomised(MultiHeadSelector(48, 3)), torch.randn(2, 9, 48)
    policy = torch.ones(2, 9)
    policy[:, 6:] = 0
    masked, gathered = selector(x, policy), selector(x[:, :6])
    torch.testing.assert_close(masked.margin[:, :6], gathered.margin)
    torch.testing.assert_close(masked.keep_probability[:, :6], gathered.keep_probability)


def test_an_empty_policy_gives_finite_scores_and_gradients() -> None:
    selector, x = randomised(MultiHeadSelector(48, 3)), torch.randn(2, 9, 48, requires_grad=True)
    policy = torch.zeros(2, 9, requires_grad=True)
    scores = selector(x, policy)
    (scores.margin.sum() + scores.keep_probability.sum()).backward()
    assert torch.isfinite(scores.margin).all()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(policy.grad).all()


def test_scores_are_float32_and_exact_under_autocast() -> None:
    selector, x = randomised(MultiHeadSelector(48, 3)), torch.randn(2, 9, 48)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = selector(x)
    assert scores.margin.dtype is scores.keep_probability.dtype is torch.float32
    torch.testing.assert_close(scores, selector(x))


def test_a_fresh_selector_keeps_nearly_everything() -> None:
    keep = MultiHeadSelector(192, 3)(torch.randn(4, 196, 192)).keep_probability
    assert abs(keep.mean().item() - INITIAL_KEEP_PROBABILITY) < 0.01


def test_heads_that_cannot_be_halved_twice_are_refused() -> None:
    with pytest.raises(ValueError, match="width divisible by 4, but 30 is cut into 3"):
        MultiHeadSelector(30, 3)


def test_sampling_has_the_law_of_a_two_class_gumbel_softmax() -> None:
    margin = torch.tensor([-2.0, 0.0, 1.0, 4.0]).repeat(40_000, 1)
    ours = sample_keep(margin).mean(0)
    logits = torch.stack((margin, torch.zeros_like(margin)), dim=-1)
    theirs = F.gumbel_softmax(logits, tau=1.0, hard=True)[..., 0].mean(0)
    torch.testing.assert_close(ours, torch.sigmoid(margin[0]), atol=0.01, rtol=0)
    torch.testing.assert_close(ours, theirs, atol=0.015, rtol=0)


def test_sampled_decisions_are_exactly_0_or_1_and_pass_a_gradient() -> None:
    margin = torch.randn(50, 40, requires_grad=True)
    keep = sample_keep(margin, temperature=0.5)
    keep.sum().backward()
    assert set(keep.detach().unique().tolist()) == {0.0, 1.0}
    assert (margin.grad > 0).any()


def test_without_noise_sampling_is_the_sign_of_the_margin() -> None:
    margin = torch.randn(5, 40)
    assert torch.equal(sample_keep(margin, noise_scale=0.0), (margin > 0).float())


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other() -> None:
    soft = torch.rand(100, requires_grad=True)
    out = straight_through(torch.ones(100), soft * 3)
    out.sum().backward()
    assert torch.equal(out, torch.ones(100))
    assert torch.equal(soft.grad, torch.full((100,), 3.0))


@given(margins=st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=30, unique=True), data=st.data())
def test_top_k_keeps_the_k_largest_of_those_left(margins: list[float], data: st.DataObject) -> None:
    alive = data.draw(st.lists(st.booleans(), min_size=len(margins), max_size=len(margins)).filter(any))
    k = data.draw(st.integers(1, sum(alive)))
    largest = sorted((m for m, a in zip(margins, alive, strict=True) if a), reverse=True)[:k]
    keep = top_k_keep(torch.tensor([margins]), k, torch.tensor([alive]).float())[0]
    assert [m in largest and a for m, a in zip(margins, alive, strict=True)] == keep.bool().tolist()


def test_top_k_indices_rise_and_agree_with_the_decisions() -> None:
    margin = torch.randn(4, 20)
    index = top_k_indices(margin, 7)
    assert (index.diff(dim=1) > 0).all()
    assert torch.equal(top_k_keep(margin, 7), torch.zeros(4, 20).scatter(1, index, 1.0))


@pytest.mark.parametrize("weighting", HeadWeighting)
def test_per_head_equals_shared_where_the_heads_are_equal(weighting: HeadWeighting) -> None:
    shared, own = randomised(MultiHeadSelector(48, 3, weighting=weighting)), PerHeadSelector(48, 3, weighting=weighting)
    with torch.no_grad():
        own.norm_weight.copy_(shared.norm.weight.expand(3, -1))
        own.norm_bias.copy_(shared.norm.bias.expand(3, -1))
        for name in ("project", "hidden", "narrow", "out"):
            theirs, ours = getattr(shared, name), getattr(own, name)
            ours.weight.copy_(theirs.weight.t().expand(3, -1, -1))
            ours.bias.copy_(theirs.bias.expand(3, 1, -1))
    if shared.weigh is not None:
        own.weigh.load_state_dict(shared.weigh.state_dict())
    x, policy = torch.randn(2, 9, 48), (torch.rand(2, 9) > 0.3).float()
    for seen in (None, policy):
        for ours, theirs in zip(own(x, seen), shared(x, seen), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_heads_of_a_per_head_selector_differ() -> None:
    selector, x = PerHeadSelector(48, 3, weighting=HeadWeighting.MEAN), torch.randn(1, 5, 48)
    with torch.no_grad():
        selector.out.weight[1:] = 0.0  # only the first head speaks
        before = selector(x).margin
        x[..., 16:32] += 1.0  # the second head's slice
        assert torch.equal(selector(x).margin, before)
        x[..., :16] += torch.randn(16)
        assert not torch.allclose(selector(x).margin, before)


@pytest.mark.parametrize(
    "make", [LightSelector, lambda dim: MultiHeadSelector(dim, 3), lambda dim: PerHeadSelector(dim, 3)]
)
def test_every_learned_selector_starts_near_keeping_everything_and_can_be_shifted(make: Any) -> None:
    selector, x = make(192), torch.randn(4, 50, 192)
    with torch.no_grad():
        before = selector(x)
    assert float(before.keep_probability.mean()) == pytest.approx(INITIAL_KEEP_PROBABILITY, abs=0.05)
    selector.shift_margin(-1.5)
    torch.testing.assert_close(selector(x).margin, before.margin - 1.5)
