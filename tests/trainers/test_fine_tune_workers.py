"""Two workers that share a batch train as one process does with all of it."""

from pathlib import Path

import pytest
import torch
from processes import run_as_group
from tiny import MODEL, save_noise

from spvit.schedule import PruningSchedule
from trainers import selector_start
from trainers.build import build_model, open_data
from trainers.config import TrialConfig
from trainers.fine_tune import FineTuner
from trainers.preprocessing import preprocessing_of
from trainers.selector_start import start_selectors
from trainers.workers import WorkerGroup

NUM_WORKERS = 2


@pytest.fixture
def data_path(tmp_path: Path) -> Path:
    return save_noise(tmp_path, train=25, val=9)


def make_config(data_path: Path, *, batch_size: int) -> TrialConfig:
    """One epoch of 3 steps of 8 images, without anything that each worker draws for itself."""
    return TrialConfig.model_validate(
        {
            "model": MODEL,
            "data": {"format": "npz", "path": data_path, "augmentation": "none"},
            "pruning": {"schedule": PruningSchedule.from_keep_rates([0.6, 0.3], [1, 2])},
            "training": {
                "epochs": 1, "batch_size": batch_size, "freeze_epochs": 0, "freeze_leading": False,
                "selector_warmup_steps": 3, "noise_scale": 0.0, "mixup": 0.0, "cutmix": 0.0, "lr": 1e-3,
                "backbone_lr_scale": 0.5, "ema_decay": 0.5, "precision": "float32", "device": "cpu", "num_threads": 1,
            },
        }
    )  # fmt: skip


def work(group: WorkerGroup, data_path: Path) -> None:
    config = make_config(data_path, batch_size=8)
    tuner = FineTuner(config, data_path / "checkpoints", workers=group)
    metrics = tuner.run_epoch()
    found = {
        "weights": tuner.model.state_dict(),
        "loss_terms": metrics.loss_terms,
        "evaluation": (metrics.evaluation.loss, metrics.evaluation.num_images),
        "start": started(config, group),
        "made": started(config, group, data_path / "cache"),
    }
    selector_start.warm_up_selectors = None  # type: ignore[assignment]  # it must not be needed any more
    found["read"] = started(config, group, data_path / "cache")
    torch.save(found, data_path / f"found-{group.rank}.pt")


def started(config: TrialConfig, group: WorkerGroup, cache: Path | None = None) -> dict[str, torch.Tensor]:
    """The selectors before the first step, where a wrapped model has not yet taken over the first worker's."""
    model = build_model(config)
    data = open_data(config, preprocessing_of(model.backbone), workers=group, device="cpu")
    start_selectors(model, data.train, config, cache=cache, workers=group)
    return dict(model.selectors.state_dict())


def test_two_workers_train_as_one_does_with_both_shares(data_path: Path) -> None:
    run_as_group(work, data_path, num_processes=NUM_WORKERS)
    first, second = (torch.load(data_path / f"found-{rank}.pt", weights_only=True) for rank in range(NUM_WORKERS))
    for part in ("start", "made", "read", "weights"):
        assert all(torch.equal(tensor, second[part][name]) for name, tensor in first[part].items())
    for part in ("made", "read"):
        assert all(torch.equal(tensor, first["start"][name]) for name, tensor in first[part].items())

    alone = FineTuner(make_config(data_path, batch_size=8))
    metrics = alone.run_epoch()
    start = started(make_config(data_path, batch_size=8), WorkerGroup.single())
    torch.testing.assert_close(first["start"], start, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(first["weights"], dict(alone.model.state_dict()), rtol=1e-2, atol=1e-4)
    assert first["loss_terms"] == second["loss_terms"] == pytest.approx(metrics.loss_terms, rel=1e-3, abs=1e-6)
    assert first["evaluation"] == pytest.approx((metrics.evaluation.loss, 9), rel=1e-3)
