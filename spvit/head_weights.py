"""How the verdicts of a token's heads become one: a squeeze-and-excite branch, or their plain mean."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from spvit.options import HeadWeighting
from spvit.selector import Scores

EPS = 1e-6


def squeeze_and_excite(num_heads: int, weighting: HeadWeighting) -> nn.Sequential | None:
    """SPViT's eq. 5, from the mean of each head's slice to its weight before the sigmoid; None where heads are equal.

    One head needs no weights.
    """
    if weighting is HeadWeighting.MEAN or num_heads == 1:
        return None
    squeezed = num_heads // 2
    return nn.Sequential(nn.Linear(num_heads, squeezed), nn.GELU(), nn.Linear(squeezed, num_heads))


def head_weights(branch: nn.Sequential | None, heads: Tensor) -> Tensor | None:
    """Weights (H, B M) of the heads at every token, for tokens cut into heads (B, M, H, d)."""
    if branch is None:
        return None
    squeeze, _, excite = cast("tuple[nn.Linear, nn.GELU, nn.Linear]", tuple(branch))
    means = heads.mean(-1).view(-1, heads.shape[2])
    hidden = functional.gelu(torch.addmm(squeeze.bias[:, None], squeeze.weight, means.t()))
    return torch.sigmoid(torch.addmm(excite.bias[:, None], excite.weight, hidden)).float()


def scores_of_heads(margins: Tensor, weights: Tensor | None, shape: torch.Size) -> Scores:
    """Scores of tokens of this shape (B, M) from the margins and weights (H, B M) of their heads (eq. 6)."""
    margins = margins.float()
    probabilities = torch.sigmoid(margins)
    if weights is None:
        return Scores(margins.mean(0).view(shape), probabilities.mean(0).view(shape))
    shares = weights / weights.sum(0).clamp_min(EPS)
    return Scores((shares * margins).sum(0).view(shape), (shares * probabilities).sum(0).view(shape))


def mean_over_tokens(values: Tensor, policy: Tensor | None) -> Tensor:
    """Mean of (B, M, H, d) over the tokens that the policy (B, M) keeps: (B, 1, H, d). Zero where it keeps none."""
    if policy is None:
        return values.mean(1, keepdim=True)
    weights = policy.to(values.dtype)
    total = torch.einsum("bm,bmhd->bhd", weights, values)
    return (total / weights.sum(1).clamp_min(EPS)[:, None, None]).unsqueeze(1)
