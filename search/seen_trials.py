"""Which trials a search has had, asked at every candidate of its sampler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.space import SearchSpace
from search.trial_identity import network_identity
from spvit.schedule import TokenPlan
from trainers.config import TrialConfig


class SeenTrials:
    """Trials by their identities in a space.

    A trial of a network that was never tried is new whatever else it sets: 1 us to tell, where an identity takes 75.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._networks: set[object] = set()
        self._identities: set[str] = set()

    def add(self, config: TrialConfig) -> None:
        """A trial was proposed, or is of the study that goes on."""
        self._networks.add(network_identity(self._space.network_of(config)))
        self._identities.add(self._space.identity(config))

    def __contains__(self, config: TrialConfig) -> bool:
        return self._space.identity(config) in self._identities

    def has(self, params: Mapping[str, Any], network: TokenPlan) -> bool:
        """Whether the trial that parameters mean, whose network is known, was there.

        Raises:
            KeyError: a parameter is missing that the others ask for.
        """
        if network_identity(network) not in self._networks:
            return False
        return self._space.identity_of_params(params, network) in self._identities
