"""The networks that pruned_inference.py compares: one backbone, and every way of reducing tokens, at equal counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from executed_macs import executed_macs
from peers.dynamicvit import DynamicViT
from peers.evit import EViT
from peers.tome import ToMe
from torch import Tensor, nn

from spvit.factory import geometry_of
from spvit.model import PrunedViT
from spvit.options import HeadWeighting, SelectorKind
from spvit.schedule import PruningSchedule
from spvit.widths import macs_counter

BLOCKS = (3, 6, 9)
OURS = (SelectorKind.MULTI_HEAD, SelectorKind.LIGHT)


@dataclass(frozen=True, kw_only=True)
class Network:
    """One way of reducing tokens.

    Attributes:
        name: of the way.
        model: takes images, gives logits.
        macs: multiply-accumulates of one image as papers count them, with every block in full.
        executed_macs: those that are really executed; fewer where the last block computes the class token alone.
        block_tokens: for every block the tokens that its attention and its MLP see.
    """

    name: str
    model: nn.Module
    macs: int
    executed_macs: int
    block_tokens: tuple[tuple[int, int], ...]

    @property
    def is_ours(self) -> bool:
        """Whether it is `PrunedViT`, whose last block computes the class token alone."""
        return isinstance(self.model, PrunedViT)

    @property
    def ideal_name(self) -> str:
        """Equal for networks that differ in nothing but how tokens are chosen."""
        return f"ideal on {self.block_tokens}{', last block shortened' if self.is_ours else ''}"


def our_name(selector: SelectorKind) -> str:
    return f"ours, {selector}"


def our_networks(backbone: Any, keep_rate: float) -> list[Network]:
    """`PrunedViT` with the schedule r, r^2, r^3 before blocks 3, 6, 9, once for each selector."""
    return [_our_network(backbone, PruningSchedule.from_base_rate(keep_rate, BLOCKS), selector) for selector in OURS]


def peer_networks(backbone: Any, ours: Network) -> list[Network]:
    """The peers, with as many tokens at the end of every block as our network has, packages included.

    ToMe removes equally many tokens in every block; its r is the one whose multiply-accumulates are nearest to ours.
    """
    leaving = {block: ours.block_tokens[block][1] for block in BLOCKS}
    dynamicvit = DynamicViT(backbone, {block: count - 1 for block, count in leaving.items()})
    evit = EViT(backbone, {block: count - 2 for block, count in leaving.items()})
    tome = nearest_tome(backbone, ours.macs)
    networks = {"DynamicViT": dynamicvit, "EViT": evit, f"ToMe, r = {tome.num_merged}": tome}
    return [_peer_network(name, model.eval()) for name, model in networks.items()]


def nearest_tome(backbone: Any, macs: int) -> ToMe:
    """ToMe with the r whose multiply-accumulates are nearest."""
    images, most = images_for(backbone, 1), backbone.patch_embed.num_patches // len(backbone.blocks)

    def distance(model: ToMe) -> int:
        return abs(executed_macs(model, images) - macs)

    return min((ToMe(backbone, r).eval() for r in range(1, most + 1)), key=distance)


def images_for(backbone: Any, batch_size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch_size, backbone.in_chans, *backbone.patch_embed.img_size, generator=generator)


def _our_network(backbone: Any, schedule: PruningSchedule, selector: SelectorKind) -> Network:
    model = PrunedViT(backbone, schedule, selector=selector).eval()
    count = macs_counter(backbone, selector=selector, weighting=HeadWeighting.SENET)
    return Network(
        name=our_name(selector),
        model=model,
        macs=count(schedule.plan(geometry_of(backbone), selector=selector)),
        executed_macs=executed_macs(model, images_for(backbone, 1)),
        block_tokens=tuple((tokens, tokens) for tokens in model.plan.block_tokens),
    )


def _peer_network(name: str, model: Any) -> Network:
    macs = executed_macs(model, images_for(model.backbone, 1))
    return Network(name=name, model=model, macs=macs, executed_macs=macs, block_tokens=tuple(model.block_tokens()))
