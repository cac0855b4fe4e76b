"""Whether one elastic training tells schedules apart as trainings of each do, and is a better start for them.

    python benchmarks/elastic.py [--quick] [--json FILE] [--results FOLDER] [--report] [--seed N]

The demo's data, backbone and recipe (decision 18), on schedules whose costs are evenly spread:

    individual    each schedule trained by itself: the first ground truth
    elastic       one training for all of them; its estimates are evaluations of the same weights
    specialised   each schedule trained further from the elastic weights: the second ground truth

Every seed has its own order of images, noise, selectors and drawn schedules. All are evaluated on the 9,800 images that
neither backbone nor trainings have seen (decision 22). The elastic training and all that are specialised
from it see no more images together than the individual ones.

Trainings are kept in the results folder, so that a run that was stopped goes on there; `--report` trains nothing and
prints what can be said of what there is. 147 trainings, about an hour and a half of one quiet core.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import accuracy_parity as parity
import numpy as np
from bars import finish, parser
from elastic_report import ELASTIC, INDIVIDUAL, SPECIALISED, Result, bars_of, print_report

LOWEST, HIGHEST = 0.12, 0.95
NUM_SEEDS = 3
MIN_SEEDS = 2
"""Fewer say nothing about how far seeds agree."""
BATCH_SIZE = 100


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is trained."""

    num_schedules: int
    num_seeds: int
    images_per_epoch: int
    warmup_steps: int
    individual_epochs: int
    elastic_epochs: int
    specialised_epochs: int
    specialised_images: int
    splits: tuple[str, ...] = ("val", "holdout")

    def __post_init__(self) -> None:
        individual = self.num_schedules * self.individual_epochs * self.images_per_epoch
        specialised = self.num_schedules * self.specialised_epochs * self.specialised_images
        shared = self.elastic_epochs * self.images_per_epoch + specialised
        assert shared <= individual, "trained images must not be more than individual ones"


FULL = Size(
    num_schedules=24, num_seeds=NUM_SEEDS, images_per_epoch=4000, warmup_steps=200,
    individual_epochs=3, elastic_epochs=12, specialised_epochs=2, specialised_images=5000,
)  # fmt: skip
QUICK = Size(
    num_schedules=6, num_seeds=MIN_SEEDS, images_per_epoch=1000, warmup_steps=50,
    individual_epochs=2, elastic_epochs=6, specialised_epochs=1, specialised_images=1000, splits=("val",),
)  # fmt: skip


@cache
def schedules(count: int) -> tuple[parity.KeepRates, ...]:
    """Three cumulative keep rates each, drawn evenly, of which those are taken that come nearest to even costs.

    They are drawn without the trainer's own sampler, so that the two share no bias.
    """
    rng = np.random.default_rng(0)
    drawn = np.sort(rng.uniform(LOWEST, HIGHEST, (20000, 3)).round(3))[:, ::-1]
    costs = np.array([macs(tuple(rates)) for rates in drawn.tolist()])
    targets = np.linspace(macs((LOWEST,) * 3), macs((HIGHEST,) * 3), count + 2)[1:-1]
    return tuple(tuple(drawn[np.abs(costs - target).argmin()].tolist()) for target in targets)


def macs(keep_rates: parity.KeepRates) -> int:
    """Multiply-accumulates of one image."""
    from spvit.schedule import PruningSchedule

    model, blocks = counted()
    return int(model(PruningSchedule.from_keep_rates(keep_rates, blocks)))


@cache
def counted() -> Any:
    """What counts a schedule's multiply-accumulates, and the blocks of the demo's stages."""
    from trainers.build import build_model
    from trainers.schedule_prices import price_of_schedules

    config = parity.demo_trial()
    return price_of_schedules(config, build_model(config)), config.pruning.schedule.blocks


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training; an elastic one has no schedule."""

    kind: str
    seed: int
    keep_rates: parity.KeepRates = ()


def jobs(size: Size) -> Iterator[Job]:
    """Seed after seed and, within one, every fourth schedule first, so that what there is so far spans the costs."""
    chosen = schedules(size.num_schedules)
    order = [number for start in (0, 2, 1, 3) for number in range(start, len(chosen), 4)]
    for seed in range(size.num_seeds):
        yield Job(kind=ELASTIC, seed=seed)
        for number in order:
            for kind in (INDIVIDUAL, SPECIALISED):
                yield Job(kind=kind, seed=seed, keep_rates=chosen[number])


def trial(job: Job, size: Size) -> Any:
    """The trial of a job; a specialised one without the weights that it starts from."""
    from trainers.config import ElasticConfig

    base = parity.Job(method=parity.GATHERED, keep_rates=job.keep_rates or schedules(3)[1], seed=job.seed)
    config = parity.trial(base)
    epochs = {
        INDIVIDUAL: size.individual_epochs, ELASTIC: size.elastic_epochs, SPECIALISED: size.specialised_epochs,
    }[job.kind]  # fmt: skip
    update = {
        "epochs": epochs, "images_per_epoch": images_of(job.kind, size), "selector_warmup_steps": size.warmup_steps,
    }  # fmt: skip
    config = config.model_copy(update={"training": config.training.model_copy(update=update)})
    elastic = ElasticConfig(num_priced=2, drawn_classification=0, sandwich_share=0)  # decision 42
    return config.model_copy(update={"elastic": elastic}) if job.kind == ELASTIC else config


def images_of(kind: str, size: Size) -> int:
    """Images of an epoch."""
    return size.specialised_images if kind == SPECIALISED else size.images_per_epoch


def identity(job: Job, size: Size) -> str:
    """Results of other settings are not those of this job; a specialised one depends on its elastic training too."""
    from trainers.build import identity_of
    from trainers.elastic import specialised_from
    from trainers.start_weights import ShareRule, StartWeights

    config = trial(job, size)
    if job.kind != SPECIALISED:
        return identity_of(config)[:12]
    start = StartWeights(path=Path("unknown"), sha256="0" * 64, backbone_share=ShareRule.BY_DROPPED)
    further = specialised_from(start, config, config.pruning.schedule)
    return identity_of(further)[:12] + identity(Job(kind=ELASTIC, seed=job.seed), size)


def elastic_folder(seed: int, size: Size, results: Path) -> Path:
    """Where the checkpoints of an elastic training are."""
    return results / f"elastic-{identity(Job(kind=ELASTIC, seed=seed), size)}"


def run(job: Job, size: Size, results: Path) -> list[Result]:
    """Train and evaluate. An elastic training has a result for each schedule, which share its cost."""
    from trainers.elastic import ElasticTuner, specialised
    from trainers.fine_tune import FineTuner

    started, config = time.process_time(), trial(job, size)
    if job.kind == ELASTIC:
        tuner: Any = ElasticTuner(config, elastic_folder(job.seed, size, results), cache=results / "starts")
    else:
        if job.kind == SPECIALISED:
            elastic = trial(Job(kind=ELASTIC, seed=job.seed), size)
            folder = elastic_folder(job.seed, size, results)
            config = specialised(elastic, config.pruning.schedule, folder, epochs=size.specialised_epochs)
            images = {"images_per_epoch": images_of(job.kind, size)}
            config = config.model_copy(update={"training": config.training.model_copy(update=images)})
        tuner = FineTuner(config, cache=results / "starts")
    tuner.fit()
    trained_s = time.process_time() - started
    chosen = schedules(size.num_schedules) if job.kind == ELASTIC else (job.keep_rates,)
    top1 = evaluated(tuner.model, config, chosen, size)
    cost_s = trained_s if job.kind != ELASTIC else time.process_time() - started
    return [
        Result(
            kind=job.kind, seed=job.seed, keep_rates=rates, identity=identity(job, size), macs=macs(rates),
            top1=value, cpu_s=cost_s / len(chosen),
        )
        for rates, value in zip(chosen, top1, strict=True)
    ]  # fmt: skip


def evaluated(model: Any, config: Any, chosen: Sequence[parity.KeepRates], size: Size) -> list[float]:
    """Top-1 of each schedule on the images of all splits together, which nobody trains on or decides by."""
    from spvit.schedule import PruningSchedule
    from trainers.data import Loading, Split, open_split
    from trainers.many_schedules import ScheduleScores, price_schedules
    from trainers.preprocessing import preprocessing_of

    asked = [PruningSchedule.from_keep_rates(rates, config.pruning.schedule.blocks) for rates in chosen]
    loading, parts = Loading(batch_size=BATCH_SIZE, training=False), []
    for split in size.splits:
        data = config.data.model_copy(update={"val_split": split})
        batches = open_split(data, Split.VAL, preprocessing_of(model.backbone), loading)
        parts.append(price_schedules(model, asked, batches.epoch(0)))
    return list(ScheduleScores.joined(parts).top1.tolist())


def collect(size: Size, results: Path, *, trains: Collection[int]) -> list[Result]:
    """Results of all jobs; those of these seeds that the folder lacks are trained, one after the other."""
    results.mkdir(parents=True, exist_ok=True)
    path = results / "results.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    done: dict[tuple[str, int, str], list[Result]] = {}
    for result in (Result(**values | {"keep_rates": tuple(values["keep_rates"])}) for values in map(json.loads, lines)):
        done.setdefault((result.kind, result.seed, result.identity), []).append(result)
    found: list[Result] = []
    for job in jobs(size):
        key = (job.kind, job.seed, identity(job, size))
        if key not in done and job.seed in trains:
            done[key] = run(job, size, results)
            with path.open("a") as file:
                file.writelines(json.dumps(asdict(result)) + "\n" for result in done[key])
            mean = float(np.mean([result.top1 for result in done[key]]))
            print(f"{job.kind:12} seed {job.seed} {job.keep_rates or 'all'}: {mean:.2f}", flush=True)
        found += done.get(key, [])
    return found


def main() -> None:
    import torch

    arguments = parser(__doc__ or "")
    arguments.add_argument("--results", type=Path, default=Path("elastic_results"), help="where results are kept")
    arguments.add_argument("--report", action="store_true", help="train nothing, report what there is")
    arguments.add_argument("--seed", type=int, help="train this one alone: processes may share a folder of results")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    size = QUICK if options.quick else FULL
    seeds = range(size.num_seeds) if options.seed is None else [options.seed]
    found = collect(size, options.results, trains=[] if options.report else seeds)
    print_report(found, num_schedules=size.num_schedules, num_seeds=size.num_seeds)
    finish([asdict(result) for result in found], bars_of(found), options.json)


if __name__ == "__main__":
    main()
