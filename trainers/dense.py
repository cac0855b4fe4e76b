"""What the unpruned model reaches before any training: what pruned ones are compared with."""

from __future__ import annotations

from typing import Any

import torch

from spvit.backbone_weights import num_stored_classes
from spvit.factory import create_backbone
from trainers.config import DataConfig, ModelConfig, TrainingConfig
from trainers.data import Loading, Split, open_split
from trainers.evaluate import evaluate
from trainers.metrics import Evaluation
from trainers.preprocessing import preprocessing_of
from trainers.workers import resolve_device


def evaluate_dense(model: ModelConfig, data: DataConfig, training: TrainingConfig) -> Evaluation | None:
    """The unpruned model on the validation split; None where its classifier is untrained, so that nothing is known.

    Runs where trials do, on the CPU if this process has no GPU.

    Raises:
        ConfigError: the model cannot be made.
        CheckpointError: its weights cannot be read or do not fit.
        DataError: the validation split is missing, damaged, or does not fit the model.
    """
    backbone = create_backbone(model.name, args=model.args, checkpoint=model.checkpoint, pretrained=model.pretrained)
    if not has_trained_classifier(model, backbone):
        return None
    device = resolve_device(training.device) if torch.cuda.is_available() else torch.device("cpu")
    loading = Loading(batch_size=training.batch_size, training=False, device=str(device))
    batches = open_split(data, Split.VAL, preprocessing_of(backbone), loading)
    return evaluate(backbone.to(device), batches.epoch(0), device=device)


def has_trained_classifier(model: ModelConfig, backbone: Any) -> bool:
    """Whether the weights that `model` names hold a classifier for as many classes as its backbone has.

    Raises:
        CheckpointError: the checkpoint cannot be read.
    """
    if model.checkpoint is not None:
        return bool(num_stored_classes(model.checkpoint) == backbone.num_classes)
    return model.pretrained and bool(backbone.pretrained_cfg.get("num_classes") == backbone.num_classes)
