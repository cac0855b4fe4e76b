"""Proposes schedules to train further from elastic weights: the best in each part of the latencies, then more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from search.draws import draws
from search.elastic_estimate import ElasticEstimate
from search.proposal import Proposal
from search.proposer import Proposer
from search.records import Origin, Rejection
from search.sampler import Knowledge
from search.starts import Start
from trainers.config import TrialConfig

NUM_CANDIDATES = 300
"""Random configurations, of which the best in each part of the latencies is trained first."""


class ContenderProposer(Proposer):
    """As `Proposer`, but what elastic weights give a schedule is the prior mean of what training it brings.

    Where estimates are not trusted, they are left out, and those that were to be trained on their account too.
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
        if not self.is_trusted:
            self._starts = [start for start in self._starts or () if start.origin is not Origin.CONTENDER]
        return super().propose(number, turn=turn)

    def _judge(self, config: TrialConfig, params: Mapping[str, Any]) -> Proposal | Rejection:
        verdict = super()._judge(config, params)
        if isinstance(verdict, Rejection):
            return verdict
        return replace(verdict, estimated_top1=self._estimate(verdict.plan), space=self._space)

    def _find_starts(self) -> list[Start]:
        return [*self._own_starts(), *self._contenders()]

    def _contenders(self) -> Iterator[Start]:
        """The schedule estimated best in each part of the latencies, the slowest part first."""
        drawn = draws(self._space, self._price, num=NUM_CANDIDATES, seed=self._seed)
        found = [draw for draw in drawn if self._budget.admits(draw.latency)]
        if not found:
            return
        lowest_ms = min(draw.latency.mean_ms for draw in found)
        width_ms = (self._budget.max_ms - lowest_ms) / self._num_bands
        for band in reversed(range(self._num_bands)):
            top_ms = lowest_ms + (band + 1) * width_ms
            within = [draw for draw in found if top_ms - width_ms <= draw.latency.mean_ms <= top_ms]
            if within:
                best = max(within, key=lambda draw: self._estimate(draw.plan))
                yield Start(
                    params=self._space.params_of(best.config.pruning.schedule),
                    label=f"best up to {top_ms:.3g} ms by elastic weights",
                    origin=Origin.CONTENDER,
                    is_exact=False,
                )

    def _guess(self, params: Mapping[str, Any]) -> float:
        return self._estimate(self._space.network_of_params(params))
