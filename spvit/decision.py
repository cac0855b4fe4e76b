"""How margins become decisions: the tokens with the largest ones, or drawn with noise and a gradient."""

from __future__ import annotations

import math

import torch
from torch import Tensor


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


def top_k_indices(margin: Tensor, num_kept: int, *, in_order: bool = True) -> Tensor:
    """Indices (B, K) of the largest margins, in rising order, so that survivors keep theirs; in any order if not."""
    indices = margin.topk(num_kept, dim=1, sorted=False).indices
    return indices.sort(dim=1).values if in_order else indices


def top_k_keep(margin: Tensor, num_kept: int, policy: Tensor | None = None) -> Tensor:
    """Decisions (B, M), 0 or 1, that keep the largest margins among the tokens that the policy has left."""
    if policy is not None:
        margin = margin.masked_fill(policy < 0.5, -math.inf)
    return torch.zeros_like(margin).scatter(1, top_k_indices(margin, num_kept), 1.0)
