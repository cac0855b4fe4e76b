"""What a search would reach and cost, as a value."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.cluster_fit import ClusterFit
from search.draws import ShareEstimate
from search.forecast import ElasticLoad, Forecast
from search.reach import Cheapest, NetworkCount
from search.records import Latency
from search.table_files import PLAN_FILE

if TYPE_CHECKING:
    from trainers.step_cost import TrainingCost


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetReach:
    """One budget, and how much of the space is within it as drawn."""

    max_latency_ms: float
    source: str
    feasible: ShareEstimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """Latencies that the space can reach.

    Attributes:
        dense: the unpruned model's.
        cheapest: the cheapest network's.
        drawn_ms: the lowest, the median and the highest mean latency of configurations drawn at random.
        budgets: every budget, ascending.
        count: the networks, where they can be counted.
        num_estimated: at least about how many networks there are, where they cannot.
    """

    dense: Latency
    cheapest: Cheapest
    drawn_ms: tuple[float, float, float]
    budgets: tuple[BudgetReach, ...]
    count: NetworkCount | None
    num_estimated: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchPlan:
    """Everything that can be said before training.

    Attributes:
        study: its name.
        num_trials: of single schedules that are asked for; none where elastic trials are all.
        num_done: that have ended already.
        num_epochs: of a schedule's trial that is trained to the end.
        reach: what latencies there are.
        cost: of the costliest configuration within the budget, with the memory of whichever trial needs most.
        elastic: the elastic trials that are still to come, in a search that has some.
        forecast: what is still to come.
        fit: how many trials run at once.
        warnings: what does not fit, and settings that make no sense together.
    """

    study: str
    num_trials: int
    num_done: int
    num_epochs: int
    reach: Reach
    cost: TrainingCost
    forecast: Forecast
    fit: ClusterFit
    warnings: tuple[str, ...]
    elastic: ElasticLoad | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        values = asdict(self)
        values["reach"]["cheapest"]["block_tokens"] = list(self.reach.cheapest.plan.block_tokens)
        del values["reach"]["cheapest"]["plan"]
        if self.reach.count is not None:
            values["reach"]["count"]["num_networks"] = self.reach.count.num_networks
        return values


def keep_plan(plan: SearchPlan, folder: Path) -> None:
    """Leaves a plan in its study's folder for those who look at the search; where that cannot be written, nowhere."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / PLAN_FILE).write_text(json.dumps(plan.to_dict(), indent=2) + "\n", encoding="utf-8")
