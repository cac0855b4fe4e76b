"""An Optuna sampler for quality and latency, where latency is known before a trial is paid for."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

from search.acquisition import Acquisition, farthest
from search.candidates import Candidates, CandidateSource
from search.devices import Devices, LatencyFunction
from search.outcomes import Outcome, fixed_params, outcomes
from search.parameters import Branch, ParameterSpace, Params, decode
from search.quality_model import PriorMean, QualityModel

NUM_ROUNDS = 4
"""Rounds of local search around the best candidates."""
NUM_PARENTS = 10
NUM_CHILDREN = 20
MAX_FRONT_PARENTS = 40
"""Of a front with more members as many at random: else a proposal of a large study took seconds."""
CAP_WEIGHT = 4.0
"""Who sets a cap means to use it: against a weight of 0, regret within the cap fell by half, hypervolume did not."""


class KnownLatencySampler(BaseSampler):  # type: ignore[misc]  # Optuna is not followed by mypy here
    """Proposes what is expected to add most hypervolume, with quality modelled and latency known exactly.

    For studies with the directions (maximise quality, minimise latency), define-by-run, with floats, integers,
    categories, log scales and conditional parameters. Proposals are functions of the seed, the trial's number and the
    trials before it. Running and enqueued trials are taken to reach what is predicted for them; failed ones are
    ignored; what pruned ones count as is told in `search.outcomes`.

    With several devices the directions are (maximise quality, minimise the latency on the first one, on the second
    one, ...). One training counts on all of them: gains are summed, each as a share of its device's span of latencies.

    The space is learned from trials: before the first one, without `search_space`, nothing can be priced, and the
    first trial is drawn at random, maybe above the cap. The same holds for the first trial of a branch of conditional
    parameters whose latency cannot be told without them (`latency_ms` raises KeyError).

    Example:
        >>> sampler = KnownLatencySampler(lambda params: 0.1 * params["width"], max_latency_ms=5.0, seed=0)
        >>> study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    """

    def __init__(
        self,
        latency_ms: LatencyFunction | Sequence[LatencyFunction],
        *,
        max_latency_ms: float | Sequence[float | None] | None = None,
        cap_weight: float = CAP_WEIGHT,
        prior_mean: PriorMean | None = None,
        accepts: Callable[[Mapping[str, Any]], bool] | None = None,
        search_space: Mapping[str, BaseDistribution] | None = None,
        seed: int | None = None,
        num_startup_trials: int = 8,
        num_candidates: int = 1000,
    ) -> None:
        """Makes a sampler; it is picklable if its functions are.

        Args:
            latency_ms: a configuration's latency in milliseconds; infinite or NaN if it must never be proposed. Must
                always give the same answer, and is called about 2000 times a proposal. A sequence of functions is one
                for each device.
            max_latency_ms: configurations slower than this are never proposed; of several devices, a sequence with a
                cap, or None, for each.
            cap_weight: what the best quality anywhere within a cap counts beside the mean over all latencies up to it;
                with 0 a capped front is filled evenly. Without a cap it is of no effect.
            prior_mean: a guess of a configuration's quality, such as a cheaper model's; it needs no calibration.
            accepts: configurations for which it is false are never proposed.
            search_space: unconditional parameters known beforehand, so that the first trial is within the cap too.
            seed: 0 or more; another one for every sampler if None.
            num_startup_trials: trials finished before a model is used; until then proposals are spread out.
            num_candidates: random candidates per proposal, before the local search.

        Raises:
            ValueError: a number is out of range.
        """
        self._devices = Devices.of(latency_ms, max_latency_ms)
        self._cap_weight = cap_weight
        self._prior_mean = prior_mean
        self._accepts = accepts
        self._search_space = dict(search_space or {})
        self._seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        self._num_startup_trials = num_startup_trials
        self._num_candidates = num_candidates
        self._check()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Refuses studies of another kind.

        Raises:
            ValueError: the directions are not (maximise, minimise), with one more to minimise for each further device.
        """
        del trial
        _check_directions(study, len(self._devices))

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every parameter seen so far, conditional ones included."""
        space = self._space(_others(study, trial))
        return {} if space is None else space.distributions

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> Params:
        """The proposal; empty if no trial has shown the space yet.

        Raises:
            NothingFeasibleError: no configuration is allowed and within the cap.
        """
        others = _others(study, trial)
        space, fixed = self._space(others), fixed_params(trial)
        if space is None or search_space.keys() <= fixed.keys():
            return {}
        return self._propose(space, outcomes(others), fixed, self.rng(trial.number))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value for a parameter that no trial has shown yet."""
        del study
        return decode(param_distribution, self.rng(trial.number, zlib.crc32(param_name.encode())).random())

    def rng(self, trial_number: int, *more: int) -> np.random.Generator:
        """Randomness for one trial, a function of the seed and the trial's number alone."""
        return np.random.default_rng([self._seed, trial_number, *more])

    def _propose(
        self, space: ParameterSpace, known: Sequence[Outcome], fixed: Mapping[str, Any], rng: np.random.Generator
    ) -> Params:
        source = CandidateSource(
            space,
            devices=self._devices,
            accepts=self._accepts,
            fixed=fixed,
            known=[outcome.params for outcome in known],
        )
        pool = source.pool(rng, self._num_candidates)
        tried = self._tried(known)
        if sum(outcome.quality is not None for outcome in known) < self._num_startup_trials:
            return dict(source.unpriced[0] if source.unpriced else farthest(space, pool=pool, tried=tried))
        model = QualityModel.fit(space, known, self._prior_mean)
        acquisition = Acquisition.of(
            model, tried=tried, pool=pool, caps_ms=self._devices.caps_ms, cap_weight=self._cap_weight
        )
        return dict(_best(acquisition, source, pool, rng))

    def _tried(self, known: Sequence[Outcome]) -> Candidates:
        """The trials; infinitely slow, so off the front, if they have not asked yet for what tells their latency."""
        nowhere = (math.inf,) * len(self._devices)
        latencies_ms = [self._devices.price(outcome.params) or nowhere for outcome in known]
        return Candidates(
            params=[outcome.params for outcome in known],
            latencies_ms=np.array(latencies_ms, dtype=float).reshape(len(known), len(self._devices)),
        )

    def _space(self, trials: Sequence[FrozenTrial]) -> ParameterSpace | None:
        shown = [trial for trial in trials if trial.params]
        if shown:
            return ParameterSpace.of_trials(shown)
        if self._search_space:
            return ParameterSpace([Branch(distributions=self._search_space, excluded={})])
        return None

    def _check(self) -> None:
        if self._seed < 0:
            raise ValueError(f"seed must be 0 or more, but got {self._seed}")
        if not 0 <= self._cap_weight < math.inf:
            raise ValueError(f"cap_weight must be 0 or more and finite, but got {self._cap_weight}")
        for name, value in (
            ("num_startup_trials", self._num_startup_trials),
            ("num_candidates", self._num_candidates),
        ):
            if value < 1:
                raise ValueError(f"{name} must be 1 or more, but got {value}")


def _best(
    acquisition: Acquisition, source: CandidateSource, pool: Candidates, rng: np.random.Generator
) -> Mapping[str, Any]:
    """The candidate of most expected gain: of the pool, then of neighbours of the best ones and of the front."""
    params, gains, parents = list(pool.params), acquisition.gains(pool), _some(acquisition.members, rng)
    for _ in range(NUM_ROUNDS):
        best = (params[index] for index in np.argsort(-gains, kind="stable")[:NUM_PARENTS])
        children = source.near(rng, [*parents, *best], NUM_CHILDREN)
        if not len(children):
            break
        params, gains, parents = [*params, *children.params], np.append(gains, acquisition.gains(children)), []
    return params[int(np.argmax(gains))]


def _some(members: list[Mapping[str, Any]], rng: np.random.Generator) -> list[Mapping[str, Any]]:
    if len(members) <= MAX_FRONT_PARENTS:
        return members
    return [members[index] for index in rng.permutation(len(members))[:MAX_FRONT_PARENTS]]


def _others(study: Study, trial: FrozenTrial) -> list[FrozenTrial]:
    return [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]


def _check_directions(study: Study, num_devices: int) -> None:
    required = [StudyDirection.MAXIMIZE] + [StudyDirection.MINIMIZE] * num_devices
    if study.directions != required:
        latencies = ", ".join(["'minimize'"] * num_devices)
        came = ", ".join(direction.name.lower() for direction in study.directions)
        raise ValueError(
            f"KnownLatencySampler needs a study with directions=['maximize', {latencies}] (quality, then latency on "
            f"each of {num_devices} devices), but got: {came}"
        )
