"""What keeps the selectors' scores informative in gathered training, where token counts are exact anyway.

    python benchmarks/selector_scores.py [--quick] [--json FILE]

One epoch of 2,000 images of the demo, with keep rates .7, .49, .343, started from random selectors and from warmed-up
ones; with and without the ratio loss, and with and without the straight-through gradient of the kept tokens. Rank
correlation, over the patches of each image, of the margins with the attention that the class token of the unpruned
model will pay (`spvit.attention.lookahead_attentions`), mean over images and selectors.
"""

from __future__ import annotations

import argparse
import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from scipy.stats import spearmanr
from torch import Tensor

from search.experiment import load_experiment
from search.model_facts import trial_of
from spvit.attention import lookahead_attentions
from spvit.model import PrunedViT
from trainers.build import build_model
from trainers.config import TrialConfig
from trainers.data import Loading, Split, open_split
from trainers.fine_tune import FineTuner
from trainers.preprocessing import preprocessing_of

DEMO = Path(__file__).parents[1] / "experiments" / "demo.toml"
NUM_IMAGES = 200


def demo_trial(warmup_steps: int, ratio: float, num_images: int) -> TrialConfig:
    trial = trial_of(load_experiment(DEMO))
    changes = {"epochs": 1, "images_per_epoch": num_images, "selector_warmup_steps": warmup_steps}
    return trial.model_copy(
        update={
            "training": trial.training.model_copy(update=changes),
            "losses": trial.losses.model_copy(update={"ratio": ratio}),
        }
    )


def val_images(trial: TrialConfig, model: PrunedViT) -> Tensor:
    loading = Loading(batch_size=NUM_IMAGES, training=False)
    images, _ = next(iter(open_split(trial.data, Split.VAL, preprocessing_of(model.backbone), loading).epoch(0)))
    return images


@torch.no_grad()
def correlation(model: PrunedViT, dense: torch.nn.Module, images: Tensor) -> float:
    """Mean rank correlation of margins with the attention to come."""
    model.eval()
    examples = lookahead_attentions(dense, images, [selection.block for selection in model.plan.selections])
    found = [
        spearmanr(margin, importance).statistic
        for block, example in examples.items()
        for margin, importance in zip(
            model.selectors[str(block)](example.tokens, None).margin, example.importance, strict=True
        )
    ]
    return sum(found) / len(found)


def without_straight_through() -> AbstractContextManager[Any]:
    return mock.patch("spvit.selection.straight_through", lambda hard, _soft: hard)


def measure(warmup_steps: int, ratio: float, straight_through: bool, num_images: int) -> dict[str, Any]:
    trial = demo_trial(warmup_steps, ratio, num_images)
    start = build_model(trial)
    images, dense = val_images(trial, start), start.backbone.eval()
    with nullcontext() if straight_through else without_straight_through():
        tuner = FineTuner(trial)
        metrics = tuner.run_epoch()
    return {
        "warmup_steps": warmup_steps,
        "ratio": ratio,
        "straight_through": straight_through,
        "before": correlation(start, dense, images),
        "after": correlation(tuner.model, dense, images),
        "top1": metrics.evaluation.top1,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the images")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    rows = []
    print("warm-up  ratio  straight-through  correlation before -> after  top-1")
    for warmup_steps in (0, 200):
        for ratio in (2.0, 0.0):
            for straight_through in (True, False):
                row = measure(warmup_steps, ratio, straight_through, 400 if options.quick else 2000)
                rows.append(row)
                print(
                    f"{warmup_steps:7} {ratio:6.1f} {straight_through!s:>17} {row['before']:19.2f} -> "
                    f"{row['after']:5.2f} {row['top1']:6.1f} %",
                    flush=True,
                )
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "bars": []}, indent=2) + "\n")


if __name__ == "__main__":
    main()
