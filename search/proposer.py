"""Draws configurations until one is within the budget and new. Rejected draws never become trials of the study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import optuna

from search.admission import Admission
from search.budget import LatencyBudget, Price, RememberedPrice
from search.continuations import continuation, continued_config
from search.feasible_starts import FeasibleStarts
from search.given_proposals import fixed_schedule, repeated
from search.proposal import Proposal
from search.records import Origin, Rejection, TrialRecord
from search.sampler import Knowledge, SamplerFactory, draw_seed, make_sampler
from search.search_config import SamplerName, SearchConfig
from search.shadow import Shadow
from search.space import SearchSpace
from search.staircase import Staircase
from search.starts import Start
from search.widening import Widening
from spvit.errors import NothingFeasibleError
from trainers.config import TrialConfig

NUM_MODEL_DRAWS = 64
"""Draws made with the chosen sampler; what its model keeps proposing beyond that is no use, and it is slow."""
NUM_INFORMED_DRAWS = 8
"""The same for the sampler that knows latency, whose draws can be nothing worse than duplicates."""
NUM_DUPLICATE_DRAWS = 4
"""After so many of what has been tried, draws are at random: a sampler that has converged draws little else. 64 of them
took the driver .4 s a trial after 750 trials (.27 s on average of 1,000; now .05 s)."""
NUM_RANDOM_DRAWS = 2000
"""Further draws at random: enough to hit a feasible share of 0.2 % with 98 % probability."""


class Proposer:
    """Asks Optuna's samplers on a shadow of the study.

    What is proposed is a function of the study's seed, the trial's turn and the trials before it.
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
        self._price = price = RememberedPrice(price)  # widening asks for the same networks again and again
        self._budget = budget
        self._config = config
        self._widening = Widening(space=space, price=price, budget=budget, staircase=staircase, is_wanted=config.widen)
        self._seed = seed
        self._make_sampler = sampler_factory
        self._shadow = Shadow(space)
        self._admission = Admission(space, price=price, budget=budget)
        self._feasible_starts = FeasibleStarts(space, price=price, budget=budget, config=config)
        self._starts: list[Start] | None = None
        self._has_begun = False
        # Of candidates as they are drawn: widening and snapping are too slow to try on every one, and change latency by
        # no more than noise. What comes of them is judged once more, by its own price, before it becomes a trial.
        self._knowledge = Knowledge(
            latency_ms=self._admission.latency_ms, max_latency_ms=budget.max_ms, accepts=self._admission.accepts
        )
        self.rejections: Counter[Rejection] = Counter()

    def restore(self, records: Iterable[TrialRecord], rejections: Mapping[Rejection, int]) -> None:
        """Takes over the trials and the counts of a study that goes on."""
        self.rejections.update(rejections)
        for record in records:
            self._admission.note(TrialConfig.model_validate(record.config))
            self._has_begun = self._has_begun or record.origin is not Origin.BASELINE
            self.add(record)

    @property
    def told(self) -> tuple[optuna.trial.FrozenTrial, ...]:
        """The trials as the sampler knows them; what was proposed and has not ended yet is running."""
        return self._shadow.trials

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
            has_converged = drawn[Rejection.DUPLICATE] >= NUM_DUPLICATE_DRAWS
            trial = self._ask(turn, draw, at_random=has_converged)
            verdict = self._judge(self._widening(self._space.suggest(trial)), trial.params)
            if isinstance(verdict, Proposal):
                return self._accept(verdict, number, trial)
            self._shadow.reject(trial)
            self.rejections[verdict] += 1
            drawn[verdict] += 1
        if drawn[Rejection.DUPLICATE]:
            return None
        raise NothingFeasibleError(self._nothing_found(drawn.total()))

    def baseline(self) -> Proposal | None:
        """The fixed schedule that the file itself names, to compare the search with; None if it names none."""
        proposal = fixed_schedule(self._space, self._price)
        if proposal is not None:
            self.note(proposal)
        return proposal

    def note(self, proposal: Proposal) -> None:
        """Not to be proposed again."""
        self._admission.note(proposal.config)

    def retry(self, record: TrialRecord, root: int) -> Proposal:
        """The same trial again, as `root`'s continuation, changed as its failure asks for."""
        return repeated(record, root, self._space, self._num_workers)

    def prolong(self, record: TrialRecord, epochs: int) -> Proposal:
        """A complete trial trained for so many epochs in all, from its last checkpoint."""
        config = continued_config(record, epochs)
        return continuation(record, config, self._space.network_of(config))

    def add(self, record: TrialRecord) -> None:
        """Tells the sampler of a trial that it did not propose just now: an earlier or a repeated one."""
        self._shadow.add(record)

    def end(self, record: TrialRecord) -> None:
        """Tells the sampler how a trial ended."""
        self._shadow.end(record)

    def _next_start(self, number: int, turn: int) -> Proposal | None:
        """The next trial to begin with before the sampler is asked, among those that were not tried yet."""
        if self._starts is None:
            self._starts = self._find_starts()
        while self._starts:
            start = self._starts.pop(0)
            self._shadow.enqueue(start.params)
            trial = self._ask(turn, draw=0)
            config = self._space.suggest(trial)
            verdict = self._judge(config if start.is_exact else self._widening(config), trial.params)
            if isinstance(verdict, Proposal):
                named = replace(verdict, origin=start.origin, label=start.label)
                return self._accept(named, number, trial)
            self._shadow.reject(trial)  # tried before this search was resumed, or too slow
        return None

    def _find_starts(self) -> list[Start]:
        return [*self._own_starts(), *self._feasible_starts.named()]

    def _own_starts(self) -> list[Start]:
        """The user's own; those beyond the budget are counted once, when the search begins."""
        found = self._feasible_starts.enqueued()
        num_too_slow = self._feasible_starts.num_enqueued - len(found)
        if num_too_slow and not self._has_begun:
            self.rejections[Rejection.TOO_SLOW] += num_too_slow
        return found

    def _accept(self, proposal: Proposal, number: int, trial: optuna.Trial) -> Proposal:
        self._admission.note(proposal.config)
        self._shadow.accept(number, trial)
        return proposal

    def _ask(self, turn: int, draw: int, *, at_random: bool = False) -> optuna.Trial:
        name = self._config.sampler
        num_model_draws = NUM_INFORMED_DRAWS if name is SamplerName.KNOWN_LATENCY else NUM_MODEL_DRAWS
        sampler = self._make_sampler(
            SamplerName.RANDOM if at_random or draw >= num_model_draws else name,
            seed=draw_seed(self._seed, turn, draw),
            num_startup_trials=self._config.num_startup_trials,
            knowledge=self._knowledge,
        )
        return self._shadow.ask(sampler)

    def _judge(self, config: TrialConfig, params: Mapping[str, Any]) -> Proposal | Rejection:
        return self._admission.judge(config, params)

    def _nothing_found(self, num_draws: int) -> str:
        return (
            f"none of {num_draws} configurations drawn from [search.space] is within {self._budget.max_ms:.3f} ms "
            f"({self._budget.source}); raise latency.max_latency_ms or latency.max_latency_share, or lower `high` of "
            f"the keep rates in [search.space] so that fewer slow models are drawn"
        )
