"""What pruning the demo's backbone gains on this machine, at the batch size of the demo's latency table.

    python benchmarks/demo_backbone.py [--quick] [--json FILE]

Schedules r, r^2, r^3 at the demo's blocks, timed in shuffled rounds, each sample as a ratio to the dense model just
before and after it; one thread, CPU time, medians with 90 % intervals.
"""

from __future__ import annotations

from pathlib import Path

import torch
from bars import Bar, finish, parser

from latency_tables.timing import Comparison, compare_models
from search.experiment import load_experiment
from spvit import PrunedViT, create_backbone
from spvit.schedule import PruningSchedule
from trainers.config import ModelConfig

DEMO = Path(__file__).parents[1] / "experiments" / "demo.toml"
BASE_RATES = (0.9, 0.8, 0.7, 0.6, 0.5)
TARGET_SPEEDUP = 1.25


def backbone(config: ModelConfig) -> torch.nn.Module:
    return create_backbone(config.name, args=config.args, checkpoint=config.checkpoint).eval()


def measure(num_rounds: int) -> dict[str, Comparison]:
    experiment = load_experiment(DEMO)
    dense = backbone(experiment.model)
    blocks = experiment.pruning.resolved_blocks(len(dense.blocks))
    models = {"dense": dense}
    for rate in BASE_RATES:
        schedule = PruningSchedule.from_base_rate(rate, blocks)
        models[f"keep {rate}"] = PrunedViT(backbone(experiment.model), schedule).eval()
    size = experiment.model.args["img_size"]
    images = torch.randn(experiment.latency.batch_size, experiment.model.args["in_chans"], size, size)
    return compare_models(models, images, num_rounds=num_rounds, num_threads=1)


def main() -> None:
    options = parser(__doc__ or "").parse_args()
    rows = []
    print(f"{'model':10} {'ms':>8} {'speed-up':>9}  90 % interval")
    for name, timed in measure(20 if options.quick else 60).items():
        low, high = 1 / timed.ratio.high, 1 / timed.ratio.low
        print(f"{name:10} {timed.p50_ms:8.2f} {timed.speedup:9.3f}  {low:.3f} to {high:.3f}")
        rows.append({"model": name, "ms": timed.p50_ms, "speedup": timed.speedup, "low": low, "high": high})
    value = next(row["speedup"] for row in rows if row["model"] == "keep 0.7")
    finish(rows, [Bar(name="speed-up at keep 0.7", value=value, target=TARGET_SPEEDUP)], options.json)


if __name__ == "__main__":
    main()
