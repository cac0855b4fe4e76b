"""The parts of a backbone as calls that can be timed: stem, blocks, selections, head, and complete models."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from itertools import cycle
from typing import Any, cast

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from latency_tables.clock import Work
from latency_tables.key import BackboneShape, DType, SelectorOptions
from spvit.attention import embed
from spvit.errors import UnsupportedModelError
from spvit.factory import geometry_of
from spvit.last_block import can_skip_patches, prefix_after
from spvit.model import PrunedViT
from spvit.options import SelectorKind
from spvit.packaging import no_packages
from spvit.pooling import reads_patches
from spvit.schedule import PackageMode, PruningSchedule, Selection, TokenGeometry
from spvit.selection import select_gathered
from spvit.selector import TokenSelector
from spvit.widths import mlp_ratio_of

SELECTION_KEEP_RATE = 0.7
"""Of the tokens that reach the selector; what it keeps decides only the gather, a small part of its cost."""


def shape_of(backbone: VisionTransformer) -> BackboneShape:
    """The sizes that decide a backbone's speed.

    Raises:
        UnsupportedModelError: the backbone pools its patches on the way, so that its blocks are of several widths.
    """
    _check_one_width(backbone)
    geometry, block, projection = geometry_of(backbone), backbone.blocks[0], backbone.patch_embed.proj
    return BackboneShape(
        depth=geometry.depth,
        num_patches=geometry.num_patches,
        num_prefix_tokens=geometry.num_prefix_tokens,
        embed_dim=backbone.embed_dim,
        num_heads=block.attn.num_heads,
        mlp_ratio=mlp_ratio_of(block, backbone.embed_dim),
        num_patch_inputs=projection.weight[0].numel(),
        num_classes=backbone.num_classes,
    )


def _check_one_width(backbone: VisionTransformer) -> None:
    num_levels = len(geometry_of(backbone).levels)
    if num_levels > 1:
        raise UnsupportedModelError(
            f"A latency table needs a backbone whose blocks are all of one width, but {type(backbone).__name__} has "
            f"{num_levels} levels of different widths, so it cannot be profiled or searched. `spvit-search fine-tune` "
            "and `spvit-search evaluate` work with it: give its schedule in [pruning]."
        )


class Parts:
    """A copy of a backbone on the device and in the number format to be timed, cut into calls.

    Every call runs on real tokens of a random image and returns what it computed; none changes its input.
    """

    def __init__(
        self, backbone: VisionTransformer, *, batch_size: int, dtype: DType, device: str, selector: SelectorOptions
    ) -> None:
        """Copies the backbone; `dtype` and `device` are those of the copy."""
        self._to: dict[str, Any] = {"device": torch.device(device), "dtype": getattr(torch, dtype)}
        self._backbone = cast("VisionTransformer", copy.deepcopy(backbone).to(**self._to).eval())
        self._selector = selector
        self._images = self._random_images(batch_size)
        self._layout = self._model(PruningSchedule()).layout
        with torch.inference_mode():
            self._tokens = self._stem()

    def stem(self) -> Work:
        """Patch embedding, prefix tokens and positions."""
        return self._stem

    def head(self) -> Work:
        """Final norm and classifier, on the prefix tokens alone, as a pruned model runs them.

        A head that reads patches gets half of them, about what schedules leave: of LV-ViT-S it is 1 % of the model.
        """
        num_patches = max(1, self._layout.num_patches // 2) if reads_patches(self._backbone) else 0
        tokens = self._first(self._layout.num_prefix + num_patches)
        return lambda: self._backbone.forward_head(self._backbone.norm(tokens))

    def block(self, num_tokens: int) -> Work:
        """One block on so many tokens; each call takes the weights of the next one, as a forward pass does."""
        blocks, tokens = cycle(self._backbone.blocks), self._first(num_tokens)
        return lambda: next(blocks)(tokens)

    def last_block(self, num_tokens: int) -> Work | None:
        """The last block of a pruned model on so many tokens; None where it computes more than its prefix tokens."""
        block = self._backbone.blocks[-1]
        if reads_patches(self._backbone) or not can_skip_patches(block):
            return None
        tokens, num_prefix = self._first(num_tokens), self._layout.num_prefix
        return lambda: prefix_after(block, tokens, num_prefix)

    def selections(self, counts: Iterable[int], kind: SelectorKind) -> dict[int, Work]:
        """Selector, gather and package token in front of a block that so many tokens would enter (prefix included)."""
        model = self._model(_every_block(geometry_of(self._backbone)), kind)
        selectors = [(model.selector(s.block), model.backbone.blocks[s.block]) for s in model.plan.selections]
        return {num_tokens: self._selection(num_tokens, cycle(selectors)) for num_tokens in counts}

    def _selection(self, num_tokens: int, selectors: Iterator[tuple[TokenSelector, nn.Module]]) -> Work:
        patches = num_tokens - self._layout.num_prefix
        selection = Selection(
            block=0,
            num_candidates=patches,
            num_kept=max(1, round(SELECTION_KEEP_RATE * patches)),
            num_packages_before=0,
            num_packages_after=int(self._selector.package is not PackageMode.NONE),
        )
        tokens = self._first(num_tokens)
        mass = no_packages(tokens).mass

        def select() -> object:
            selector, block = next(selectors)
            return select_gathered(
                tokens, mass, selector=selector, block=block, selection=selection, layout=self._layout
            )

        return select

    def dense(self) -> Work:
        """The unpruned model."""
        return lambda: self._backbone(self._images)

    def pruned(self, schedule: PruningSchedule) -> Work:
        """A complete pruned model with selectors of random weights, on this copy's backbone."""
        model = self._model(schedule)
        return lambda: model(self._images)

    def _model(self, schedule: PruningSchedule, kind: SelectorKind | None = None) -> PrunedViT:
        model = PrunedViT(
            self._backbone,
            schedule,
            selector=kind or self._selector.kind,
            head_weighting=self._selector.head_weighting,
            package=self._selector.package,
        )
        return model.to(**self._to).eval()

    def _stem(self) -> Tensor:
        return embed(self._backbone, self._images)

    def _first(self, num_tokens: int) -> Tensor:
        return self._tokens[:, :num_tokens].contiguous()

    def _random_images(self, batch_size: int) -> Tensor:
        patches = self._backbone.patch_embed
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(batch_size, self._backbone.in_chans, *patches.img_size, generator=generator)
        return images.to(**self._to)


def _every_block(geometry: TokenGeometry) -> PruningSchedule:
    """A selector in front of each block, as far as the patches last: weights to rotate through."""
    rates = [(geometry.depth - block) / (geometry.depth + 1) for block in range(geometry.depth)]
    return PruningSchedule.from_keep_rates(rates, range(geometry.depth))
