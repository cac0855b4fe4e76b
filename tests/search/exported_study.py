"""A finished study whose trials have checkpoints, and exports of it: everything real but the training."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from finished_study import experiment, make_study, table

from search.check_report import CheckReport, CheckState
from search.export import export
from search.export_report import ExportReport
from search.records import Origin, StudyRecord
from search.study import read_study
from search.study_files import trial_directory
from search.trial_model import trial_config
from spvit.schedule import PruningSchedule
from trainers.build import build_model
from trainers.checkpoint import save_checkpoint
from trainers.metrics import PricedSchedule
from trainers.safe_folder import MANIFEST, write_folder

NUM_IMAGES = 12


def write_images(folder: Path, seed: int = 0) -> Path:
    """Every split as an npz of noise in four classes."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    for split in ("train", "val", "test"):
        images = rng.integers(0, 256, (NUM_IMAGES, 16, 16), dtype=np.uint8)
        np.savez(folder / f"{split}.npz", images=images, labels=np.arange(NUM_IMAGES) % 4)
    return folder


def trained_study(root: Path, **changes: Any) -> StudyRecord:
    """The fixed schedule and two trials, complete, with weights that differ from those they began with."""
    data = {"format": "npz", "path": str(write_images(root / "data")), "augmentation": "none"}
    folder = make_study(experiment(root / "runs", data=data, **changes), table(), num_trials=2, num_pruned=0)
    study = read_study(folder)
    for trial in study.finished:
        torch.manual_seed(trial.number)
        weights = build_model(trial_config(trial)).state_dict()
        changed = {key: value + 0.05 * torch.randn_like(value) for key, value in weights.items()}
        save_checkpoint(trial_directory(folder, trial), 3, weights=changed, optimizer={}, meta={})
    return study


def export_trained(study: StudyRecord, destination: Path, **options: Any) -> ExportReport:
    """The last trial's export."""
    return export(study, study.finished[-1], destination, table=table(), **{"time_limit_s": 0.2} | options)


def as_elastic(study: StudyRecord, number: int) -> StudyRecord:
    """The same with a trial, which has selectors before blocks 1 and 2, as one that trained for many schedules."""
    priced = [
        PricedSchedule(schedule=PruningSchedule.from_keep_rates(rates, (1, 2)), cost=cost, top1=top1)
        for rates, cost, top1 in [((0.3, 0.2), 1.0, 20.0), ((0.6, 0.4), 2.0, 15.0), ((0.9, 0.8), 3.0, 40.0)]
    ]
    elastic = replace(study.trials[number], origin=Origin.ELASTIC, priced=tuple(priced), top1=25.0)
    return study.with_trial(elastic)


def failed(report: CheckReport) -> set[str]:
    """The lines of a check that failed."""
    return {line.what for line in report.lines if line.state is CheckState.FAIL}


def seal(folder: Path) -> None:
    """Makes the manifest fit the files again, as somebody would who does not want to be found out."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST}
    shutil.rmtree(folder)
    write_folder(
        folder, {name: lambda path, content=content: path.write_bytes(content) for name, content in files.items()}
    )
