"""What happens to a sequence of tokens at one selector, in both forms: dropped tokens removed, or only masked.

Sequences are laid out as [prefix tokens, patches, package tokens].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from spvit.attention import bool_policy_mask, log_policy_mask
from spvit.decision import perturb, sample_keep, straight_through, top_k_indices, top_k_keep
from spvit.packaging import Packages, add_package, pack, package_weights, packages_with
from spvit.schedule import PackageMode, Selection
from spvit.selector import Scores, TokenSelector


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How decisions are drawn while training: noise of this scale, and the temperature of the gradient."""

    temperature: float = 1.0
    noise_scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0 or not self.noise_scale >= 0:
            raise ValueError(f"Sampling needs a temperature above 0 and noise of scale 0 or more, but got {self}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """What every selector of a model has in common."""

    num_prefix: int
    num_patches: int
    package_mode: PackageMode


class Gathered(NamedTuple):
    """After a selector: tokens (B, N', C), package masses (B, S), kept candidates (B, K), margins (B, M)."""

    tokens: Tensor
    mass: Tensor
    kept: Tensor
    margin: Tensor


class Masked(NamedTuple):
    """After a selector: tokens (B, N', C), package masses (B, S), the cumulative policy and margins (B, N0)."""

    tokens: Tensor
    mass: Tensor
    keep: Tensor
    margin: Tensor


def select_gathered(
    tokens: Tensor,
    mass: Tensor,
    *,
    selector: TokenSelector,
    block: nn.Module,
    selection: Selection,
    layout: Layout,
    sampling: Sampling | None = None,
    in_order: bool = True,
    scores: Scores | None = None,
) -> Gathered:
    """Remove tokens: of M candidates exactly K stay, in their order unless nobody asks for it: no block does.

    With sampling the K largest margins of a learned selector after noise stay, and survivors are multiplied by 1 with
    the gradient of their keep probability, so that the loss can tell the selector which of them mattered.

    `scores` are the selector's, of these tokens, where the caller has them already.
    """
    start, end = layout.num_prefix, layout.num_prefix + selection.num_candidates
    if scores is None:
        scores = selector.score(tokens, num_prefix=start, block=block)
    if selection.num_packages_before:
        scores = _of_patches(scores, selection.num_candidates)
    sampling = sampling if selector.is_learned else None
    noisy = scores.margin if sampling is None else perturb(scores.margin, sampling.noise_scale)
    kept = top_k_indices(noisy, selection.num_kept, in_order=in_order)
    survivors = take(tokens, kept, start)
    if sampling is not None:
        soft = torch.sigmoid(noisy / sampling.temperature).gather(1, kept)
        survivors = survivors * straight_through(torch.ones_like(soft), soft).unsqueeze(-1).to(survivors.dtype)
    packages: tuple[Tensor, ...] = (tokens[:, end:],)
    if layout.package_mode is not PackageMode.NONE:
        dropped = pack(tokens[:, start:end], package_weights(scores.keep_probability).scatter_(1, kept, 0.0))
        packages, mass = packages_with(Packages(tokens[:, end:], mass), dropped, layout.package_mode)
    left = torch.cat((tokens[:, :start], survivors, *packages), dim=1)
    return Gathered(left, mass, kept, scores.margin)


def select_masked(
    tokens: Tensor,
    mass: Tensor,
    keep: Tensor,
    *,
    selector: TokenSelector,
    block: nn.Module,
    selection: Selection,
    layout: Layout,
    sampling: Sampling | None = None,
) -> Masked:
    """Leave all tokens in place and narrow the policy (B, N0).

    With sampling a learned selector draws each token by itself, so that images keep different numbers; without,
    exactly K stay.
    """
    start, end = layout.num_prefix, layout.num_prefix + layout.num_patches
    packages = Packages(tokens[:, end:], mass)
    policy = torch.cat((keep, packages.policy), dim=1)
    scores = selector.score(tokens, num_prefix=start, block=block, policy=policy)
    scores = _of_patches(scores, layout.num_patches)
    sampling = sampling if selector.is_learned else None
    still = keep * _decide(scores.margin, keep, selection, sampling)
    if layout.package_mode is not PackageMode.NONE:
        dropped = pack(tokens[:, start:end], package_weights(scores.keep_probability) * (keep - still))
        packages = add_package(packages, dropped, layout.package_mode)
    return Masked(torch.cat((tokens[:, :end], packages.tokens), dim=1), packages.mass, still, scores.margin)


def attention_mask(step: Masked, *, num_prefix: int, sampling: Sampling | None) -> Tensor:
    """What the blocks after a selector may see in the masked form; with a gradient to the policy while sampling."""
    prefix = step.keep.new_ones(len(step.keep), num_prefix)
    policy = torch.cat((prefix, step.keep, Packages(step.tokens, step.mass).policy), dim=1)
    return bool_policy_mask(policy) if sampling is None else log_policy_mask(policy).to(step.tokens.dtype)


def _decide(margin: Tensor, keep: Tensor, selection: Selection, sampling: Sampling | None) -> Tensor:
    if sampling is None:
        return top_k_keep(margin, selection.num_kept, keep)
    return sample_keep(margin, temperature=sampling.temperature, noise_scale=sampling.noise_scale)


def _of_patches(scores: Scores, num_patches: int) -> Scores:
    """Without the scores of package tokens, which always stay."""
    return Scores(scores.margin[:, :num_patches], scores.keep_probability[:, :num_patches])


def take(tokens: Tensor, index: Tensor, start: int = 0) -> Tensor:
    """Tokens (B, K, C) at positions (B, K) of (B, N, C), counted from `start` on.

    Rows of the flattened batch are looked up as an embedding: half the time of `gather` with expanded indices on a
    CPU (.7 against 1.3 % of a DeiT-S block).
    """
    batch, length, width = tokens.shape
    if batch == 1:
        return functional.embedding(index, tokens[0, start:])
    first = torch.arange(start, start + batch * length, length, device=tokens.device)
    return functional.embedding(index + first.unsqueeze(1), tokens.reshape(batch * length, width))
