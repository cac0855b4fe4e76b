"""Which schedules are trained first from elastic weights: the best for each budget and each part of the latencies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from search.budget import LatencyBudget, Price
from search.draws import Draw, draws
from search.elastic_estimate import ElasticEstimate
from search.records import Origin
from search.space import SearchSpace
from search.starts import Start

NUM_CANDIDATES = 300
"""Random configurations, of which the best within each budget and in each part of the latencies are trained first."""


@dataclass(frozen=True, kw_only=True)
class ContenderChoice:
    """What there is to choose from.

    Attributes:
        space: of schedules.
        price: of networks on the device.
        budget: what is admitted.
        estimate: what elastic weights say of a network.
        num_bands: parts of the latencies.
        seed: of what is drawn.
    """

    space: SearchSpace
    price: Price
    budget: LatencyBudget
    estimate: ElasticEstimate
    num_bands: int
    seed: int

    def starts(self) -> Iterator[Start]:
        """The schedule estimated best within each budget, then the fastest of all and the best of each further part.

        The one that lies farthest from what came before is the next: a front fills from its ends, and estimates are
        judged by results that lie apart from the first few on. Neighbours differ by less than results repeat.
        """
        drawn = draws(self.space, self.price, num=NUM_CANDIDATES, seed=self.seed)
        found = [draw for draw in drawn if self.budget.admits(draw.latency)]
        within = [[draw for draw in found if budget.admits(draw.latency)] for budget in self.budget.each]
        first = [self._best(draws_within) for draws_within in within if draws_within]
        fastest = self._fastest()
        parts = self._parts(found, fastest.latency.mean_ms)
        others = [self._best(part) for part in parts if part and not any(draw in part for draw in first)]
        for draw in (*first, *farthest_first([fastest, *others], first)):
            yield self._start(draw)

    def _parts(self, found: Sequence[Draw], lowest_ms: float) -> Iterator[list[Draw]]:
        """What lies in each of equal parts of the latencies up to the cap, the fastest part first."""
        width_ms = (self.budget.max_ms - lowest_ms) / self.num_bands
        for band in range(self.num_bands):
            top_ms = lowest_ms + (band + 1) * width_ms
            yield [draw for draw in found if top_ms - width_ms <= draw.latency.mean_ms <= top_ms]

    def _fastest(self) -> Draw:
        """Hardly ever drawn, and what covers the front from its lowest latency on."""
        plans = [(config, self.space.network_of(config)) for config in self.space.fastest()]
        configured = (Draw(config=config, plan=plan, latency=self.price(plan)) for config, plan in plans)
        return min(configured, key=lambda draw: draw.latency.mean_ms)

    def _best(self, within: Sequence[Draw]) -> Draw:
        return max(within, key=lambda draw: self.estimate(draw.plan))

    def _start(self, draw: Draw) -> Start:
        return Start(
            params=self.space.params_of(draw.config.pruning.schedule),
            label=f"best by elastic weights up to {draw.latency.high_ms:.3g} ms",
            origin=Origin.CONTENDER,
            is_exact=False,
        )


def farthest_first(draws: Sequence[Draw], before: Sequence[Draw]) -> Iterator[Draw]:
    """Each the one whose latency is farthest from those before it; the first of those that are as far."""
    taken, left = [draw.latency.mean_ms for draw in before], list(draws)
    while left:
        far = max(left, key=lambda draw: min((abs(draw.latency.mean_ms - ms) for ms in taken), default=0.0))
        left.remove(far)
        taken.append(far.latency.mean_ms)
        yield far
