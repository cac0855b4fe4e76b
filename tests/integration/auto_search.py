"""A search by elastic weights on one real Ray, with real trainings of a tiny model. To be run: DIRECTORY [MODE]."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "search"))

import numpy as np
import tabulated

from search.config import ExperimentConfig
from search.launcher import Device, search

MODEL = {"img_size": 14, "patch_size": 2, "in_chans": 1, "embed_dim": 24, "depth": 6, "num_heads": 3, "num_classes": 4}
NUM_TRIALS, NUM_PRICED, NUM_BANDS = 4, 24, 3


def experiment(directory: Path, mode: str) -> ExperimentConfig:
    values: dict[str, Any] = tabulated.experiment(directory, num_trials=NUM_TRIALS, pruner="none").model_dump(
        mode="json", exclude_unset=True
    )
    values["study"]["name"] = mode
    values["model"] = {"name": "vit_tiny_patch16_224", "args": MODEL}
    values["data"] = {"format": "npz", "path": str(directory / "data")}
    values["training"] = {"epochs": 2, "freeze_epochs": 0, "batch_size": 8, "selector_warmup_steps": 1}
    values["search"] |= {"mode": mode, "elastic": {"num_trials": 2, "num_priced": NUM_PRICED, "num_bands": NUM_BANDS}}
    values["search"]["space"]["losses"]["distillation"] = {"low": 0.1, "high": 1.0}
    values["tracking"] = {"enabled": False}
    return ExperimentConfig.model_validate(values)


def make_data(folder: Path) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for split, count in (("train", 48), ("val", 40)):
        labels = np.arange(count) % 4
        images = rng.integers(0, 90, (count, 14, 14)) + 40 * labels[:, None, None]
        np.savez(folder / f"{split}.npz", images=images.astype(np.uint8), labels=labels)


def main() -> None:
    directory, mode = Path(sys.argv[1]), sys.argv[2]
    if not (directory / "data").exists():
        make_data(directory / "data")
    device = Device(geometry=tabulated.GEOMETRY, price=tabulated.price, table_sha256="a" * 64)
    search(experiment(directory, mode), device)


if __name__ == "__main__":
    main()
