"""What one training step costs: forward and backward of each way of training, relative to the dense model's step.

    python benchmarks/train_step.py [--quick] [--json FILE] [--device cuda]

Keep rates .7, .49, .343 before blocks 3, 6, 9; random weights, random images. A sample is timed between two dense steps
and divided by their mean, so that a busy machine slows both; medians of these ratios. CPU time with one thread, wall
clock with two or on a GPU. `frozen` leaves everything before the first selector as it is (training.freeze_leading).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from bars import Bar, finish, parser

from spvit.factory import create_backbone
from spvit.model import PrunedViT
from spvit.options import TokenForm
from spvit.schedule import PruningSchedule
from trainers.config import TrialConfig
from trainers.loss import TrainingStep, make_criterion
from trainers.optim import set_frozen
from trainers.precision import autocast
from trainers.teacher import make_teacher

PRUNED = PruningSchedule.from_base_rate(0.7, (3, 6, 9))
BATCH_SIZES = {"deit_tiny_patch16_224": 16, "deit_small_patch16_224": 8}
GPU_BATCH_SIZE = 256
NUM_ROUNDS = 8
NO_TEACHER = {"distillation": 0.0, "token_distillation": 0.0}
TARGETS = {"gathered": 0.68, "gathered, frozen": 0.50, "gathered, frozen, bf16": 0.40}
Step = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way of training: its settings beside the recipe's."""

    name: str
    training: dict[str, Any]
    teacher: bool = False
    schedule: PruningSchedule = PRUNED


@dataclass(frozen=True, kw_only=True)
class Case:
    """Where a model is trained."""

    model: str
    num_threads: int
    device: str


WHOLE, FROZEN = {"freeze_leading": False}, {"freeze_leading": True}
MASKED, BF16 = {"form": TokenForm.MASKED}, {"precision": "bfloat16"}
WAYS = (
    Way(name="masked", training=WHOLE | MASKED),
    Way(name="masked, teacher", training=WHOLE | MASKED, teacher=True),
    Way(name="gathered", training=WHOLE),
    Way(name="gathered, frozen", training=FROZEN),
    Way(name="gathered, frozen, bf16", training=FROZEN | BF16),
    Way(name="gathered, teacher of its own", training=WHOLE, teacher=True),
    Way(name="gathered, frozen, shared teacher", training=FROZEN, teacher=True),
    Way(name="gathered, frozen, shared teacher, bf16", training=FROZEN | BF16, teacher=True),
)
DENSE = Way(name="dense", training=WHOLE, schedule=PruningSchedule())


def make_step(way: Way, model: str, device: str) -> Step:
    torch.manual_seed(0)
    config = TrialConfig.model_validate(
        {
            "model": {"name": model},
            "data": {"path": "."},
            "training": {"freeze_epochs": 0, "precision": "float32"} | way.training,
            "losses": {} if way.teacher else NO_TEACHER,
        }
    )
    student = PrunedViT(create_backbone(model), way.schedule)
    teacher = make_teacher(student, config, needed=config.losses.needs_teacher)
    set_frozen(student, config.training, epoch=0)
    step = TrainingStep(student, teacher, make_criterion(student, config), config).to(device).train()
    images = torch.randn(batch_size(model, device), 3, 224, 224, device=device)
    labels = torch.randint(0, 1000, (len(images),), device=device)

    def run() -> None:
        student.zero_grad(set_to_none=True)
        with autocast(config.training.precision, images.device):
            loss = step(images, labels, config.training.temperature)
        torch.autograd.backward(loss.total)
        if images.is_cuda:
            torch.cuda.synchronize()

    return run


def batch_size(model: str, device: str) -> int:
    return BATCH_SIZES[model] if device == "cpu" else GPU_BATCH_SIZE


def measure(case: Case, num_rounds: int, ways: tuple[Way, ...] = WAYS) -> list[dict[str, Any]]:
    torch.set_num_threads(case.num_threads)
    clock = time.process_time if case.device == "cpu" and case.num_threads == 1 else time.perf_counter
    dense = make_step(DENSE, case.model, case.device)
    steps = {way.name: make_step(way, case.model, case.device) for way in ways}
    ratios: dict[str, list[float]] = {name: [] for name in steps}
    dense_seconds = [timed(dense, clock) for _ in range(2)][1:]
    for number in range(num_rounds + 1):
        for name, step in steps.items():
            seconds = timed(step, clock)
            dense_seconds.append(timed(dense, clock))
            if number:  # the first round warms up
                ratios[name].append(2 * seconds / (dense_seconds[-2] + dense_seconds[-1]))
    common = asdict(case) | {"num_rounds": num_rounds}
    dense_row = common | {"step": "dense", "ratio": 1.0, "seconds": statistics.median(dense_seconds)}
    return [dense_row] + [common | {"step": name, "ratio": statistics.median(r)} for name, r in ratios.items()]


def timed(step: Step, clock: Callable[[], float]) -> float:
    started = clock()
    step()
    return clock() - started


def bars_of(rows: list[dict[str, Any]]) -> list[Bar]:
    return [
        Bar(name=f"{row['step']}, {row['model']}", value=row["ratio"], target=TARGETS[row["step"]], is_ceiling=True)
        for row in rows
        if row["num_threads"] == 1 and row["step"] in TARGETS
    ]


def main() -> None:
    arguments = parser(__doc__ or "")  # --quick: what has a bar, for deit_tiny on one thread
    arguments.add_argument("--device", default="cpu")
    options = arguments.parse_args()
    threads = (1, 2) if options.device == "cpu" else (1,)
    cases = [Case(model=m, num_threads=n, device=options.device) for m in BATCH_SIZES for n in threads]
    cases = cases[: 1 if options.quick else None]
    ways = tuple(way for way in WAYS if way.name in TARGETS) if options.quick else WAYS
    rows = []
    for case in cases:
        rows += measure(case, NUM_ROUNDS, ways)
        size = batch_size(case.model, case.device)
        print(f"\n{case.model}, batch {size}, {case.device}, {case.num_threads} thread(s)")
        for row in rows[-len(ways) - 1 :]:
            print(f"  {row['step']:40} {row['ratio']:.3f}" + (f"  {row['seconds']:.2f} s" if "seconds" in row else ""))
    print()
    finish(rows, bars_of(rows), options.json)


if __name__ == "__main__":
    main()
