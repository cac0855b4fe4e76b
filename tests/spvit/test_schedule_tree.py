"""The tree of schedules holds each network once, whatever the schedules."""

from hypothesis import given
from hypothesis import strategies as st

from spvit.schedule import PruningSchedule, TokenGeometry
from spvit.schedule_tree import Node, ScheduleTree, shared_block_tokens

GEOMETRY = TokenGeometry(depth=4, num_patches=9)


@st.composite
def schedules(draw: st.DrawFn) -> PruningSchedule:
    blocks = sorted(draw(st.sets(st.integers(0, 3), max_size=3)))
    rates = sorted((draw(st.sampled_from([0.1, 0.4, 0.5, 0.9, 1.0])) for _ in blocks), reverse=True)
    return PruningSchedule.from_keep_rates(rates, blocks)


def ends_of(node: Node, behind: tuple[object, ...] = ()) -> dict[int, tuple[object, ...]]:
    found = {} if node.plan is None else {node.plan: behind}
    for children in node.next.values():
        for selection, child in children.items():
            found |= ends_of(child, (*behind, selection))
    return found


@given(st.lists(schedules(), max_size=12))
def test_every_network_is_at_one_place_behind_its_selections(drawn: list[PruningSchedule]):
    plans = [schedule.plan(GEOMETRY) for schedule in drawn]
    tree = ScheduleTree.from_plans(plans)
    ends = ends_of(tree.root)
    assert sorted(ends) == list(range(tree.num_networks))
    assert [ends[network] for network in tree.networks] == [plan.selections for plan in plans]


@given(st.lists(schedules(), min_size=1, max_size=12))
def test_sharing_costs_no_more_than_each_network_alone_and_no_less_than_the_dearest(drawn: list[PruningSchedule]):
    plans = [schedule.plan(GEOMETRY) for schedule in drawn]
    alone = {plan.selections: sum(plan.block_tokens) for plan in plans}
    assert max(alone.values()) <= shared_block_tokens(plans) <= sum(alone.values())
    assert shared_block_tokens(plans[:1]) == sum(plans[0].block_tokens)
