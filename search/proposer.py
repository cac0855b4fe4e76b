"""Draws configurations until one is within the budget and new. Rejected draws never become trials of the study."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import optuna
from optuna.trial import TrialState as OptunaState
from optuna.trial import create_trial

from search.budget import LatencyBudget, Price, RememberedPrice
from search.continuations import continuation, continued_config
from search.outcomes import CURVE
from search.proposal import Proposal
from search.records import Origin, Rejection, TrialRecord, TrialState
from search.retries import config_of_retry
from search.sampler import Knowledge, SamplerFactory, draw_seed, make_sampler
from search.search_config import SamplerName, SearchConfig
from search.seen_trials import SeenTrials
from search.space import SearchSpace
from search.staircase import Staircase
from search.starts import Start, enqueued_starts, named_starts
from search.warm_starts import Gauge
from search.widening import Widening
from spvit.errors import NothingFeasibleError
from spvit.schedule import PruningSchedule, TokenPlan
from trainers.config import TrialConfig

logger = logging.getLogger(__name__)

DIRECTIONS = ("maximize", "minimize")
NUM_MODEL_DRAWS = 64
"""Draws made with the chosen sampler; what its model keeps proposing beyond that is no use, and it is slow."""
NUM_INFORMED_DRAWS = 8
"""The same for the sampler that knows latency, whose draws can be nothing worse than duplicates."""
UNLEARNT = frozenset({Origin.ELASTIC, Origin.FINISHED})
NUM_RANDOM_DRAWS = 2000
"""Further draws at random: enough to hit a feasible share of 0.2 % with 98 % probability."""


class Proposer:
    """Asks Optuna's samplers on a shadow of the study, in memory.

    The shadow holds a copy of every trial, and every rejected draw as FAIL, which samplers ignore. What is proposed
    is a function of the study's seed, the trial's turn and the trials before it; the shadow of a resumed study is
    rebuilt from its records.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        price: Price,
        budget: LatencyBudget,
        config: SearchConfig,
        seed: int,
        staircase: Staircase | None = None,
        sampler_factory: SamplerFactory = make_sampler,
        num_workers: int = 1,
    ) -> None:
        self._space = space
        self._num_workers = num_workers  # of a trial, which share its batch
        self._price = RememberedPrice(price)  # widening asks for the same networks again and again
        self._budget = budget
        self._config = config
        self._widening = Widening(
            space=space, price=self._price, budget=budget, staircase=staircase, is_wanted=config.widen
        )
        self._seed = seed
        self._make_sampler = sampler_factory
        self._shadow = _new_shadow()
        self._shadow_numbers: dict[int, int] = {}
        self._seen = SeenTrials(space)
        self._enqueued = enqueued_starts(config.enqueue, space)
        self._starts: list[Start] | None = None
        self._has_begun = False
        # Of candidates as they are drawn: widening and snapping are too slow to try on every one, and change latency by
        # no more than noise. What comes of them is judged once more, by its own price, before it becomes a trial.
        self._knowledge = Knowledge(
            latency_ms=self._latency_ms, max_latency_ms=budget.max_ms, accepts=self._may_be_a_trial
        )
        self.rejections: Counter[Rejection] = Counter()

    def restore(self, records: Iterable[TrialRecord], rejections: Mapping[Rejection, int]) -> None:
        """Takes over the trials and the counts of a study that goes on."""
        self.rejections.update(rejections)
        for record in records:
            self._seen.add(TrialConfig.model_validate(record.config))
            self._has_begun = self._has_begun or record.origin is not Origin.BASELINE
            self.add(record)

    @property
    def told(self) -> tuple[optuna.trial.FrozenTrial, ...]:
        """The trials as the sampler knows them; what was proposed and has not ended yet is running."""
        return tuple(self._shadow.get_trials(deepcopy=False))

    def propose(self, number: int, *, turn: int | None = None) -> Proposal | None:
        """What trial `number` should try; None when every configuration within the budget has been tried.

        `turn` is the number that it would have had no trial been repeated, so that an interrupted search proposes what
        an undisturbed one does; `number` if absent.

        Raises:
            NothingFeasibleError: nothing within the budget was found at all.
        """
        turn = number if turn is None else turn
        if start := self._next_start(number, turn):
            return start
        drawn: Counter[Rejection] = Counter()
        for draw in range(NUM_MODEL_DRAWS + NUM_RANDOM_DRAWS):
            trial = self._ask(turn, draw)
            verdict = self._judge(self._widening(self._space.suggest(trial)), trial.params)
            if isinstance(verdict, Proposal):
                return self._accept(verdict, number, trial)
            self._shadow.tell(trial, state=OptunaState.FAIL)
            self.rejections[verdict] += 1
            drawn[verdict] += 1
        if drawn[Rejection.DUPLICATE]:
            return None
        raise NothingFeasibleError(self._nothing_found(drawn.total()))

    def baseline(self) -> Proposal | None:
        """The fixed schedule that the file itself names, to compare the search with; None if it names none."""
        config = self._space.default
        if not config.pruning.schedule.stages:
            return None
        rates = ", ".join(f"{rate:.3g}".removeprefix("0") for rate in config.pruning.schedule.keep_rates)
        plan = self._space.network_of(config)
        self._seen.add(config)
        return Proposal(
            config=config,
            plan=plan,
            latency=self._price(plan),
            params={},
            origin=Origin.BASELINE,
            label=f"fixed [{rates}]",
        )

    def retry(self, record: TrialRecord, root: int) -> Proposal:
        """The same trial again, as `root`'s continuation, changed as its failure asks for."""
        config = TrialConfig.model_validate(config_of_retry(record, self._num_workers))
        return Proposal(
            config=config,
            plan=self._space.network_of(config),
            latency=record.latency,
            params=dict(record.params),
            origin=Origin.RETRY if record.origin.is_counted else record.origin,
            label=record.label,
            retry_of=root,
            continues=record.continues,
            curve=record.curve,
            epoch_s=record.epoch_s,
            estimated_top1=record.estimated_top1,
        )

    def prolong(self, record: TrialRecord) -> Proposal:
        """A complete trial trained for as many epochs as the experiment asks for now, from its last checkpoint."""
        config = continued_config(record, self._space.default.training.epochs)
        return continuation(record, config, self._space.network_of(config))

    def add(self, record: TrialRecord) -> None:
        """Tells the sampler of a trial that it did not propose just now: an earlier or a repeated one.

        Baselines are left out: they lie off the space, and one trial without parameters would make Optuna's samplers
        take all parameters for unrelated. Failed trials are left out since samplers ignore them, and finished ones
        since they were trained for longer than what is proposed; elastic ones have no schedule of their own.
        """
        if not record.params or record.state is TrialState.FAIL or record.origin in UNLEARNT:
            return
        try:
            with warnings.catch_warnings(action="ignore"):
                shadow = self._as_shadow(record)
        except ValueError:  # it is of an earlier generation, whose space was another
            return
        self._shadow.add_trial(shadow)
        self._shadow_numbers[record.number] = len(self._shadow.get_trials(deepcopy=False)) - 1

    def end(self, record: TrialRecord) -> None:
        """Tells the sampler how a trial ended."""
        shadow_number = self._shadow_numbers.pop(record.number, None)
        if shadow_number is None:
            return
        trial_id = self._shadow.get_trials(deepcopy=False)[shadow_number]._trial_id
        optuna.trial.Trial(self._shadow, trial_id).set_user_attr(CURVE, list(record.curve))
        if record.state is TrialState.COMPLETE and record.top1 is not None:
            self._shadow.tell(shadow_number, values=[record.top1, record.latency.mean_ms])
        else:
            self._shadow.tell(shadow_number, state=OptunaState[record.state.name])

    def _next_start(self, number: int, turn: int) -> Proposal | None:
        """The next trial to begin with before the sampler is asked, among those that were not tried yet."""
        if self._starts is None:
            self._starts = self._find_starts()
        while self._starts:
            start = self._starts.pop(0)
            self._shadow.enqueue_trial(dict(start.params))
            trial = self._ask(turn, draw=0)
            config = self._space.suggest(trial)
            verdict = self._judge(config if start.is_exact else self._widening(config), trial.params)
            if isinstance(verdict, Proposal):
                named = replace(verdict, origin=start.origin, label=start.label)
                return self._accept(named, number, trial)
            self._shadow.tell(trial, state=OptunaState.FAIL)  # tried before this search was resumed, or too slow
        return None

    def _find_starts(self) -> list[Start]:
        pruning = self._space.default.pruning

        def plan(schedule: PruningSchedule) -> TokenPlan:
            return schedule.plan(self._space.geometry, pruning.package, pruning.selector)

        own = [start for start in self._enqueued if self._is_within_budget(start)]
        return [*own, *(start for budget in self._budget.each for start in self._starts_within(budget, plan))]

    def _starts_within(self, budget: LatencyBudget, plan: Callable[[PruningSchedule], TokenPlan]) -> Iterator[Start]:
        """The named warm starts of one budget; named after it where there are several."""
        gauge = Gauge(
            fits=lambda s: budget.admits(self._price(plan(s))),
            plan=plan,
            cost_ms=lambda s: self._price(plan(s)).mean_ms,
        )
        where = f" of {budget.max_ms:.3g} ms" if self._budget.smaller_ms else ""
        for start in named_starts(self._config.warm_starts or (), self._space, gauge):
            yield replace(start, label=start.label + where)

    def _is_within_budget(self, start: Start) -> bool:
        """Whether a starting point may be trained; says so where not, and counts it once, when the search begins."""
        latency = self._price(self._space.network_of(self._space.trial_config(start.params)))
        if self._budget.admits(latency):
            return True
        logger.warning(
            "%s of [[search.enqueue]] is not trained: it takes up to %.3f ms, more than the budget of %.3f ms (%s)",
            start.label,
            latency.high_ms,
            self._budget.max_ms,
            self._budget.source,
        )
        if not self._has_begun:
            self.rejections[Rejection.TOO_SLOW] += 1
        return False

    def _accept(self, proposal: Proposal, number: int, trial: optuna.Trial) -> Proposal:
        self._seen.add(proposal.config)
        self._shadow_numbers[number] = trial.number
        return proposal

    def _ask(self, turn: int, draw: int) -> optuna.Trial:
        name = self._config.sampler
        num_model_draws = NUM_INFORMED_DRAWS if name is SamplerName.KNOWN_LATENCY else NUM_MODEL_DRAWS
        self._shadow.sampler = self._make_sampler(
            name if draw < num_model_draws else SamplerName.RANDOM,
            seed=draw_seed(self._seed, turn, draw),
            num_startup_trials=self._config.num_startup_trials,
            knowledge=self._knowledge,
        )
        return self._shadow.ask()

    def _judge(self, config: TrialConfig, params: Mapping[str, Any]) -> Proposal | Rejection:
        if config in self._seen:
            return Rejection.DUPLICATE
        plan = self._space.network_of(config)
        latency = self._price(plan)
        if not self._budget.admits(latency):
            return Rejection.TOO_SLOW
        return Proposal(config=config, plan=plan, latency=latency, params=dict(params))

    def _latency_ms(self, params: Mapping[str, Any]) -> float:
        return self._price(self._space.network_of_params(params)).mean_ms

    def _may_be_a_trial(self, params: Mapping[str, Any]) -> bool:
        """Whether `_judge` would make a proposal of the parameters as they were drawn, without a configuration."""
        network = self._space.network_of_params(params)
        return self._budget.admits(self._price(network)) and not self._seen.has(params, network)

    def _as_shadow(self, record: TrialRecord) -> optuna.trial.FrozenTrial:
        fixed = optuna.trial.FixedTrial(dict(record.params))
        self._space.suggest(fixed)
        is_complete = record.state is TrialState.COMPLETE and record.top1 is not None
        return create_trial(
            state=OptunaState[record.state.name],
            values=[record.top1, record.latency.mean_ms] if is_complete else None,
            params=dict(record.params),
            distributions=fixed.distributions,
            user_attrs={CURVE: list(record.curve)},
        )

    def _nothing_found(self, num_draws: int) -> str:
        return (
            f"none of {num_draws} configurations drawn from [search.space] is within {self._budget.max_ms:.3f} ms "
            f"({self._budget.source}); raise latency.max_latency_ms or latency.max_latency_share, or lower `high` of "
            f"the keep rates in [search.space] so that fewer slow models are drawn"
        )


def _new_shadow() -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(directions=list(DIRECTIONS), pruner=optuna.pruners.NopPruner())
