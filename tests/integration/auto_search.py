"""A search by elastic weights on one real Ray, with real trainings of a tiny model.

To be run: DIRECTORY MODE [finish | WEIGHTS]. Checkpoints are published, so that every trial starts from weights that
were fetched. `finish` trains the best schedules that were priced alone, after the search; a file of weights is what
every trial goes on from.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "search"))

import numpy as np
import tabulated

from search.choosing import binomial
from search.config import ExperimentConfig
from search.finishing import FinishDriver, choices_to_finish
from search.launcher import Device, search
from search.priced_candidates import PricedStudy, is_candidate
from search.records import StudyRecord, TrialRecord
from search.study import read_study

MODEL = {"img_size": 14, "patch_size": 2, "in_chans": 1, "embed_dim": 24, "depth": 6, "num_heads": 3, "num_classes": 4}
NUM_TRIALS, NUM_PRICED, NUM_BANDS, FINISH_EPOCHS = 5, 24, 3, 3


def to_finish(study: StudyRecord, epochs: int, top: int) -> list[TrialRecord]:
    """What `finish` takes."""
    return [choice.trial for choice in choices_to_finish(study, binomial(study), epochs=epochs, top=top)]


def experiment(directory: Path, mode: str) -> ExperimentConfig:
    values: dict[str, Any] = tabulated.experiment(directory, num_trials=NUM_TRIALS, pruner="none").model_dump(
        mode="json", exclude_unset=True
    )
    values["study"] |= {
        "name": mode,
        "checkpoints": str(directory / "published"),
        "scratch": str(directory / "scratch"),
    }
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
    device = Device(geometry=tabulated.GEOMETRY, price=tabulated.price, table_sha256="")
    config, *further = experiment(directory, mode), *sys.argv[3:]
    match further:
        case ["finish"]:
            finish(config, device)
        case [weights]:
            search(from_weights(config, weights), device)
        case _:
            search(config, device)


def from_weights(config: ExperimentConfig, path: str) -> ExperimentConfig:
    values = config.model_dump(mode="json", exclude_unset=True)
    values["study"] = {"name": "from_weights", "directory": values["study"]["directory"], "seed": 3}
    return ExperimentConfig.model_validate(values | {"start": {"path": path}})


def finish(config: ExperimentConfig, device: Device) -> None:
    directory = config.study.directory / config.study.name
    priced = PricedStudy(
        study=read_study(directory),
        experiment=config,
        directory=directory,
        geometry=device.geometry,
        price=device.price,
    )
    known = priced.with_candidates(epochs=FINISH_EPOCHS)
    chosen = [trial for trial in to_finish(known, FINISH_EPOCHS, 99) if is_candidate(trial)][:2]
    search(config, device, resume=True, driver_type=partial(FinishDriver, chosen=chosen, epochs=FINISH_EPOCHS))


if __name__ == "__main__":
    main()
