"""What a search costs until its front is as good as another's: a fixed grid, schedules one by one, elastic weights.

    python benchmarks/search_cost.py [--quick] [--json FILE] [--results FOLDER] [--report] [--seed N]

Real trainings on the demo's data and backbone, one after the other in this process, without Ray. All methods explore
keep rates alone, with the file's own loss and learning rate, within the same budget in multiply-accumulates:

    grid          schedules whose rates are all of a few levels, trained in full
    unpruned      the search with its sampler, every trial trained in full
    schedule      the same with its pruner: what the others are compared with
    auto          an elastic training, then schedules trained further from its weights

A front is worth the mean accuracy of its best model over all budgets up to the cap. Elastic weights are a model for any
schedule by themselves: `auto+` counts those on their own front as well. A seed decides images, selectors and proposals,
and all methods have the same ones. Runs are kept in the results folder; a run that was stopped is begun anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
from bars import Bar, finish, parser

DEMO = Path(__file__).parents[1] / "experiments" / "demo.toml"
GRID, UNPRUNED, SCHEDULE, AUTO, AUTO_PLUS = "grid", "unpruned", "schedule", "auto", "auto+"
METHODS = ((SCHEDULE, AUTO), (GRID, UNPRUNED))
"""What is compared first, for all seeds, and what it is compared with then."""
LEVELS = (0.3, 0.45, 0.6, 0.75, 0.9)
LOW, HIGH = 0.3, 1.0
TARGET_SHARE = 0.2
MS_PER_MAC = 1e-6


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is trained."""

    num_seeds: int
    num_trials: int
    num_contenders: int
    epochs: int
    elastic_epochs: int
    images_per_epoch: int
    warmup_steps: int
    num_priced: int
    priced_images: int


FULL = Size(
    num_seeds=5, num_trials=50, num_contenders=10, epochs=3, elastic_epochs=10, images_per_epoch=2000, warmup_steps=100,
    num_priced=200, priced_images=1000,
)  # fmt: skip
QUICK = Size(
    num_seeds=1, num_trials=8, num_contenders=3, epochs=3, elastic_epochs=4, images_per_epoch=500, warmup_steps=30,
    num_priced=32, priced_images=400,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Step:
    """CPU seconds of a search so far, and what its front is worth: with trained models, and with elastic weights."""

    cpu_s: float
    worth: float
    worth_plus: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """One search."""

    method: str
    seed: int
    settings: str
    steps: tuple[Step, ...]
    tau: float | None = None

    def cost_to_reach(self, worth: float, *, plus: bool = False) -> float | None:
        """CPU seconds until its front was worth as much; None where it never was."""
        reached = (s.cpu_s for s in self.steps if (s.worth_plus if plus else s.worth) >= worth)
        return next(reached, None)


def experiment(method: str, seed: int, size: Size, directory: Path) -> Any:
    """The experiment of a run."""
    from search.config import ExperimentConfig
    from search.experiment import load_experiment

    values = load_experiment(DEMO).model_dump(mode="json", exclude_unset=True)
    values["study"] = {"name": f"{method}-{seed}", "directory": str(directory), "seed": seed}
    values["pruning"] = {"blocks": values["pruning"]["blocks"]}
    values["latency"] |= {"max_latency_share": max_share()}
    del values["elastic"]
    values["training"] |= {
        "epochs": size.epochs, "images_per_epoch": size.images_per_epoch, "seed": seed,
        "selector_warmup_steps": size.warmup_steps,
    }  # fmt: skip
    search = {
        "mode": "schedule", "num_trials": size.num_trials, "num_concurrent": 1, "num_startup_trials": 5,
        "grace_epochs": 1,
        "pruner": "pareto" if method == SCHEDULE else "none", "space": {"stage_keep_rates": {"low": LOW, "high": HIGH}},
    }  # fmt: skip
    if method == GRID:
        grid = [{"keep_rates": rates} for rates in grid_rates(size.num_trials, seed)]
        search |= {"warm_starts": False, "enqueue": grid, "num_trials": len(grid)}
    if method == AUTO:
        search |= {
            "mode": "auto", "num_trials": size.num_contenders,
            "elastic": {
                "epochs": size.elastic_epochs, "contender_epochs": 1, "num_bands": size.num_contenders,
                "num_priced": size.num_priced, "priced_images": size.priced_images,
            },
        }  # fmt: skip
        values["elastic"] = {"num_priced": 4, "drawn_classification": 0, "sandwich_share": 0}  # decision 42
    return ExperimentConfig.model_validate(values | {"search": search})


def settings_of(method: str, seed: int, size: Size) -> str:
    """A hash of all that a run is told: runs of other settings are not this one."""
    values = experiment(method, seed, size, Path("anywhere")).model_dump(mode="json")
    values["model"].pop("checkpoint")  # where the project lies decides nothing
    values["data"].pop("path")
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def grid_rates(count: int, seed: int) -> list[list[float]]:
    """Schedules of the levels within the budget, in an order that has nothing to do with what they are worth."""
    from spvit.schedule import PruningSchedule

    geometry, price = device()
    budget_ms = price(PruningSchedule().plan(geometry)).mean_ms * max_share()
    blocks = demo_blocks()
    rates = [sorted(levels, reverse=True) for levels in combinations_with_replacement(LEVELS, 3)]
    within = [
        rate
        for rate in rates
        if price(PruningSchedule.from_keep_rates(rate, blocks).plan(geometry)).high_ms <= budget_ms
    ]
    order = np.random.default_rng(seed).permutation(len(within))
    return [within[number] for number in order[:count]]


@cache
def device() -> Any:
    """The backbone's tokens, and what networks cost in multiply-accumulates."""
    from search.experiment import load_experiment
    from search.records import Latency
    from spvit.options import HeadWeighting, SelectorKind
    from spvit.widths import macs_counter
    from trainers.build import build_model

    model = build_model(load_experiment(DEMO).fixed_trial(6))
    count = macs_counter(model.backbone, selector=SelectorKind.MULTI_HEAD, weighting=HeadWeighting.SENET)

    def price(plan: Any) -> Latency:
        cost = MS_PER_MAC * count(plan)
        return Latency(mean_ms=cost, low_ms=cost, high_ms=cost)

    return model.geometry, price


def demo_blocks() -> tuple[int, ...]:
    """Blocks of the demo's selectors."""
    from search.experiment import load_experiment

    blocks = load_experiment(DEMO).pruning.blocks
    assert blocks is not None
    return blocks


def max_share() -> float:
    """The demo's largest budget as a share of the dense model's latency."""
    from search.experiment import load_experiment

    shares = load_experiment(DEMO).latency.max_latency_share
    assert shares is not None
    return shares if isinstance(shares, float) else max(shares)


def run(method: str, seed: int, size: Size, results: Path) -> Run:
    """One search, with what it was worth whenever a trial had been trained to its end."""
    from search.rank_agreement import RankAgreement
    from search.trial_factory import fine_tune_trial

    folder = results / "studies"
    config = experiment(method, seed, size, folder)
    shutil.rmtree(folder / config.study.name, ignore_errors=True)
    driver, store = make_driver(config)
    started, steps = time.process_time(), []
    driver.start()
    while not driver.is_finished and (trial := driver.suggest()) and hasattr(trial, "number"):
        directory = store.directory / "trials" / str(trial.number)
        directory.mkdir(parents=True)
        trainee = fine_tune_trial(_config_of(trial), directory)
        while not trainee.is_done:
            decision = driver.on_result(trial.number, trainee.run_epoch().to_dict())
            if decision.value == "stop":
                break
        spent_s = time.process_time() - started
        steps.append(Step(cpu_s=spent_s, worth=worth(store, plus=False), worth_plus=worth(store, plus=True)))
    driver.finish()
    if driver.error is not None:
        raise driver.error
    assert bool(store.record().elastic) == (method == AUTO), "only auto has elastic trials"
    agreement = RankAgreement.of(store.trials)
    shutil.rmtree(store.directory, ignore_errors=True)
    settings = settings_of(method, seed, size)
    return Run(method=method, seed=seed, settings=settings, steps=tuple(steps), tau=agreement.tau)


def _config_of(trial: Any) -> Any:
    from trainers.config import TrialConfig

    return TrialConfig.model_validate(trial.config)


def make_driver(config: Any) -> tuple[Any, Any]:
    """The driver of a search in this process, and its study."""
    from search.budget import LatencyBudget
    from search.driver import SearchDriver
    from search.launcher import Device
    from search.limits import Limits
    from search.modes import ModeParts
    from search.proposer import Proposer
    from search.pruner import PeerPruner
    from search.space import SearchSpace
    from search.study import StudyFacts, StudyStore
    from spvit.schedule import PruningSchedule

    geometry, price = device()
    dense, space = price(PruningSchedule().plan(geometry)), SearchSpace(config, geometry)
    budget = LatencyBudget.from_config(config.latency, dense)
    store = StudyStore.in_memory(
        config, StudyFacts(dense_latency=dense, max_latency_ms=budget.max_ms, table_sha256=""), space
    )
    pruner: Any = PeerPruner(config.search, config.training, config.study.name)
    driver_type: Any = SearchDriver
    if config.has_elastic_trials:
        parts = ModeParts(
            experiment=config,
            device=Device(geometry=geometry, price=price, table_sha256=""),
            space=space,
            budget=budget,
            directory=store.directory,
        )
        driver_type, pruner = parts.driver_type(), parts.pruner()
    proposer = Proposer(space, price=price, budget=budget, config=config.search, seed=config.study.seed)
    driver = driver_type(store=store, proposer=proposer, pruner=pruner, limits=Limits.from_config(config))
    return driver, store


def worth(store: Any, *, plus: bool) -> float:
    """Mean top-1 of the best model over all budgets from that of the lowest rates to the cap."""
    from search.pareto import ParetoPoint, hypervolume
    from spvit.schedule import PruningSchedule

    geometry, price = device()
    record = store.record()
    lowest = PruningSchedule.from_keep_rates([LOW] * 3, demo_blocks())
    lowest_ms, cap_ms = price(lowest.plan(geometry)).mean_ms, record.max_latency_ms
    points = [(trial.latency.mean_ms, trial.top1) for trial in record.finished]
    if plus:
        points += [(each.cost, each.top1) for trial in record.elastic for each in trial.priced]
    found = [ParetoPoint(number=n, top1=top1, latency_ms=ms) for n, (ms, top1) in enumerate(points)]
    return hypervolume(found, min_top1=0.0, max_latency_ms=cap_ms) / (cap_ms - lowest_ms)


def collect(size: Size, results: Path, *, trains: Collection[int]) -> list[Run]:
    """All runs; those of these seeds that the folder lacks are made."""
    results.mkdir(parents=True, exist_ok=True)
    path = results / "runs.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    known = {(found.method, found.seed, found.settings): found for found in (_run(json.loads(line)) for line in lines)}
    runs: list[Run] = []
    jobs = ((method, seed) for methods in METHODS for seed in range(size.num_seeds) for method in methods)
    for method, seed in jobs:
        if before := known.get((method, seed, settings_of(method, seed, size))):
            runs.append(before)
            continue
        if seed not in trains:
            continue
        found = run(method, seed, size, results)
        runs.append(found)
        with path.open("a") as file:
            file.write(json.dumps(asdict(found)) + "\n")
        last = found.steps[-1]
        print(f"{method:9} seed {seed}: {last.cpu_s:.0f} CPU s, {last.worth:.2f} / {last.worth_plus:.2f}", flush=True)
    return runs


def _run(values: dict[str, Any]) -> Run:
    return Run(**values | {"steps": tuple(Step(**step) for step in values["steps"])})


def rows_of(runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """For each seed, what each method cost to be worth as much as schedule mode with pruning was at its end."""
    by_key = {(run.method, run.seed): run for run in runs}
    for seed in sorted({run.seed for run in runs}):
        if (SCHEDULE, seed) not in by_key:
            continue
        target = by_key[SCHEDULE, seed].steps[-1].worth
        reference_s = by_key[SCHEDULE, seed].cost_to_reach(target)
        for method in (GRID, UNPRUNED, SCHEDULE, AUTO, AUTO_PLUS):
            found = by_key.get((AUTO if method == AUTO_PLUS else method, seed))
            if found is None:
                continue
            plus = method == AUTO_PLUS
            cost_s, last = found.cost_to_reach(target, plus=plus), found.steps[-1]
            yield {
                "seed": seed, "method": method, "cpu_s": last.cpu_s, "worth": last.worth_plus if plus else last.worth,
                "cost_s": cost_s, "share": None if cost_s is None or not reference_s else cost_s / reference_s,
                "tau": found.tau,
            }  # fmt: skip


def print_report(rows: Sequence[dict[str, Any]]) -> None:
    """One line for each search."""
    print(f"{'seed':>4} {'method':9} {'CPU s':>7} {'worth':>7} {'CPU s to reach schedule':>24} {'share':>6} {'tau':>6}")
    for row in rows:
        cost = "never" if row["cost_s"] is None else f"{row['cost_s']:.0f}"
        share = "" if row["share"] is None else f"{row['share']:.2f}"
        tau = "" if row["tau"] is None else f"{row['tau']:.2f}"
        start = f"{row['seed']:4} {row['method']:9} {row['cpu_s']:7.0f} {row['worth']:7.2f}"
        print(f"{start} {cost:>24} {share:>6} {tau:>6}")


def shares_of(rows: Sequence[dict[str, Any]], method: str, what: str) -> Iterator[Bar]:
    """The median over seeds of what it cost to be worth as much as schedule mode; one that never was costs no end."""
    shares = [np.inf if row["share"] is None else row["share"] for row in rows if row["method"] == method]
    if shares:
        name = f"auto, {what}: share of schedule mode's cost, {len(shares)} seeds"
        yield Bar(name=name, value=float(np.median(shares)), target=TARGET_SHARE, is_ceiling=True)


def main() -> None:
    import torch

    arguments = parser(__doc__ or "")
    arguments.add_argument("--results", type=Path, default=Path("search_cost_results"), help="where runs are kept")
    arguments.add_argument("--report", action="store_true", help="train nothing, report what there is")
    arguments.add_argument(
        "--seed", type=int, action="append", help="run these alone; repeatable: processes may share a folder of results"
    )
    options = arguments.parse_args()
    torch.set_num_threads(1)
    size = QUICK if options.quick else FULL
    seeds = options.seed or range(size.num_seeds)
    rows = list(rows_of(collect(size, options.results, trains=[] if options.report else seeds)))
    print_report(rows)
    bars = [*shares_of(rows, AUTO_PLUS, "elastic weights included"), *shares_of(rows, AUTO, "trained schedules alone")]
    finish(rows, bars, options.json)


if __name__ == "__main__":
    main()
