"""A step is the same whether its batch goes through the model at once or in parts."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from spvit.factory import create_backbone
from spvit.model import PrunedViT
from spvit.schedule import PruningSchedule
from trainers.config import TrialConfig
from trainers.epoch_training import EpochTraining
from trainers.loss import TrainingStep, make_criterion
from trainers.optim import make_optimizer, set_frozen
from trainers.preprocessing import preprocessing_of
from trainers.teacher import make_teacher
from trainers.workers import WorkerGroup

ARGS = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 3, "num_heads": 3, "num_classes": 4}
IMAGES, LABELS = torch.randn(12, 3, 16, 16, generator=torch.Generator().manual_seed(5)), torch.arange(12) % 4


class OneBatch:
    """The same twelve images in every epoch."""

    num_images = 12
    class_names = ("a", "b", "c", "d")

    def num_batches(self) -> int:
        return 1

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield IMAGES, LABELS


def train(*, seen: list[float] | None = None, **training: Any) -> tuple[PrunedViT, dict[str, float], list[Tensor]]:
    """One epoch; the model, its loss terms and the gradients of the last step."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        schedule = PruningSchedule.from_keep_rates([0.6, 0.3], [1, 2])
        model = PrunedViT(create_backbone("vit_tiny_patch16_224", args=ARGS), schedule)
    with torch.no_grad():
        model.backbone.head.weight.mul_(20.0)  # else student and teacher agree but for rounding
    base = {"noise_scale": 0.0, "freeze_epochs": 0, "batch_size": 12, "precision": "float32", "clip_grad_norm": None}
    config = TrialConfig.model_validate(
        {
            "model": {"name": "m"},
            "data": {"path": "nowhere"},
            "training": base | training,
            "losses": {"ratio": 0.0},  # acts on the mean of a part, not of the batch
        }
    )
    set_frozen(model, config.training, epoch=0)
    teacher = make_teacher(model, config, needed=True)
    step = TrainingStep(model, teacher, make_criterion(model, config), config)
    if seen is not None:
        step.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[2]))
    runner = EpochTraining(
        step,
        make_optimizer(model, config.training),
        None,
        config=config.training,
        preprocessing=preprocessing_of(model.backbone),
        workers=WorkerGroup.single(),
        device=torch.device("cpu"),
    )
    terms: dict[str, float] = {}
    for epoch in range(config.training.epochs if seen is not None else 1):
        terms = runner.run(OneBatch(), epoch)
    return model, terms, [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("micro_batch_size", [1, 5, 6, 12])
def test_parts_add_up_to_the_batch(micro_batch_size: int) -> None:
    _, whole_terms, whole = train()
    _, terms, gradients = train(micro_batch_size=micro_batch_size)
    assert terms == pytest.approx(whole_terms, rel=1e-5)
    assert len(gradients) == len(whole) > 0
    for gradient, expected in zip(gradients, whole, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-6)


def test_temperature_falls_from_step_to_step() -> None:
    seen: list[float] = []
    train(seen=seen, epochs=3, temperature=4.0, temperature_end=1.0)
    assert seen == pytest.approx([4.0, 2.0, 1.0])


def test_no_batch_is_mixed_with_probability_zero() -> None:
    plain = train(mixup=0.0, cutmix=0.0)[1]
    assert train(mixup=0.8, cutmix=1.0, mix_probability=0.0)[1] == plain
    assert train(mixup=0.8, cutmix=1.0)[1] != plain
