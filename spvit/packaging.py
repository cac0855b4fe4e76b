"""Package tokens: what a selector drops is folded into one token that stays (SPViT, section 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from spvit.decision import straight_through
from spvit.schedule import PackageMode

MIN_MASS_OF_GRADIENTS = 1e-6
"""Gradients of shares grow as 1 / mass. Below this mass they are those of it, so that they cannot overflow."""


class Packages(NamedTuple):
    """The package tokens of a batch: `tokens` (B, S, C) and the weight that went into each, `mass` (B, S)."""

    tokens: Tensor
    mass: Tensor

    @property
    def policy(self) -> Tensor:
        """(B, S): 0 for a package into which nothing was dropped, which no other token may see."""
        return (self.mass > 0).to(self.mass.dtype)


def no_packages(tokens: Tensor) -> Packages:
    """The packages before the first selector, for tokens (B, N, C)."""
    batch, _, width = tokens.shape
    return Packages(tokens.new_zeros(batch, 0, width), tokens.new_zeros(batch, 0, dtype=torch.float32))


def package_weights(keep_probability: Tensor) -> Tensor:
    """What tokens weigh in a package (B, M): more than 0 even where a keep probability underflows.

    A package is there where something was dropped, however little the selector thought of it.
    """
    return keep_probability.clamp_min(torch.finfo(keep_probability.dtype).tiny)


def shares_of(weights: Tensor) -> Tensor:
    """Weights (B, M) over their sum, however small it is; zero where all are zero."""
    return _shares(weights, weights.sum(1, keepdim=True))


def _shares(weights: Tensor, total: Tensor) -> Tensor:
    exact = weights / total.clamp_min(torch.finfo(weights.dtype).tiny)
    if not weights.requires_grad:
        return exact
    return straight_through(exact.detach(), weights / total.clamp_min(MIN_MASS_OF_GRADIENTS))


def pack(tokens: Tensor, weights: Tensor) -> Packages:
    """One package: the weighted mean of tokens (B, M, C) by weights (B, M), zero for tokens that were not dropped."""
    total = weights.sum(1, keepdim=True)
    package = torch.bmm(_shares(weights, total).to(tokens.dtype).unsqueeze(1), tokens)
    # Autocast makes the product bfloat16.
    return Packages(package.to(tokens.dtype), total)


def add_package(packages: Packages, new: Packages, mode: PackageMode) -> Packages:
    """The packages after another selector.

    PER_SELECTOR appends the new one; SINGLE merges it into the running one by the weight that went into each; NONE
    forgets it.
    """
    parts, mass = packages_with(packages, new, mode)
    return Packages(torch.cat(parts, dim=1), mass)


def packages_with(packages: Packages, new: Packages, mode: PackageMode) -> tuple[tuple[Tensor, ...], Tensor]:
    """What `add_package` gives, its tokens still in parts, which the caller may put together with others at once."""
    match mode:
        case PackageMode.NONE:
            return (packages.tokens,), packages.mass
        case PackageMode.SINGLE:
            merged = _merge(packages, new)
            return (merged.tokens,), merged.mass
        case PackageMode.PER_SELECTOR:
            return (packages.tokens, new.tokens), torch.cat((packages.mass, new.mass), 1)


def _merge(packages: Packages, new: Packages) -> Packages:
    if packages.tokens.shape[1] == 0:
        return new
    share = shares_of(torch.cat((packages.mass, new.mass), dim=1))[:, 1:]
    merged = torch.lerp(packages.tokens, new.tokens, share.unsqueeze(-1).to(new.tokens.dtype))
    return Packages(merged, packages.mass + new.mass)
