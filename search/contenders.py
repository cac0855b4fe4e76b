"""Proposes schedules to train further from elastic weights: the contenders, then what estimates let expect most of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from search.contender_choice import ContenderChoice
from search.elastic_estimate import ElasticEstimate
from search.proposal import Proposal
from search.proposer import Proposer
from search.records import Origin, Rejection
from search.sampler import Knowledge
from search.starts import Start
from search.warm_starts import USUAL
from trainers.config import TrialConfig


class ContenderProposer(Proposer):
    """As `Proposer`, but what elastic weights give a schedule is the prior mean of what training it brings.

    While estimates are not trusted, they are left out, and those that were to be trained on their account wait.
    """

    def __init__(self, *arguments: Any, estimate: ElasticEstimate, num_bands: int, **named: Any) -> None:
        """Arguments of `Proposer`, the estimate, and the number of parts of the latencies."""
        super().__init__(*arguments, **named)
        self._estimate = estimate
        self._contenders = ContenderChoice(
            space=self._space,
            price=self._price,
            budget=self._budget,
            estimate=estimate,
            num_bands=num_bands,
            seed=self._seed,
        )
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
        return [*self._own_starts(), *named, *self._contenders.starts()]

    def _guess(self, params: Mapping[str, Any]) -> float:
        return self._estimate(self._space.network_of_params(params))
