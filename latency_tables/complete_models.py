"""Times complete pruned models between dense ones and compares them with the sums of their parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from latency_tables.allowance import Allowance
from latency_tables.clock import Clock, Work
from latency_tables.end_to_end import check_predictions
from latency_tables.parts import Parts
from latency_tables.predict import predict_many
from latency_tables.repeats import Goal, OnLook, repeat
from latency_tables.rounds import Rounds
from latency_tables.table import EndToEndCheck, LatencyTable
from spvit.schedule import PruningSchedule


def check_models(
    draft: LatencyTable,
    parts: Parts,
    schedules: Sequence[PruningSchedule],
    *,
    clock: Clock,
    goal: Goal,
    seed: int,
    allowance: Allowance,
    say: Callable[[str], None],
    on_look: OnLook,
) -> EndToEndCheck:
    """How well a table without a scale yet predicts these models.

    Args:
        draft: the table.
        parts: of the backbone that the table is for.
        schedules: of the models.
        clock: what time is.
        goal: when the ratios to the dense model are precise enough.
        seed: of the order.
        allowance: the time; building models is none of it.
        say: told what is being prepared.
        on_look: told how far it is.
    """
    works: dict[str, Work] = {}
    for number, schedule in enumerate(schedules):
        say(f"complete model {number + 1} of {len(schedules)}")
        with allowance.preparing():
            works[str(number)] = parts.pruned(schedule)
    with allowance.preparing():
        dense = parts.dense()
    rounds = Rounds(dense, clock=clock, seed=seed, max_calls=1)  # see `interleave`
    rounds.add(works)
    repeat(rounds, goal, allowance, on_look=on_look)
    plans = [schedule.plan(draft.geometry, draft.selector.package) for schedule in schedules]
    measured = [rounds.estimate(name) for name in works]
    return check_predictions(
        [estimate.mean_ms for estimate in predict_many(draft, plans)],
        [ratio.median * draft.dense.median_ms for ratio in measured],
        noise_percent=[100.0 * ratio.standard_deviation / ratio.median for ratio in measured],
    )
