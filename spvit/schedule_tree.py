"""Many schedules as one tree: those that begin alike share what they begin with. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
