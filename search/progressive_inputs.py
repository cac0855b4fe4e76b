"""Refuses what no progressive insertion can start from, before anything is measured."""

from __future__ import annotations

from search.config import ExperimentConfig
from spvit.errors import CheckpointError, ConfigError
from trainers.config import ModelConfig


def check_progressive_inputs(experiment: ExperimentConfig) -> None:
    """Refuses a model whose accuracy is unknown, and weights that bring selectors, or a training, of their own.

    Raises:
        ConfigError: the model has no trained weights, or a fresh classifier; or trainings go on from other weights.
        CheckpointError: its weights are missing, damaged, or hold selectors.
    """
    if experiment.start.path is not None:
        raise ConfigError(
            "start.path names weights to go on from, but every step of progressive insertion is fine-tuned from the "
            "backbone: leave it out (--set start=)."
        )
    model = experiment.model
    if model.checkpoint is None and not model.pretrained:
        raise ConfigError(
            "progressive insertion compares every step with the dense model's accuracy, so it needs trained weights: "
            "set model.checkpoint or model.pretrained."
        )
    _check_classifier(model)
    _check_no_selectors(model)


def _check_classifier(model: ModelConfig) -> None:
    from spvit.factory import create_backbone
    from trainers.dense import has_trained_classifier

    backbone = create_backbone(model.name, args=model.args)
    if has_trained_classifier(model, backbone):
        return
    raise ConfigError(
        "progressive insertion compares every step with the dense model's accuracy, so it needs a trained classifier, "
        f"but that of {model.checkpoint or model.name} is not for the model's {backbone.num_classes} classes. Set "
        "model.args.num_classes to what the weights were trained for, or train the dense model on your classes first "
        "and give its weights as model.checkpoint."
    )


def _check_no_selectors(model: ModelConfig) -> None:
    """A file's selectors belong to its own stages; steps have one stage, then two, at blocks found on the way."""
    from spvit.pruned_weights import stored_selectors

    if stored := stored_selectors(model.checkpoint):
        raise CheckpointError(
            f"{model.checkpoint} holds {len(stored)} token selectors, but progressive insertion starts from a dense "
            "model and puts in selectors of its own. Set model.checkpoint to the backbone's own weights, or to a copy "
            "of the file without its score_predictor.* tensors."
        )
