"""The token selector: scores every token, head by head, and decides which ones stay."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from spvit.options import HeadWeighting

EPS = 1e-6
INITIAL_KEEP_PROBABILITY = 0.9


class Scores(NamedTuple):
    """What a selector thinks of each token: `margin` and `keep_probability`, both (B, M) in float32 or better.

    `margin` is the keep logit minus the drop logit; sampling keeps a token with probability sigmoid(margin).
    `keep_probability` averages the heads' probabilities and weighs a token within its package.
    """

    margin: Tensor
    keep_probability: Tensor


class MultiHeadSelector(nn.Module):
    """SPViT's multi-head token selector (section 3.1, eq. 3 to 6): an MLP shared by all heads, and head weights.

    With one head and `HeadWeighting.MEAN` it is DynamicViT's predictor.

    Args:
        dim: width of a token.
        num_heads: slices a token is cut into, as the attention cuts it.
        weighting: how the heads' margins are averaged. One head needs no weights.

    Raises:
        ValueError: the width of a head is no multiple of 4, so that the MLP cannot halve it twice.
    """

    def __init__(self, dim: int, num_heads: int, *, weighting: HeadWeighting = HeadWeighting.SENET) -> None:
        super().__init__()
        if dim % (4 * num_heads):
            raise ValueError(f"A selector needs heads of a width divisible by 4, but {dim} is cut into {num_heads}.")
        self.num_heads = num_heads
        width = dim // num_heads
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, width)
        self.hidden = nn.Linear(width, width // 2)
        self.narrow = nn.Linear(width // 2, width // 4)
        self.out = nn.Linear(width // 4, 2)
        self.weigh: nn.Sequential | None = (
            _squeeze_and_excite(num_heads) if weighting is HeadWeighting.SENET and num_heads > 1 else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start near "keep everything": from P(keep) = 0.5 the first steps of a training collapse.

        Weights start as torch draws them, not from trunc_normal(.02) as in the original: with those, 100 steps of
        learning a ranking brought .34/.24/.14 to 52 % where these brought it to 71 % (dense: 85 %).
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()
                nn.init.zeros_(module.bias)
        half_margin = 0.5 * math.log(INITIAL_KEEP_PROBABILITY / (1 - INITIAL_KEEP_PROBABILITY))
        with torch.no_grad():
            self.out.bias.copy_(torch.tensor([half_margin, -half_margin]))

    @torch.no_grad()
    def shift_margin(self, shift: float) -> None:
        """Add `shift` to the margin of every token, which changes how many are wanted but not which."""
        self.out.bias.add_(torch.tensor([0.5 * shift, -0.5 * shift]).to(self.out.bias))

    def forward(self, tokens: Tensor, policy: Tensor | None = None) -> Scores:
        """Score tokens.

        Args:
            tokens: (B, M, C): patches and packages, without class and other prefix tokens.
            policy: (B, M), 1 for tokens that are still there; all are where it is None.
        """
        # Half precision overflows in the noise and loses the order of near ties.
        with torch.autocast(tokens.device.type, enabled=False):
            heads = tokens.to(self.norm.weight.dtype).reshape(*tokens.shape[:2], self.num_heads, -1)
            margins = self._margins(heads, policy).float()
            weights = self._head_weights(heads)
            averaged = (average_heads(values, weights) for values in (margins, torch.sigmoid(margins)))
            return Scores(*(values.view(tokens.shape[:2]) for values in averaged))

    def _margins(self, heads: Tensor, policy: Tensor | None) -> Tensor:
        """Margins (H, B M) of every head, for tokens cut into heads (B, M, H, d).

        From the hidden layer on features come first: products with so few columns, and means over so few heads, cost
        a third less that way (64 images, 49 tokens of 4 x 16; a tenth less for DeiT-S).
        """
        batch, length, num_heads, width = heads.shape
        z = functional.gelu(self.project(self.norm(heads)))
        context = mean_over_tokens(z[..., width // 2 :], policy).view(batch * num_heads, -1)
        # [local ; context] W is local W_local + context W_context; the second product is the same for all tokens.
        for_local, for_context = self.hidden.weight.chunk(2, dim=1)
        x = torch.mm(for_local, z.view(-1, width)[:, : width // 2].t()).view(-1, batch, length, num_heads)
        shared = torch.addmm(self.hidden.bias[:, None], for_context, context.t()).view(-1, batch, 1, num_heads)
        x = functional.gelu(x + shared).view(width // 2, -1)
        x = functional.gelu(torch.addmm(self.narrow.bias[:, None], self.narrow.weight, x))
        weight, bias = self.out.weight, self.out.bias
        margins = torch.addmm((bias[:1] - bias[1:])[:, None], weight[:1] - weight[1:], x)
        return margins.view(batch * length, num_heads).t()

    def _head_weights(self, heads: Tensor) -> Tensor | None:
        """Weights (H, B M) of the heads at every token, from the mean of each head's slice."""
        if self.weigh is None:
            return None
        squeeze, excite = cast("nn.Linear", self.weigh[0]), cast("nn.Linear", self.weigh[2])
        means = heads.mean(-1).view(-1, self.num_heads)
        hidden = functional.gelu(torch.addmm(squeeze.bias[:, None], squeeze.weight, means.t()))
        return torch.sigmoid(torch.addmm(excite.bias[:, None], excite.weight, hidden)).float()


def _squeeze_and_excite(num_heads: int) -> nn.Sequential:
    squeezed = num_heads // 2
    return nn.Sequential(nn.Linear(num_heads, squeezed), nn.GELU(), nn.Linear(squeezed, num_heads))


def mean_over_tokens(values: Tensor, policy: Tensor | None) -> Tensor:
    """Mean of (B, M, H, d) over the tokens that the policy (B, M) keeps: (B, 1, H, d). Zero where it keeps none."""
    if policy is None:
        return values.mean(1, keepdim=True)
    weights = policy.to(values.dtype)
    total = torch.einsum("bm,bmhd->bhd", weights, values)
    return (total / weights.sum(1).clamp_min(EPS)[:, None, None]).unsqueeze(1)


def average_heads(values: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of (H, ...) over heads, weighted by (H, ...) where weights are given."""
    if weights is None:
        return values.mean(0)
    return (values * weights).sum(0) / weights.sum(0).clamp_min(EPS)


def logistic_noise(like: Tensor) -> Tensor:
    """Samples of the difference of two Gumbel variables, which is the standard logistic distribution."""
    tiny = torch.finfo(like.dtype).eps
    return torch.logit(torch.rand_like(like), eps=tiny)


def perturb(margin: Tensor, noise_scale: float) -> Tensor:
    """Margins with logistic noise, as a two-class Gumbel-softmax adds it."""
    return margin + noise_scale * logistic_noise(margin) if noise_scale else margin


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard`, to the last bit, with the gradient of `soft`."""
    return hard + (soft - soft.detach())


def sample_keep(margin: Tensor, *, temperature: float = 1.0, noise_scale: float = 1.0) -> Tensor:
    """Decisions (B, M), 0 or 1, sampled with probability sigmoid(margin) and passing a gradient straight through.

    The same law as the keep column of `functional.gumbel_softmax(..., hard=True)` over two classes.
    """
    soft = torch.sigmoid(perturb(margin, noise_scale) / temperature)
    return straight_through((soft > 0.5).to(soft.dtype), soft)


def top_k_indices(margin: Tensor, num_kept: int) -> Tensor:
    """Indices (B, K) of the largest margins, in rising order, so that survivors keep their order."""
    return margin.topk(num_kept, dim=1, sorted=False).indices.sort(dim=1).values


def top_k_keep(margin: Tensor, num_kept: int, policy: Tensor | None = None) -> Tensor:
    """Decisions (B, M), 0 or 1, that keep the largest margins among the tokens that the policy has left."""
    if policy is not None:
        margin = margin.masked_fill(policy < 0.5, -math.inf)
    return torch.zeros_like(margin).scatter(1, top_k_indices(margin, num_kept), 1.0)
