"""From a trial's configuration to its model and data."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

from torch import nn

from spvit.factory import create_backbone
from spvit.pruned_model import PrunedModel
from spvit.pruned_weights import load_pruned, load_selectors
from spvit.pruning import prune
from spvit.schedule import PruningSchedule
from trainers.config import ModelConfig, TrialConfig
from trainers.data import Batches, Loading, Split, open_split
from trainers.preprocessing import Preprocessing
from trainers.seeding import torch_seeded
from trainers.workers import WorkerGroup

# What may change between a run and its continuation without changing what is computed, but for noise and rounding.
_PLACES = {
    "model": ("checkpoint",),
    "data": ("path", "num_workers", "download"),
    "training": ("device", "num_threads", "micro_batch_size"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialData:
    """Both splits of a trial."""

    train: Batches
    val: Batches


def build_model(config: TrialConfig) -> PrunedModel:
    """The pruned model of a trial before training, on the CPU; the same for the same configuration.

    A checkpoint that holds selectors, as SPViT's and DynamicViT's do, gives them to the model. Where `start` names the
    weights of another trial, backbone and selectors are those.

    Raises:
        ConfigError: the model cannot be made or cannot be pruned.
        CheckpointError: its weights cannot be read or do not fit.
    """
    model, pruning = config.model, config.pruning
    with torch_seeded(config.training.seed):
        pruned = prune(
            _create_backbone(model),
            pruning.schedule,
            selector=pruning.selector,
            head_weighting=pruning.head_weighting,
            package=pruning.package,
        )
    if model.checkpoint is not None:
        load_selectors(pruned, model.checkpoint)
    if config.start is not None:
        config.start.check()
        dense = PruningSchedule().plan(pruned.geometry, pruned.package)
        load_pruned(pruned, config.start.path, backbone_share=config.start.share_for(pruned.plan, dense))
    return pruned


def original_backbone(config: TrialConfig) -> nn.Module:
    """The unpruned model that a trial's `model` names, on the CPU, whatever weights the trial goes on from.

    Raises:
        ConfigError: the model cannot be made.
        CheckpointError: its weights cannot be read or do not fit.
    """
    with torch_seeded(config.training.seed):
        return _create_backbone(config.model)


def open_data(config: TrialConfig, preprocessing: Preprocessing, *, workers: WorkerGroup, device: str) -> TrialData:
    """Both splits, checked.

    Raises:
        ConfigError: a batch cannot be shared equally by the workers.
        DataError: a split is missing, damaged, or does not fit the model.
    """
    training = config.training
    for_val = Loading(
        batch_size=workers.share_of_batch(training.batch_size),
        training=False,
        seed=training.seed,
        rank=workers.rank,
        world_size=workers.world_size,
        device=device,
    )
    for_train = replace(for_val, training=True, images_per_epoch=training.images_per_epoch)
    return TrialData(
        train=open_split(config.data, Split.TRAIN, preprocessing, for_train),
        val=open_split(config.data, Split.VAL, preprocessing, for_val),
    )


def _create_backbone(model: ModelConfig) -> nn.Module:
    backbone: nn.Module = create_backbone(
        model.name, args=model.args, checkpoint=model.checkpoint, pretrained=model.pretrained
    )
    return backbone


def identity_of(config: TrialConfig) -> str:
    """A hash of everything that decides the result, so that a checkpoint continues its own trial only."""
    values = config.to_dict()
    for section, keys in _PLACES.items():
        for key in keys:
            values[section].pop(key)
    if values["training"]["continues_epochs"] is None:  # as in checkpoints from before there was such a key
        values["training"].pop("continues_epochs")
    if config.start is not None:
        # Without what has its default, as in checkpoints from before there was such a key.
        values["start"] = config.start.model_dump(mode="json", exclude={"path"}, exclude_defaults=True)
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def identities_of(config: TrialConfig) -> tuple[str, ...]:
    """Of the checkpoints that a trial may go on from: its own, and those of the shorter training that it prolongs."""
    shorter = config.training.continues_epochs
    if shorter is None:
        return (identity_of(config),)
    training = config.training.model_copy(update={"epochs": shorter, "continues_epochs": None})
    return identity_of(config), identity_of(config.model_copy(update={"training": training}))
