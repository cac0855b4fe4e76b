"""Many schedules as one tree: those that begin alike share what they begin with. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from spvit.schedule import Selection, TokenPlan


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A point that plans reach with the same selections behind them.

    Attributes:
        next: what follows, by the block that the next selector stands before, in rising order.
        plan: the number of the plan that ends here, without further selectors; None where none does.
    """

    next: Mapping[int, Mapping[Selection, Node]] = field(default_factory=dict)
    plan: int | None = None

    def last_block(self, depth: int) -> int:
        """The first block that need not be run from here: the depth where a plan ends, else the last selector's."""
        return depth if self.plan is not None else max(self.next, default=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleTree:
    """Plans of one model. Equal ones are one network, which is in the tree once.

    Attributes:
        root: the dense model's beginning.
        networks: for each plan that was given, its number among the different ones.
        num_networks: how many different ones there are.
    """

    root: Node
    networks: tuple[int, ...]
    num_networks: int

    @classmethod
    def from_plans(cls, plans: Sequence[TokenPlan]) -> ScheduleTree:
        """The tree of plans of one model, in any order."""
        numbers: dict[tuple[Selection, ...], int] = {}
        networks = tuple(numbers.setdefault(plan.selections, len(numbers)) for plan in plans)
        return cls(root=_node(numbers, 0), networks=networks, num_networks=len(numbers))


def shared_block_tokens(plans: Sequence[TokenPlan]) -> int:
    """Tokens times blocks of a walk through the tree of plans, each of whose nodes runs its blocks once.

    Alone, plans cost the sum of their `block_tokens`.
    """
    begun = {
        (plan.selections[: _num_before(plan, block)], block): plan.block_tokens[block]
        for plan in plans
        for block in range(len(plan.block_tokens))
    }
    return sum(begun.values())


def in_chunks(plans: Sequence[TokenPlan], max_block_tokens: int) -> Iterator[tuple[int, ...]]:
    """Numbers of plans, those that begin alike together, in chunks whose walks cost at most so much.

    A plan that alone costs more is a chunk of its own.

    Args:
        plans: of one model.
        max_block_tokens: of a chunk's `shared_block_tokens`.
    """
    order = sorted(range(len(plans)), key=lambda number: _sort_key(plans[number]))
    chunk: list[int] = []
    cost, before = 0, None
    for number in order:
        plan = plans[number]
        more = sum(plan.block_tokens[_num_shared(before, plan) :])
        if chunk and cost + more > max_block_tokens:
            yield tuple(chunk)
            chunk, cost, more = [], 0, sum(plan.block_tokens)
        chunk.append(number)
        cost, before = cost + more, plan
    if chunk:
        yield tuple(chunk)


def _node(numbers: Mapping[tuple[Selection, ...], int], depth: int) -> Node:
    """The node that these plans, of equal selections before number `depth`, have reached."""
    following: dict[int, dict[Selection, dict[tuple[Selection, ...], int]]] = {}
    for selections, number in numbers.items():
        if len(selections) > depth:
            selection = selections[depth]
            following.setdefault(selection.block, {}).setdefault(selection, {})[selections] = number
    children = {
        block: {selection: _node(group, depth + 1) for selection, group in following[block].items()}
        for block in sorted(following)
    }
    return Node(next=children, plan=next((n for s, n in numbers.items() if len(s) == depth), None))


def _num_before(plan: TokenPlan, block: int) -> int:
    """Selections that have happened when a block is run."""
    return sum(selection.block <= block for selection in plan.selections)


def _num_shared(before: TokenPlan | None, plan: TokenPlan) -> int:
    """Blocks that two plans run alike."""
    if before is None:
        return 0
    depth = len(plan.block_tokens)
    for one, other in zip(_ends(before, depth), _ends(plan, depth), strict=False):
        if one != other:
            return min(one[0], other[0])
    return depth


def _ends(plan: TokenPlan, depth: int) -> list[tuple[int, int]]:
    return [(selection.block, selection.num_kept) for selection in plan.selections] + [(depth, 0)]


def _sort_key(plan: TokenPlan) -> list[tuple[int, int]]:
    """Puts plans that begin alike beside each other."""
    return [(selection.block, -selection.num_kept) for selection in plan.selections]
