"""What `retarget` is worth: a search priced by one device, taken to another, on a landscape whose truth is known.

    python benchmarks/retarget.py [--seeds 8] [--trials 20] [--further 4] [--json FILE]

Top-1 is a made-up function of token counts and of one loss weight, with the spread between seeds that short fine-tunes
have. The first device is a CPU, whose blocks cost what their tokens are; the second one has steps of 16 tokens, a floor
under which no block falls, and dear selectors. For every seed a search of so many trials is made on the first device
with the search's own parts, then its trials are priced on the second one, and further trials are asked for. Printed:

* how much of the hypervolume of a search of as many trials on the second device itself the moved trials reach, with
  the old front alone, with all trials, and with the further trials trained as well, or as many drawn at random;
* how often the top-1 that a further trial shows lies in the interval foretold, and the gain foretold beside the real.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import search.known_latency
import search.sampler
from search.budget import LatencyBudget, Price
from search.config import ExperimentConfig
from search.experiment import validate
from search.further import further_trials
from search.pareto import hypervolume
from search.proposal import Proposal
from search.proposer import Proposer
from search.records import Latency, StudyRecord, TrialRecord, TrialState
from search.retarget import retarget
from search.selection import front_trials, trial_points
from search.space import SearchSpace
from spvit.schedule import PruningSchedule, TokenGeometry, TokenPlan

GEOMETRY = TokenGeometry(depth=12, num_patches=196)
NOISE_POINTS = 0.3
SHARE = 0.75
MIN_TOP1 = 70.0


def experiment(seed: int) -> ExperimentConfig:
    values: dict[str, Any] = {
        "study": {"name": "landscape", "seed": seed},
        "model": {"name": "landscape"},
        "data": {"path": "nowhere"},
        "pruning": {"blocks": [3, 6, 9]},
        "latency": {"max_latency_share": SHARE},
        "search": {
            "mode": "schedule",
            "space": {
                "stage_keep_rates": {"low": 0.15, "high": 0.95},
                "losses": {"ratio": {"low": 0.1, "high": 10.0, "log": True}},
            },
        },
    }
    return validate(values, source="benchmark")


def cpu_price(plan: TokenPlan) -> Latency:
    return _latency(sum(plan.block_tokens) / 197 + 0.1 * len(plan.selections))


def stepping_price(plan: TokenPlan) -> Latency:
    blocks = sum(max(0.4, math.ceil(count / 16) * 16 / 208) for count in plan.block_tokens)
    return _latency(blocks + 0.6 * len(plan.selections))


def _latency(mean_ms: float) -> Latency:
    return Latency(mean_ms=mean_ms, low_ms=0.98 * mean_ms, high_ms=1.02 * mean_ms)


def top1(proposal: Proposal) -> float:
    """Every block's tokens count, later ones less; a ratio weight near 2 is best."""
    lost = sum((1.0 - count / 197) ** 2 * (1.2 - block / 12) for block, count in enumerate(proposal.plan.block_tokens))
    return 80.0 - 2.2 * max(lost, 0.0) - 0.5 * abs(math.log(proposal.config.losses.ratio / 2.0)) ** 1.5


def shown(proposal: Proposal, rng: random.Random) -> float:
    return top1(proposal) + rng.gauss(0.0, NOISE_POINTS)


def record(number: int, proposal: Proposal, value: float) -> TrialRecord:
    return TrialRecord(
        number=number,
        state=TrialState.COMPLETE,
        params=proposal.params,
        config=proposal.config.to_dict(),
        latency=proposal.latency,
        keep_counts=(),
        blocks=(),
        curve=(value,),
        top1=value,
    )


def searched(seed: int, price: Price, num_trials: int) -> StudyRecord:
    """A search from its warm starts on."""
    config = experiment(seed)
    rng = random.Random(seed)
    dense = price(PruningSchedule().plan(GEOMETRY))
    budget = LatencyBudget.from_config(config.latency, dense)
    proposer = Proposer(
        SearchSpace(config, GEOMETRY), price=price, budget=budget, config=config.search, seed=config.study.seed
    )
    trials = []
    for number in range(num_trials):
        proposal = proposer.propose(number)
        if proposal is None:
            break
        trials.append(record(number, proposal, shown(proposal, rng)))
        proposer.end(trials[-1])
    return StudyRecord(
        name="landscape",
        directory="nowhere",
        experiment=config.model_dump(mode="json"),
        dense_latency=dense,
        max_latency_ms=budget.max_ms,
        num_trials=num_trials,
        num_epochs=1,
        trials=tuple(trials),
    )


def true_hypervolume(study: StudyRecord) -> float:
    """Of what the trials would reach on average, from 70 % on, up to the budget."""
    points = [replace(point, top1=_truth(study.trials[point.number])) for point in trial_points(study)]
    return hypervolume(points, min_top1=MIN_TOP1, max_latency_ms=study.max_latency_ms)


def _truth(trial: TrialRecord) -> float:
    from search.retarget import plan_of
    from trainers.config import TrialConfig

    config = TrialConfig.model_validate(trial.config)
    plan = plan_of(trial, GEOMETRY)
    return top1(Proposal(config=config, plan=plan, latency=trial.latency, params={}))


def with_trials(study: StudyRecord, proposals: list[Proposal], rng: random.Random) -> StudyRecord:
    start = len(study.trials)
    new = [record(start + n, proposal, shown(proposal, rng)) for n, proposal in enumerate(proposals)]
    return replace(study, trials=(*study.trials, *new))


def at_random(seed: int, space: SearchSpace, price: Price, budget: LatencyBudget, num: int) -> list[Proposal]:
    search = experiment(seed).search.model_copy(update={"sampler": "random", "warm_starts": ()})
    proposer = Proposer(space, price=price, budget=budget, config=search, seed=1000 + seed)
    return [proposal for number in range(num) if (proposal := proposer.propose(number)) is not None]


def one_seed(seed: int, num_trials: int, num_further: int) -> dict[str, Any]:
    price, rng = cache(stepping_price), random.Random(100 + seed)
    study = searched(seed, cache(cpu_price), num_trials)
    there = searched(seed, price, num_trials)
    budget = LatencyBudget(max_ms=there.max_latency_ms, source="benchmark")
    moved = retarget(study, price=price, geometry=GEOMETRY, budget=budget)
    config = experiment(seed)
    space = SearchSpace(config, GEOMETRY)
    found = further_trials(moved.after, space, price=price, budget=budget, search=config.search, num=num_further).trials
    proposals = [trial.proposal for trial in found]
    more = with_trials(moved.after, proposals, rng)
    chance = with_trials(moved.after, at_random(seed, space, price, budget, num_further), rng)
    old = {trial.number for trial in front_trials(study)}
    whole, base = true_hypervolume(there), true_hypervolume(moved.after)
    only_old = [p for p in trial_points(moved.after) if p.number in old]
    only_old = [replace(p, top1=_truth(moved.after.trials[p.number])) for p in only_old]
    tops = [t.top1 for t in more.trials[len(moved.after.trials) :] if t.top1 is not None]
    return {
        "old_front": hypervolume(only_old, min_top1=MIN_TOP1, max_latency_ms=budget.max_ms) / whole,
        "all_trials": base / whole,
        "with_further": true_hypervolume(more) / whole,
        "with_random": true_hypervolume(chance) / whole,
        "num_further": len(found),
        "covered": [t.forecast.low_top1 <= x <= t.forecast.high_top1 for t, x in zip(found, tops, strict=True)],
        "foretold_gain": sum(trial.forecast.gain for trial in found),
        "real_gain": true_hypervolume(more) - base,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--further", type=int, default=4)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    # A third of a search's candidates, for the sake of time.
    search.sampler.NUM_CANDIDATES, search.known_latency.NUM_CHILDREN = 150, 6
    rows = []
    for seed in range(options.seeds):
        rows.append(one_seed(seed, options.trials, options.further))
        print(f"seed {seed}: {_line(rows[-1])}", flush=True)
    covered = [hit for row in rows for hit in row["covered"]]

    def average(key: str) -> float:
        return mean(float(row[key]) for row in rows)

    print(f"\nshare of the hypervolume of a search of {options.trials} trials on the device itself, {len(rows)} seeds")
    for key, text in (
        ("old_front", "trials of the old front"),
        ("all_trials", "all trials, priced anew"),
        ("with_random", f"and {options.further} drawn at random"),
        ("with_further", "and the further trials"),
    ):
        print(f"{text:28s} {average(key):.3f}")
    print(f"further trials found         {average('num_further'):.1f}")
    print(f"gain foretold, real          {average('foretold_gain'):.2f}, {average('real_gain'):.2f} % x ms")
    if covered:
        print(f"in the 90 % interval         {sum(covered)} of {len(covered)}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


def _line(row: dict[str, Any]) -> str:
    keys: tuple[str, ...] = ("old_front", "all_trials", "with_random", "with_further", "foretold_gain", "real_gain")
    shown_value: Callable[[str], str] = lambda key: f"{key} {row[key]:.3f}"  # noqa: E731
    return ", ".join(map(shown_value, keys))


if __name__ == "__main__":
    main()
