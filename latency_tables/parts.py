"""The parts of a backbone as calls that can be timed: stem, blocks, selections, head, and complete models."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from latency_tables.clock import Work
from latency_tables.cuts import cut_of
from latency_tables.engine import EagerEngine, Engine, on
from latency_tables.key import BackboneShape, DType, SelectorOptions
from latency_tables.part_modules import Head, LastBlock, Pooling, Select, Stem
from spvit.options import SelectorKind
from spvit.pruned_model import PrunedModel
from spvit.pruning import prune
from spvit.schedule import PackageMode, PruningSchedule, Selection, TokenGeometry
from spvit.selection import Layout

SELECTION_KEEP_RATE = 0.7
"""Of the tokens that reach the selector; what it keeps decides only the gather, a small part of its cost."""


def shape_of(backbone: nn.Module) -> BackboneShape:
    """The sizes that decide a backbone's speed."""
    return cut_of(backbone).shape()


class Parts:
    """A copy of a backbone on the device and in the number format to be timed, cut into calls of an engine.

    Every call runs on real tokens of a random image and returns what it computed; none changes its input.
    """

    @torch.inference_mode(mode=False)  # tensors made in inference mode cannot be exported
    def __init__(
        self,
        backbone: nn.Module,
        *,
        batch_size: int,
        dtype: DType,
        device: str,
        selector: SelectorOptions,
        engine: Engine | None = None,
    ) -> None:
        """Copies the backbone; `dtype` and `device` are those of the copy.

        Raises:
            ConfigError: the engine cannot run here.
        """
        self._to: dict[str, Any] = {"device": torch.device(device), "dtype": getattr(torch, dtype)}
        self._backbone: Any = copy.deepcopy(backbone).to(**self._to).eval()
        self._cut = cut_of(self._backbone)
        self._selector = selector
        self._images = self._random_images(batch_size)
        with torch.no_grad():
            self._tokens = self._cut.tokens_of_levels(self._images)
        self._engine = engine or EagerEngine()
        self._engine.adopt(self._backbone)
        self._blocks = [self._cut.blocks_of(level) for level in range(len(self._tokens))]
        self._last_block = [LastBlock(self._cut.blocks[-1], self._cut.geometry.num_prefix_tokens)]

    def stem(self) -> Work:
        """Patch embedding, prefix tokens and positions."""
        return self._engine.work([Stem(self._cut)], (self._images,))

    def head(self) -> Work:
        """Final norm and classifier, on the prefix tokens alone, as a pruned model runs them.

        A head that reads patches gets half of them, about what schedules leave: of LV-ViT-S it is 1 % of the model.
        """
        geometry = self._cut.geometry
        num_patches = max(1, geometry.levels[-1].num_patches // 2) if self._cut.head_reads_patches else 0
        tokens = self._first(geometry.num_prefix_tokens + num_patches, level=-1)
        return self._engine.work([Head(self._backbone)], (tokens,))

    def pooling(self) -> Work | None:
        """All that leads from level to level; None where there is but one."""
        tokens = tuple(self._tokens[:-1])
        return self._engine.work([Pooling(self._cut)], tokens) if tokens else None

    def block(self, num_tokens: int, level: int = 0) -> Work:
        """One block on so many tokens; each call takes the weights of the level's next one, as a forward pass does."""
        return self._engine.work(self._blocks[level], (self._first(num_tokens, level),), any_num_tokens=True)

    def last_block(self, num_tokens: int) -> Work | None:
        """The last block of a pruned model on so many tokens; None where it computes more than its prefix tokens."""
        if not self._cut.last_block_can_skip_patches:
            return None
        return self._engine.work(self._last_block, (self._first(num_tokens, level=-1),), any_num_tokens=True)

    def selections(self, counts: Iterable[int], kind: SelectorKind, level: int = 0) -> dict[int, Callable[[], Work]]:
        """How to make, for each count, a selection in front of a block that so many tokens (prefix included) enter.

        It is selector, gather and package token. Where a pooling follows, putting the survivors back is a part: pruned
        models do so once for each selector.
        """
        model = self._model(_every_block(self._cut.geometry, level), kind)
        return {num_tokens: partial(self._selection, num_tokens, model, level) for num_tokens in counts}

    def _selection(self, num_tokens: int, model: PrunedModel, level: int) -> Work:
        layout = self._layout(level)
        is_pooled = level < len(self._tokens) - 1
        selects = [
            Select(
                model.selector(selection.block),
                self._cut.blocks[selection.block],
                selection=_selection_of(num_tokens - layout.num_prefix, self._selector.package),
                layout=layout,
                pooled_patches=self._tokens[level][:, layout.num_prefix :] if is_pooled else None,
            )
            for selection in model.plan.selections
        ]
        return self._engine.work(selects, (self._first(num_tokens, level),))

    def _layout(self, level: int) -> Layout:
        geometry = self._cut.geometry
        return Layout(
            num_prefix=geometry.num_prefix_tokens,
            num_patches=geometry.levels[level].num_patches,
            package_mode=self._selector.package,
        )

    def dense(self) -> Work:
        """The unpruned model."""
        return on(self._engine.model(self._backbone, self._images), self._images)

    def pruned(self, schedule: PruningSchedule) -> Work:
        """A complete pruned model with selectors of random weights, on this copy's backbone."""
        return on(self._engine.model(self._model(schedule), self._images), self._images)

    @torch.inference_mode(mode=False)
    def _model(self, schedule: PruningSchedule, kind: SelectorKind | None = None) -> PrunedModel:
        model = prune(
            self._backbone,
            schedule,
            selector=kind or self._selector.kind,
            head_weighting=self._selector.head_weighting,
            package=self._selector.package,
        )
        return model.to(**self._to).eval()

    def _first(self, num_tokens: int, level: int) -> Tensor:
        return self._tokens[level][:, :num_tokens].contiguous()

    def _random_images(self, batch_size: int) -> Tensor:
        patches = self._backbone.patch_embed
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(batch_size, self._backbone.in_chans, *patches.img_size, generator=generator)
        return images.to(**self._to)


def _selection_of(num_candidates: int, package: PackageMode) -> Selection:
    return Selection(
        block=0,
        num_candidates=num_candidates,
        num_kept=max(1, round(SELECTION_KEEP_RATE * num_candidates)),
        num_packages_before=0,
        num_packages_after=int(package is not PackageMode.NONE),
    )


def _every_block(geometry: TokenGeometry, level: int) -> PruningSchedule:
    """A selector in front of each block of a level, as far as the patches last: weights to rotate through."""
    start, num_blocks = geometry.level_starts[level], geometry.levels[level].num_blocks
    rates = [(num_blocks - block) / (num_blocks + 1) for block in range(num_blocks)]
    return PruningSchedule.from_keep_rates(rates, range(start, start + num_blocks))
