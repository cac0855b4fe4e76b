"""Whether short fine-tunes tell schedules apart, and what the ways of training are worth.

    python benchmarks/accuracy_parity.py [--quick] [--json FILE] [--results FILE] [--jobs 2]

The demo's data, backbone and training on schedules drawn once at random, with seeds of their own for the order of
images, noise and selectors:

    gathered         dropped tokens are removed while training, the default
    masked           they are masked, and removed in evaluation
    class attention  no selector is learned; the backbone is trained with the class token's attention as score
    untrained        the same without any training

Everything is evaluated in the gathered form on 9,800 images that neither backbone nor trials have seen: the 2,000 of
the validation split, by which a search decides, and 7,800 more, so that it is the trainings that are compared and not
the draw of the images. Two models that disagree on 5 % of the images differ by .5 points on 2,000 of them for that
reason alone, by .2 on all. Trainings are kept in the results file; a run that was stopped goes on there. 180 trainings
of about 30 CPU seconds (masked: 55).
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from functools import cache
from itertools import combinations, permutations
from multiprocessing import get_context
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from bars import Bar, finish, parser
from scipy.stats import kendalltau

DEMO = Path(__file__).parents[1] / "experiments" / "demo.toml"
NUM_SCHEDULES, NUM_SEEDS = 12, 5
LOWEST, HIGHEST = 0.12, 0.95
EVALUATION_BATCH_SIZE = 100
GATHERED, MASKED, ATTENTION, UNTRAINED = "gathered", "masked", "class attention", "untrained"
TRAINED = (GATHERED, MASKED, ATTENTION)
CHANGES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    GATHERED: {},
    MASKED: {"training": {"form": "masked"}},
    ATTENTION: {"pruning": {"selector": "class_attention"}},
    UNTRAINED: {"pruning": {"selector": "class_attention"}},
}
NUM_VAL, NUM_HOLDOUT = 2000, 7800
NOISE_FACTOR = 1.64
"""A difference of means beyond so many standard errors is more than noise (one-sided 95 %)."""

KeepRates = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One model to train, or only to evaluate."""

    method: str
    keep_rates: KeepRates
    seed: int
    quick: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """What became of a job. Top-1 in percent after the last epoch; `identity` hashes everything that decided it."""

    method: str
    keep_rates: KeepRates
    seed: int
    identity: str
    val_top1: float
    holdout_top1: float
    cpu_s: float

    @property
    def top1(self) -> float:
        """Of all held-out images together."""
        return (NUM_VAL * self.val_top1 + NUM_HOLDOUT * self.holdout_top1) / (NUM_VAL + NUM_HOLDOUT)


def schedules(count: int) -> list[KeepRates]:
    """Three cumulative keep rates each, uniform between the bounds, sorted."""
    rng = np.random.default_rng(0)
    draws = (rng.uniform(LOWEST, HIGHEST, 3) for _ in range(count))
    return [tuple(sorted((round(float(rate), 3) for rate in draw), reverse=True)) for draw in draws]


def jobs(num_schedules: int, num_seeds: int, *, quick: bool) -> Iterator[Job]:
    """Seed after seed, so that what there is so far is balanced."""
    drawn = schedules(num_schedules)
    for keep_rates in drawn:
        yield Job(method=UNTRAINED, keep_rates=keep_rates, seed=0, quick=quick)
    for seed in range(num_seeds):
        for method in TRAINED:
            for keep_rates in drawn:
                yield Job(method=method, keep_rates=keep_rates, seed=seed, quick=quick)


def run(job: Job, starts: Path) -> Row:
    """In a process of its own: one thread each, so that processes do not disturb each other."""
    import time

    import torch

    from trainers.build import build_model
    from trainers.fine_tune import FineTuner

    torch.set_num_threads(1)
    started = time.process_time()
    config = trial(job)
    if job.method == UNTRAINED:
        model = build_model(config)
    else:
        tuner = FineTuner(config, cache=starts)
        tuner.fit()
        model = tuner.model
    return Row(
        method=job.method,
        keep_rates=job.keep_rates,
        seed=job.seed,
        identity=identity(job),
        val_top1=top1_on("val", model, config),
        holdout_top1=top1_on("holdout", model, config),
        cpu_s=time.process_time() - started,
    )


def top1_on(split: str, model: Any, config: Any) -> float:
    """Top-1 on the images of a file of the demo's data."""
    from trainers.data import Loading, Split, open_split
    from trainers.evaluate import evaluate
    from trainers.preprocessing import preprocessing_of

    data = config.data.model_copy(update={"val_split": split})
    loading = Loading(batch_size=EVALUATION_BATCH_SIZE, training=False)
    return evaluate(model, open_split(data, Split.VAL, preprocessing_of(model.backbone), loading).epoch(0)).top1


def identity(job: Job) -> str:
    """Results of other settings, or of a version with other defaults, are not those of this job."""
    from trainers.build import identity_of

    return identity_of(trial(job))[:16]


def trial(job: Job) -> Any:
    """The demo's trial with this schedule, method and seed."""
    from spvit.schedule import PruningSchedule
    from trainers.config import TrialConfig

    values = demo_trial().to_dict()
    for section, changes in CHANGES[job.method].items():
        values[section] |= changes
    values["training"]["seed"] = job.seed
    if job.quick:
        values["training"] |= {"epochs": 1, "images_per_epoch": 1000, "selector_warmup_steps": 50}
    config = TrialConfig.model_validate(values)
    blocks = config.pruning.schedule.blocks
    pruning = config.pruning.model_copy(update={"schedule": PruningSchedule.from_keep_rates(job.keep_rates, blocks)})
    return config.model_copy(update={"pruning": pruning})


@cache
def demo_trial() -> Any:
    """The trial that the demo describes by itself."""
    from search.experiment import load_experiment
    from search.model_facts import trial_of

    return trial_of(load_experiment(DEMO))


def collect(wanted: Sequence[Job], results: Path, num_jobs: int) -> list[Row]:
    """Rows of all jobs; those that the file lacks are run and appended to it."""
    keys = {job: (*key(job), identity(job)) for job in wanted}
    done = {(*key(row), row.identity): row for row in read(results)}
    todo = [job for job in wanted if keys[job] not in done]
    starts = results.with_suffix(".starts")
    print(f"{len(wanted) - len(todo)} of {len(wanted)} results are in {results}", flush=True)
    with ProcessPoolExecutor(num_jobs, mp_context=get_context("spawn")) as pool, results.open("a") as file:
        for number, future in enumerate(as_completed([pool.submit(run, job, starts) for job in todo]), start=1):
            row = future.result()
            done[(*key(row), row.identity)] = row
            file.write(json.dumps(asdict(row)) + "\n")
            file.flush()
            print(f"{number}/{len(todo)} {row.method:16} {row.keep_rates} seed {row.seed}: {row.top1:.2f}", flush=True)
    return [done[keys[job]] for job in wanted]


def read(results: Path) -> Iterator[Row]:
    """The rows of a results file, none where there is no file; those of another version of this benchmark are left."""
    if not results.exists():
        return
    for line in results.read_text().splitlines():
        values = json.loads(line)
        if values.keys() == {field.name for field in fields(Row)}:
            yield Row(**values | {"keep_rates": tuple(values["keep_rates"])})


def key(item: Job | Row) -> tuple[str, KeepRates, int]:
    """What a result belongs to."""
    return item.method, item.keep_rates, item.seed


class Scores:
    """Top-1 of one method, by schedule and seed: of all held-out images, or as `top1_of` has it."""

    def __init__(self, rows: Iterable[Row], method: str, top1_of: Callable[[Row], float] = attrgetter("top1")) -> None:
        self._scores: dict[KeepRates, dict[int, float]] = {}
        for row in rows:
            if row.method == method:
                self._scores.setdefault(row.keep_rates, {})[row.seed] = top1_of(row)

    def means(self) -> dict[KeepRates, float]:
        """Mean over seeds of each schedule."""
        return {rates: statistics.fmean(by_seed.values()) for rates, by_seed in self._scores.items()}

    def spread(self) -> float:
        """Standard deviation between seeds, pooled over schedules."""
        variances = [statistics.variance(s.values()) for s in self._scores.values() if len(s) > 1]
        return statistics.fmean(variances) ** 0.5 if variances else 0.0

    def seed_tau(self) -> float:
        """Mean Kendall tau between two seeds' rankings of the schedules."""
        seeds = sorted(next(iter(self._scores.values())))
        taus = [kendalltau(self._of(one), self._of(other)).statistic for one, other in combinations(seeds, 2)]
        return statistics.fmean(taus) if taus else 1.0

    def order_violations(self) -> float:
        """Share of the pairs of which one keeps more everywhere yet scores lower by more than the noise."""
        means, num_seeds = self.means(), len(next(iter(self._scores.values())))
        noise = NOISE_FACTOR * self.spread() * (2 / num_seeds) ** 0.5
        ordered = [(more, less) for more, less in permutations(means, 2) if keeps_more(more, less)]
        return float(np.mean([means[less] - means[more] > noise for more, less in ordered]))

    def _of(self, seed: int) -> list[float]:
        return [by_seed[seed] for by_seed in self._scores.values()]


def keeps_more(more: KeepRates, less: KeepRates) -> bool:
    """At least as many tokens in every stage."""
    return all(one >= other for one, other in zip(more, less, strict=True))


def print_table(scores: Mapping[str, Scores]) -> None:
    """Means over seeds by schedule, then what the methods are worth."""
    means = {method: of.means() for method, of in scores.items()}
    print(f"\n{'keep rates':24}" + "".join(f"{method:>17}" for method in scores))
    for rates in sorted(means[GATHERED], key=means[GATHERED].__getitem__):
        print(f"{rates!s:24}" + "".join(f"{means[method][rates]:17.2f}" for method in scores))
    print(f"{'mean':24}" + "".join(f"{statistics.fmean(of.values()):17.2f}" for of in means.values()))
    print_stability(scores)


def print_stability(scores: Mapping[str, Scores]) -> None:
    """How far seeds agree."""
    for name, measure in (
        ("spread between seeds", Scores.spread),
        ("seed-to-seed tau", Scores.seed_tau),
        ("order violations", Scores.order_violations),
    ):
        print(f"{name:24}" + "".join(f"{measure(of):17.3f}" for of in scores.values()))


def bars_of(scores: Mapping[str, Scores]) -> list[Bar]:
    """What the default form, gathered, must reach."""
    gathered, untrained = scores[GATHERED], scores[UNTRAINED].means()
    masked_mean = statistics.fmean(scores[MASKED].means().values())
    gains = {method: [mean - untrained[r] for r, mean in scores[method].means().items()] for method in TRAINED}
    return [
        Bar(
            name="gathered - masked, points",
            value=statistics.fmean(gathered.means().values()) - masked_mean,
            target=-0.3,
        ),
        Bar(name="seed-to-seed tau, gathered", value=gathered.seed_tau(), target=0.85),
        Bar(name="order violations, gathered", value=gathered.order_violations(), target=0.05, is_ceiling=True),
        *(
            Bar(name=f"smallest gain over untrained class attention, {method}", value=min(gains[method]), target=0.0)
            for method in TRAINED
        ),
    ]


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--results", type=Path, default=Path("accuracy_parity.jsonl"), help="where results are kept")
    arguments.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trainings at a time")
    options = arguments.parse_args()
    size = (4, 2) if options.quick else (NUM_SCHEDULES, NUM_SEEDS)
    results = options.results.with_suffix(".quick.jsonl") if options.quick else options.results
    rows = collect(list(jobs(*size, quick=options.quick)), results, options.jobs)
    scores = {method: Scores(rows, method) for method in (*TRAINED, UNTRAINED)}
    print_table(scores)
    print(f"\nthe {NUM_VAL} validation images alone")
    print_stability({method: Scores(rows, method, attrgetter("val_top1")) for method in scores})
    finish([asdict(row) for row in rows], bars_of(scores), options.json)


if __name__ == "__main__":
    main()
