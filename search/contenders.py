"""Proposes schedules to train further from elastic weights: the best in each part of the latencies, then more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from search.elastic_estimate import ElasticEstimate
from search.proposal import Proposal
from search.proposer import Proposer, new_shadow
from search.records import Origin, Rejection
from search.sampler import Knowledge, draw_seed
from search.search_config import SamplerName
from search.starts import Start
from trainers.config import TrialConfig

NUM_CANDIDATES = 600
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
        own = [start for start in self._enqueued if self._is_within_budget(start)]
        return [*own, *self._contenders()]

    def _contenders(self) -> Iterator[Start]:
        """The schedule estimated best in each part of the latencies, the slowest part first."""
        found = [(self._latency_ms(params), self._guess(params), params) for params in self._candidates()]
        if not found:
            return
        lowest_ms = min(latency_ms for latency_ms, _, _ in found)
        width_ms = (self._budget.max_ms - lowest_ms) / self._num_bands
        for band in reversed(range(self._num_bands)):
            top_ms = lowest_ms + (band + 1) * width_ms
            within = [each for each in found if top_ms - width_ms <= each[0] <= top_ms]
            if within:
                _, _, params = max(within, key=lambda each: each[1])
                label = f"best up to {top_ms:.3g} ms by elastic weights"
                yield Start(params=params, label=label, origin=Origin.CONTENDER, is_exact=False)

    def _candidates(self) -> Iterator[Mapping[str, Any]]:
        shadow = new_shadow()
        shadow.sampler = self._make_sampler(
            SamplerName.RANDOM,
            seed=draw_seed(self._seed, 0, NUM_CANDIDATES),
            num_startup_trials=0,
            knowledge=self._uninformed,
        )
        for _ in range(NUM_CANDIDATES):
            trial = shadow.ask()
            self._space.suggest(trial)
            if self._may_be_a_trial(trial.params):
                yield dict(trial.params)

    def _guess(self, params: Mapping[str, Any]) -> float:
        return self._estimate(self._space.network_of_params(params))
