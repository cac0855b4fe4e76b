"""Two workers draw the same schedules and train them as one process does with all images."""

from pathlib import Path

import pytest
import torch
from processes import run_as_group
from tiny import MODEL, save_noise

from spvit.schedule import PruningSchedule
from trainers.config import TrialConfig
from trainers.elastic import ElasticTuner
from trainers.elastic_step import DENSE_TERM
from trainers.elimination import price_contenders
from trainers.workers import WorkerGroup

NUM_WORKERS = 2


@pytest.fixture
def data_path(tmp_path: Path) -> Path:
    return save_noise(tmp_path, train=25, val=9)


def make_config(data_path: Path, *, batch_size: int) -> TrialConfig:
    """One epoch of 3 steps of 8 images, of which some leave a selector idle; each worker draws nothing for itself."""
    return TrialConfig.model_validate(
        {
            "model": MODEL,
            "data": {"format": "npz", "path": data_path, "augmentation": "none"},
            "pruning": {"schedule": PruningSchedule.from_keep_rates([0.6, 0.3], [1, 2])},
            "training": {
                "epochs": 1, "batch_size": batch_size, "freeze_epochs": 0, "selector_warmup_steps": 3,
                "noise_scale": 0.0, "mixup": 0.0, "cutmix": 0.0, "lr": 1e-3, "backbone_lr_scale": 0.5,
                "precision": "float32", "device": "cpu", "num_threads": 1,
            },
            "elastic": {"min_selectors": 1, "max_selectors": 1, "num_priced": 2, "sandwich_share": 0.5},
        }
    )  # fmt: skip


def work(group: WorkerGroup, data_path: Path) -> None:
    config = make_config(data_path, batch_size=8)
    tuner = ElasticTuner(config, data_path / "checkpoints", workers=group)
    metrics = tuner.run_epoch()
    found = {
        "weights": tuner.model.state_dict(),
        "loss_terms": metrics.loss_terms,
        "evaluation": (metrics.evaluation.top1, metrics.evaluation.loss, metrics.evaluation.num_images),
        "contenders": contenders(tuner),
        "losses": torch.from_numpy(tuner.price([priced.schedule for priced in tuner.priced]).losses),
    }
    torch.save(found, data_path / f"found-{group.rank}.pt")


def contenders(tuner: ElasticTuner) -> tuple[torch.Tensor, torch.Tensor]:
    """Which schedules can be the best, and on how many images; workers have different numbers of batches."""
    contest = price_contenders(
        tuner.model,
        [priced.schedule for priced in tuner.priced],
        [priced.cost for priced in tuner.priced],
        tuner._data.val,
        first_batches=1,
        confidence=0.9999,  # nine images rule nothing out
        workers=tuner._workers,
    )
    return torch.from_numpy(contest.is_contender), torch.from_numpy(contest.num_images)


def test_two_workers_train_as_one_does_with_both_shares(data_path: Path) -> None:
    run_as_group(work, data_path, num_processes=NUM_WORKERS)
    first, second = (torch.load(data_path / f"found-{rank}.pt", weights_only=True) for rank in range(NUM_WORKERS))
    assert all(torch.equal(tensor, second["weights"][name]) for name, tensor in first["weights"].items())
    alone = ElasticTuner(make_config(data_path, batch_size=8))
    metrics = alone.run_epoch()
    torch.testing.assert_close(first["weights"], dict(alone.model.state_dict()), rtol=1e-2, atol=1e-4)
    assert first["loss_terms"] == second["loss_terms"] == pytest.approx(metrics.loss_terms, rel=1e-3, abs=1e-6)
    assert metrics.loss_terms[DENSE_TERM] > 0
    whole = metrics.evaluation
    assert first["evaluation"] == second["evaluation"] == pytest.approx((whole.top1, whole.loss, 9), rel=1e-3)
    assert torch.equal(first["losses"], second["losses"])
    assert torch.equal(first["contenders"][0], second["contenders"][0])
    assert first["contenders"][1].tolist() == [9, 9]
