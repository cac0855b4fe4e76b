"""Package tokens: what a selector drops is folded into one token that stays (SPViT, section 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from spvit.schedule import PackageMode

EPS = 1e-6


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


def pack(tokens: Tensor, weights: Tensor) -> Packages:
    """One package: the weighted mean of tokens (B, M, C) by weights (B, M), zero for tokens that were not dropped."""
    mass = weights.sum(1, keepdim=True)
    shares = weights / mass.clamp_min(EPS)
    package = torch.bmm(shares.to(tokens.dtype).unsqueeze(1), tokens)
    return Packages(package.to(tokens.dtype), mass)  # autocast makes the product bfloat16


def add_package(packages: Packages, new: Packages, mode: PackageMode) -> Packages:
    """The packages after another selector.

    PER_SELECTOR appends the new one; SINGLE merges it into the running one by the weight that went into each; NONE
    forgets it.
    """
    match mode:
        case PackageMode.NONE:
            return packages
        case PackageMode.SINGLE:
            return _merge(packages, new)
        case PackageMode.PER_SELECTOR:
            return Packages(torch.cat((packages.tokens, new.tokens), 1), torch.cat((packages.mass, new.mass), 1))


def _merge(packages: Packages, new: Packages) -> Packages:
    if packages.tokens.shape[1] == 0:
        return new
    mass = packages.mass + new.mass
    share = (new.mass / mass.clamp_min(EPS)).unsqueeze(-1).to(new.tokens.dtype)
    return Packages(torch.lerp(packages.tokens, new.tokens, share), mass)
