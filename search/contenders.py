"""Proposes schedules to train further from elastic weights: the best for each budget and latency, then more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from search.draws import Draw, draws
from search.elastic_estimate import ElasticEstimate
from search.proposal import Proposal
from search.proposer import Proposer
from search.records import Origin, Rejection
from search.sampler import Knowledge
from search.starts import Start
from search.warm_starts import USUAL
from trainers.config import TrialConfig

NUM_CANDIDATES = 300
"""Random configurations, of which the best within each budget and in each part of the latencies are trained first."""


class ContenderProposer(Proposer):
    """As `Proposer`, but what elastic weights give a schedule is the prior mean of what training it brings.

    While estimates are not trusted, they are left out, and those that were to be trained on their account wait.
    """

    def __init__(self, *arguments: Any, estimate: ElasticEstimate, num_bands: int, **named: Any) -> None:
        """Arguments of `Proposer`, the estimate, and the number of parts of the latencies."""
        super().__init__(*arguments, **named)
        self._estimate, self._num_bands = estimate, num_bands
        self._informed = replace(self._knowledge, prior_mean=self._guess)
        self._uninformed = self._knowledge
        self.is_trusted = True

    def propose(self, number: int, *, turn: int | None = None) -> Proposal | None:
        """As `Proposer.propose`."""
        self._knowledge: Knowledge = self._informed if self.is_trusted else self._uninformed
        if self.is_trusted:
            return super().propose(number, turn=turn)
        starts = self._find_starts() if self._starts is None else self._starts
        contenders = [start for start in starts if start.origin is Origin.CONTENDER]
        self._starts = [start for start in starts if start.origin is not Origin.CONTENDER]
        try:
            return super().propose(number, turn=turn)
        finally:
            self._starts += contenders  # until estimates are trusted again

    def _judge(self, config: TrialConfig, params: Mapping[str, Any]) -> Proposal | Rejection:
        verdict = super()._judge(config, params)
        if isinstance(verdict, Rejection):
            return verdict
        return replace(verdict, estimated_top1=self._estimate(verdict.plan), space=self._space)

    def _find_starts(self) -> list[Start]:
        """The usual warm starts guess what estimates know; the user's choice is trained all the same."""
        named = () if self._config.warm_starts == USUAL else self._feasible_starts.named()
        return [*self._own_starts(), *named, *self._contenders()]

    def _contenders(self) -> Iterator[Start]:
        """The schedule estimated best within each budget, then the fastest of all and the best of each further part.

        The one that lies farthest from what came before is the next: a front fills from its ends, and estimates are
        judged by results that lie apart from the first few on. Neighbours differ by less than results repeat.
        """
        drawn = draws(self._space, self._price, num=NUM_CANDIDATES, seed=self._seed)
        found = [draw for draw in drawn if self._budget.admits(draw.latency)]
        within = [[draw for draw in found if budget.admits(draw.latency)] for budget in self._budget.each]
        first = [self._best(draws_within) for draws_within in within if draws_within]
        fastest = self._fastest()
        parts = self._parts(found, fastest.latency.mean_ms)
        others = [self._best(part) for part in parts if part and not any(draw in part for draw in first)]
        for draw in (*first, *farthest_first([fastest, *others], first)):
            yield self._start(draw)

    def _parts(self, found: Sequence[Draw], lowest_ms: float) -> Iterator[list[Draw]]:
        """What lies in each of equal parts of the latencies up to the cap, the fastest part first."""
        width_ms = (self._budget.max_ms - lowest_ms) / self._num_bands
        for band in range(self._num_bands):
            top_ms = lowest_ms + (band + 1) * width_ms
            yield [draw for draw in found if top_ms - width_ms <= draw.latency.mean_ms <= top_ms]

    def _fastest(self) -> Draw:
        """Hardly ever drawn, and what covers the front from its lowest latency on."""
        plans = [(config, self._space.network_of(config)) for config in self._space.fastest()]
        configured = (Draw(config=config, plan=plan, latency=self._price(plan)) for config, plan in plans)
        return min(configured, key=lambda draw: draw.latency.mean_ms)

    def _best(self, within: Sequence[Draw]) -> Draw:
        return max(within, key=lambda draw: self._estimate(draw.plan))

    def _start(self, draw: Draw) -> Start:
        return Start(
            params=self._space.params_of(draw.config.pruning.schedule),
            label=f"best by elastic weights up to {draw.latency.high_ms:.3g} ms",
            origin=Origin.CONTENDER,
            is_exact=False,
        )

    def _guess(self, params: Mapping[str, Any]) -> float:
        return self._estimate(self._space.network_of_params(params))


def farthest_first(draws: Sequence[Draw], before: Sequence[Draw]) -> Iterator[Draw]:
    """Each the one whose latency is farthest from those before it; the first of those that are as far."""
    taken, left = [draw.latency.mean_ms for draw in before], list(draws)
    while left:
        far = max(left, key=lambda draw: min((abs(draw.latency.mean_ms - ms) for ms in taken), default=0.0))
        left.remove(far)
        taken.append(far.latency.mean_ms)
        yield far
