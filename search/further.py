"""Which further trials would pay on a device: what a search there would try next, knowing a study's trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from search.budget import LatencyBudget, Price
from search.candidates import Candidates
from search.outcomes import Outcome, num_complete, outcomes
from search.outlook import Forecast, Outlook
from search.parameters import ParameterSpace
from search.proposal import Proposal
from search.proposer import Proposer
from search.records import Latency, Origin, StudyRecord, TrialState
from search.search_config import SamplerName, SearchConfig
from search.space import SearchSpace
from search.staircase import Staircase
from search.trained_params import comparable, trained_params
from spvit.errors import LatencyTableError, NothingFeasibleError
from spvit.schedule import TokenPlan

MIN_TRIALS = 4
"""Finished trials below which a model of quality knows too little to say what pays."""
NOTICEABLE_POINTS = 0.05
"""Mean rise of the front, in points of top-1, below which a trial is not worth its training."""
SHORTEST_SPAN_MS = 1e-6
"""A gain is spread over at least so much, where the budget is just what the fastest configuration takes."""
NOTHING_FURTHER = "nothing further is expected to pay"
IN_SIGHT = frozenset({TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING})
"""Trials that are on the front or may still come to be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FurtherTrial:
    """A trial that is expected to pay.

    Attributes:
        proposal: what to train.
        forecast: what it is expected to reach, and to add once the ones before it are trained as expected.
        gain_points: the gain as a mean over latencies, from the fastest that the space has to the budget: points of
            top-1 by which the best model within a latency becomes better.
    """

    proposal: Proposal
    forecast: Forecast
    gain_points: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Further:
    """The trials that would pay, in the order in which to train them, and a sentence where there are fewer than asked.

    `fastest` is the latency of the fastest configuration of the space.
    """

    trials: tuple[FurtherTrial, ...]
    note: str
    fastest: Latency


def further_trials(
    study: StudyRecord,
    space: SearchSpace,
    *,
    price: Price,
    budget: LatencyBudget,
    search: SearchConfig,
    num: int,
    staircase: Staircase | None = None,
) -> Further:
    """What a search on a device would try next, as far as it is expected to pay.

    Args:
        study: trials at their latencies on the device.
        space: what may be tried.
        price: what networks cost there; what cannot be priced is not proposed.
        budget: what a trial may take there.
        search: settings of the study's search; its sampler is the one that knows latency, whatever they say.
        num: of trials, at most.
        staircase: where the device's blocks cost the same for several token counts, as a search there would go by.
    """
    price = _infinite_where_unknown(price)
    fastest = min((price(space.network_of(trial)) for trial in space.fastest()), key=lambda cost: cost.high_ms)
    reason = _why_none(study, budget, fastest)
    if num == 0 or reason:
        return Further(trials=(), note=reason, fastest=fastest)
    study = _comparable(study, space)
    proposer = _proposer(study, space, price=price, budget=budget, search=search, staircase=staircase)
    told = proposer.told
    if reason := _too_few(num_complete(told)):
        return Further(trials=(), note=reason, fastest=fastest)
    first = 1 + max(trial.number for trial in study.trials)
    proposals = _proposals(proposer, space, range(first, first + num))
    span_ms = max(budget.max_ms - fastest.mean_ms, SHORTEST_SPAN_MS)
    outlook_of = partial(_outlook, study, ParameterSpace.of_trials(told), outcomes(told), budget.max_ms)
    chosen = _chosen(proposals, outlook_of, span_ms)
    return Further(trials=tuple(chosen), note="" if len(chosen) == num else NOTHING_FURTHER, fastest=fastest)


def _comparable(study: StudyRecord, space: SearchSpace) -> StudyRecord:
    """The study by what its trials trained; without elastic ones, which are no point of its front."""
    trials = (trial for trial in study.trials if trial.origin is not Origin.ELASTIC)
    return replace(study, trials=tuple(comparable(trial, space) for trial in trials))


def _proposals(proposer: Proposer, space: SearchSpace, numbers: Iterable[int]) -> list[Proposal]:
    """What the search would try next, by the parameters of what it would train."""
    try:
        proposed = [proposer.propose(number) for number in numbers]
    except NothingFeasibleError:
        return []
    return [replace(p, params=trained_params(p.params, p.config, space)) for p in proposed if p is not None]


def _chosen(
    proposals: Iterable[Proposal], outlook_of: Callable[[Sequence[Proposal]], Outlook], span_ms: float
) -> list[FurtherTrial]:
    """The proposal of most gain first, then the one of most gain beside it, and so on."""
    left, chosen = list(proposals), list[FurtherTrial]()
    while left:
        outlook = outlook_of([trial.proposal for trial in chosen])
        best = max((_rated(proposal, outlook, span_ms) for proposal in left), key=lambda trial: trial.gain_points)
        if best.gain_points < NOTICEABLE_POINTS:
            break
        chosen.append(best)
        left.remove(best.proposal)
    return chosen


def _outlook(
    study: StudyRecord,
    space: ParameterSpace,
    known: Sequence[Outcome],
    reference_ms: float,
    trusted: Sequence[Proposal],
) -> Outlook:
    """What is believed once the trusted proposals have reached what is expected of them."""
    return Outlook.of(
        space,
        [*known, *(Outcome(params=proposal.params) for proposal in trusted)],
        tried=_in_sight(study, trusted),
        measured=[(t.latency.mean_ms, t.top1) for t in study.finished if not t.params and t.top1 is not None],
        reference_ms=reference_ms,
    )


def _rated(proposal: Proposal, outlook: Outlook, span_ms: float) -> FurtherTrial:
    forecast = outlook.forecast(proposal.params, proposal.latency.mean_ms)
    return FurtherTrial(proposal=proposal, forecast=forecast, gain_points=forecast.gain / span_ms)


def _proposer(
    study: StudyRecord,
    space: SearchSpace,
    *,
    price: Price,
    budget: LatencyBudget,
    search: SearchConfig,
    staircase: Staircase | None,
) -> Proposer:
    """A proposer that knows the study's trials, and goes by their model from the first proposal on."""
    config = search.model_copy(
        update={"sampler": SamplerName.KNOWN_LATENCY, "num_startup_trials": 1, "warm_starts": (), "enqueue": ()}
    )
    seed = int(study.experiment["study"]["seed"])
    proposer = Proposer(space, price=price, budget=budget, config=config, seed=seed, staircase=staircase)
    proposer.restore(study.trials, {})
    return proposer


def _in_sight(study: StudyRecord, trusted: Sequence[Proposal]) -> Candidates:
    """What is on the front or may come to be, further trials that were chosen before included."""
    tried = [(t.params, t.latency.mean_ms) for t in study.trials if t.params and t.state in IN_SIGHT]
    tried += [(proposal.params, proposal.latency.mean_ms) for proposal in trusted]
    return Candidates(params=[params for params, _ in tried], latencies_ms=np.array([ms for _, ms in tried])[:, None])


def _why_none(study: StudyRecord, budget: LatencyBudget, fastest: Latency) -> str:
    if reason := _too_few(sum(bool(trial.params) for trial in study.finished)):
        return reason
    if not budget.admits(fastest):
        return (
            f"no further trial can be within the budget: with every keep rate at its lowest the model takes "
            f"{fastest.mean_ms:.3f} ms (at most {fastest.high_ms:.3f} ms)"
        )
    return ""


def _too_few(num_known: int) -> str:
    if num_known >= MIN_TRIALS:
        return ""
    return (
        f"what further trials would bring cannot be told: {num_known} trials of the search space are trained, "
        f"{MIN_TRIALS} are needed"
    )


def _infinite_where_unknown(price: Price) -> Price:
    def priced(plan: TokenPlan) -> Latency:
        try:
            return price(plan)
        except LatencyTableError:  # a kind of selector, or so few tokens, that the table was not measured for
            return Latency(mean_ms=math.inf, low_ms=math.inf, high_ms=math.inf)

    return priced
