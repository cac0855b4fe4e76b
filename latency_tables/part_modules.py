"""What lies around the blocks of a backbone as modules of their own, so that engines can compile or export it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from latency_tables.cuts import Cut
from spvit.last_block import prefix_after
from spvit.packaging import no_packages
from spvit.places import Places, put_back
from spvit.schedule import Selection
from spvit.selection import Gathered, Layout, select_gathered
from spvit.selector import TokenSelector


class Stem(nn.Module):
    """Patch embedding, prefix tokens and positions: images (B, C, H, W) to tokens (B, N, C)."""

    def __init__(self, cut: Cut) -> None:
        super().__init__()
        self._backbone, self._cut = cut.backbone, cut

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        return self._cut.stem(images)


class Head(nn.Module):
    """Final norm and classifier: tokens (B, N, C) to logits."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self._backbone = backbone

    def forward(self, tokens: Tensor) -> Tensor:
        """See the class."""
        logits: Tensor = self._backbone.forward_head(self._backbone.norm(tokens))
        return logits


class Pooling(nn.Module):
    """All that leads from level to level: tokens of every level but the last to those of the next one."""

    def __init__(self, cut: Cut) -> None:
        super().__init__()
        self._backbone, self._cut = cut.backbone, cut

    def forward(self, *tokens: Tensor) -> list[Tensor]:
        """See the class."""
        return [self._cut.pool(level, x) for level, x in enumerate(tokens)]


class LastBlock(nn.Module):
    """The last block of a pruned model: tokens (B, N, C) to the prefix tokens (B, P, C) alone."""

    def __init__(self, block: nn.Module, num_prefix: int) -> None:
        super().__init__()
        self._block, self._num_prefix = block, num_prefix

    def forward(self, tokens: Tensor) -> Tensor:
        """See the class."""
        return prefix_after(self._block, tokens, self._num_prefix)


class Select(nn.Module):
    """Selector, gather and package token: tokens (B, N, C) to what is left of them, in levels with a pooling behind
    together with the level's patches, into which the survivors are put back."""  # noqa: D205, D209

    def __init__(
        self,
        selector: TokenSelector,
        block: nn.Module,
        *,
        selection: Selection,
        layout: Layout,
        pooled_patches: Tensor | None,
    ) -> None:
        super().__init__()
        self._selector, self._block = selector, block
        self._selection, self._layout = selection, layout
        self._pooled_patches = pooled_patches

    def forward(self, tokens: Tensor) -> Gathered | tuple[Gathered, Tensor]:
        """See the class."""
        step = select_gathered(
            tokens,
            no_packages(tokens).mass,
            selector=self._selector,
            block=self._block,
            selection=self._selection,
            layout=self._layout,
        )
        if self._pooled_patches is None:
            return step
        start = self._layout.num_prefix
        survivors = step.tokens[:, start : start + self._selection.num_kept]
        return step, put_back(Places(self._pooled_patches, step.kept), survivors)
