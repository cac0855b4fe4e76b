"""The dense model is evaluated with its own weights, or not at all."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from spvit.errors import DataError
from spvit.factory import create_backbone
from trainers.config import Augmentation, DataConfig, DataFormat, ModelConfig, TrainingConfig
from trainers.dense import evaluate_dense

NAME = "vit_tiny_patch16_224"
ARGS = {"img_size": 8, "patch_size": 4, "in_chans": 1, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 4}
TRAINING = TrainingConfig(batch_size=7)


@pytest.fixture
def model(tmp_path: Path) -> ModelConfig:
    torch.manual_seed(0)
    save_file(create_backbone(NAME, args=ARGS).state_dict(), tmp_path / "dense.safetensors")
    return ModelConfig(name=NAME, args=ARGS, checkpoint=tmp_path / "dense.safetensors")


@pytest.fixture
def data(tmp_path: Path, model: ModelConfig) -> DataConfig:
    """Images whose labels are the model's own answers, but for five of twenty."""
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    backbone = create_backbone(NAME, args=ARGS, checkpoint=model.checkpoint).eval()
    with torch.inference_mode():
        labels = backbone(torch.from_numpy(images)[:, None] / 127.5 - 1).argmax(1).numpy()
    labels[:5] = (labels[:5] + 1) % 4
    np.savez(tmp_path / "val.npz", images=images, labels=labels)
    return DataConfig(format=DataFormat.NPZ, path=tmp_path, augmentation=Augmentation.NONE)


def test_top1_is_that_of_the_checkpoint(model: ModelConfig, data: DataConfig):
    found = evaluate_dense(model, data, TRAINING)
    assert found is not None
    assert (found.top1, found.num_images) == (75.0, 20)


def test_random_weights_say_nothing(data: DataConfig):
    assert evaluate_dense(ModelConfig(name=NAME, args=ARGS), data, TRAINING) is None


def test_a_classifier_for_other_classes_says_nothing(model: ModelConfig, data: DataConfig):
    other = model.model_copy(update={"args": ARGS | {"num_classes": 9}})
    assert evaluate_dense(other, data, TRAINING) is None


def test_missing_data_is_told_before_any_trial(model: ModelConfig, tmp_path: Path):
    nowhere = DataConfig(format=DataFormat.NPZ, path=tmp_path / "nowhere", augmentation=Augmentation.NONE)
    with pytest.raises(DataError, match=r"data\.path must be a folder.*nowhere is none"):
        evaluate_dense(model, nowhere, TRAINING)
