"""The blocks of one level with the selectors between them, in both forms, and the whole grid that they leave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spvit.packaging import no_packages
from spvit.places import Places, blend_back, leave_behind, narrow, put_back
from spvit.schedule import Selection
from spvit.selection import Gathered, Layout, Masked, Sampling, attention_mask, select_gathered, select_masked
from spvit.selector import TokenSelector

Blocks = Iterable[tuple[int, Any]]
Selectors = Mapping[int, tuple[TokenSelector, Selection]]


class GatheredLevel(NamedTuple):
    """The end of a level: tokens (B, N', C) that are left, where their patches belong, and what selectors did."""

    tokens: Tensor
    places: Places | None
    steps: list[Gathered]

    def patches(self, layout: Layout) -> Tensor:
        """The surviving patches (B, M, C)."""
        num_left = layout.num_patches if self.places is None else self.places.position.shape[1]
        return self.tokens[:, layout.num_prefix : layout.num_prefix + num_left]

    def whole(self, layout: Layout) -> Tensor:
        """Prefix and all patches (B, N, C)."""
        return torch.cat((self.tokens[:, : layout.num_prefix], put_back(self.places, self.patches(layout))), dim=1)


class MaskedLevel(NamedTuple):
    """The end of a level: tokens (B, N', C), the policy (B, N0), what dropped patches left, and what selectors did."""

    tokens: Tensor
    keep: Tensor
    behind: Tensor | None
    steps: list[Masked]

    def patches(self, layout: Layout) -> Tensor:
        """The newest values of all patches (B, N0, C), also of those that were dropped."""
        return self.tokens[:, layout.num_prefix : layout.num_prefix + layout.num_patches]

    def whole(self, layout: Layout) -> Tensor:
        """Prefix and all patches (B, N, C), dropped ones as they were when they were dropped."""
        patches = blend_back(self.behind, self.patches(layout), self.keep)
        return torch.cat((self.tokens[:, : layout.num_prefix], patches), dim=1)


def run_level_gathered(
    x: Tensor, blocks: Blocks, selectors: Selectors, layout: Layout, sampling: Sampling | None
) -> GatheredLevel:
    """Run numbered blocks of one level on all of its tokens (B, N, C); selectors remove tokens."""
    level, mass = GatheredLevel(x, None, []), no_packages(x).mass
    for number, block in blocks:
        if number in selectors:
            selector, selection = selectors[number]
            step = select_gathered(
                x, mass, selector=selector, block=block, selection=selection, layout=layout, sampling=sampling
            )
            places = narrow(level.places, level._replace(tokens=x).patches(layout), step.kept)
            x, mass = step.tokens, step.mass
            level = GatheredLevel(x, places, [*level.steps, step])
        x = block(x)
    return level._replace(tokens=x)


def run_level_masked(
    x: Tensor, blocks: Blocks, selectors: Selectors, layout: Layout, sampling: Sampling | None
) -> MaskedLevel:
    """Run numbered blocks of one level on all of its tokens (B, N, C); selectors only mask them."""
    keep = x.new_ones(len(x), layout.num_patches, dtype=torch.float32)
    level, mass, mask = MaskedLevel(x, keep, None, []), no_packages(x).mass, None
    for number, block in blocks:
        if number in selectors:
            selector, selection = selectors[number]
            step = select_masked(
                x,
                mass,
                level.keep,
                selector=selector,
                block=block,
                selection=selection,
                layout=layout,
                sampling=sampling,
            )
            patches = level._replace(tokens=x).patches(layout)
            behind = leave_behind(level.behind, patches, level.keep - step.keep)
            x, mass = step.tokens, step.mass
            level = MaskedLevel(x, step.keep, behind, [*level.steps, step])
            mask = attention_mask(step, num_prefix=layout.num_prefix, sampling=sampling)
        x = block(x, attn_mask=mask)
    return level._replace(tokens=x)
