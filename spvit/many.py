"""One model under many schedules: what they have in common is computed once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch
from typing import NamedTuple

from torch import Tensor

from spvit.last_block import prefix_after
from spvit.model import PrunedViT
from spvit.packaging import no_packages
from spvit.pruned_model import PrunedModel
from spvit.schedule import PruningSchedule
from spvit.schedule_tree import Node, ScheduleTree


class ManySchedules:
    """A model under each of many schedules.

    Args:
        model: has a selector wherever one of the schedules drops tokens (see `PrunedModel.at`).
        schedules: in any order; several may be the same network.

    Raises:
        ValueError: a schedule drops tokens where the model has no selector.
    """

    def __init__(self, model: PrunedModel, schedules: tuple[PruningSchedule, ...]) -> None:
        self.model = model
        views = [model.at(schedule) for schedule in schedules]
        self.tree = ScheduleTree.from_plans([view.plan for view in views])
        first = dict(zip(reversed(self.tree.networks), reversed(views), strict=True))
        self.networks = [first[number] for number in range(self.tree.num_networks)]

    def logits(self, images: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Numbers of different networks (see `ScheduleTree.networks`) with their logits (B, classes), in any order.

        They are those of `model.at(schedule)(images)`, to the bit. One tensor of tokens is held for every selector that
        is passed, not one for every schedule.
        """
        return each_logits(self.model, self, images)


@singledispatch
def each_logits(model: PrunedModel, many: ManySchedules, images: Tensor) -> Iterator[tuple[int, Tensor]]:
    """See `ManySchedules.logits`. A model that pools its patches runs one schedule after the other."""
    del model
    for number, view in enumerate(many.networks):
        yield number, view(images)


@each_logits.register
def _of_vit(model: PrunedViT, many: ManySchedules, images: Tensor) -> Iterator[tuple[int, Tensor]]:
    x = model.leading_tokens(images)
    start = _Reached(x, no_packages(x).mass, model.num_leading_blocks, has_dropped=False)
    return _walk(model, many.tree.root, start)


class _Reached(NamedTuple):
    """Tokens (B, N, C) that reach a block, and the masses (B, S) of the packages among them."""

    tokens: Tensor
    mass: Tensor
    block: int
    has_dropped: bool


def _walk(model: PrunedViT, node: Node, at: _Reached) -> Iterator[tuple[int, Tensor]]:
    """Logits of the networks below a node: its blocks are run once, its branches one after the other."""
    depth = len(model.backbone.blocks)
    to_shorten = model.block_to_shorten_if_pruned if at.has_dropped else None
    x = at.tokens
    for number in range(at.block, node.last_block(depth) + 1):
        for reached, child in _branches(model, node, number, x, at.mass):
            yield from _walk(model, child, reached)
        if number < node.last_block(depth):
            block = model.backbone.blocks[number]
            x = prefix_after(block, x, model.layout.num_prefix) if number == to_shorten else block(x)
    if node.plan is not None:
        yield node.plan, model.logits_of(x, at.mass if at.has_dropped else None)


def _branches(model: PrunedViT, node: Node, number: int, x: Tensor, mass: Tensor) -> Iterator[tuple[_Reached, Node]]:
    """What the selections before a block leave; they differ in how many tokens stay, and share the scores."""
    branches = node.next.get(number)
    if not branches:
        return
    scores = model.selector(number).score(x, num_prefix=model.layout.num_prefix, block=model.backbone.blocks[number])
    for selection, child in branches.items():
        step = model.select(x, mass, selection, in_order=False, scores=scores)
        yield _Reached(step.tokens, step.mass, number, has_dropped=True), child
