"""Settings of an experiment that are valid each but make no sense together: said before anything is trained. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from search.config import ExperimentConfig
from search.forecast import sure_epochs
from search.search_config import PrunerName, SamplerName, SearchConfig
from trainers.config import TrainingConfig

MODEL_SAMPLERS = frozenset({SamplerName.TPE, SamplerName.GP, SamplerName.KNOWN_LATENCY})
"""Samplers that learn from trials once `num_startup_trials` are there."""


def contradictions(experiment: ExperimentConfig) -> tuple[str, ...]:
    """A sentence for each: which keys, what follows, what to change."""
    return (*_of_search(experiment.search), *_of_training(experiment), *_of_devices(experiment))


def _of_search(search: SearchConfig) -> Iterator[str]:
    num_trials, num_startup, patience = search.num_trials, search.num_startup_trials, search.patience_trials
    if search.sampler in MODEL_SAMPLERS and num_startup >= num_trials:
        yield (
            f"search.num_startup_trials = {num_startup} leaves the sampler {search.sampler} none of "
            f"search.num_trials = {num_trials} to propose by what it learnt: lower it"
        )
    if search.num_concurrent > num_trials:
        yield f"search.num_concurrent = {search.num_concurrent} is more than search.num_trials = {num_trials}"
    if patience is not None and patience >= num_trials:
        yield f"search.patience_trials = {patience} never ends a search of search.num_trials = {num_trials}"
    if patience is not None and search.sampler in MODEL_SAMPLERS and patience <= num_startup:
        yield (
            f"search.patience_trials = {patience} can end the search within the search.num_startup_trials = "
            f"{num_startup} that the sampler only learns from: raise it"
        )


def _of_training(experiment: ExperimentConfig) -> Iterator[str]:
    training, search = experiment.training, experiment.search
    if search.pruner is not PrunerName.NONE and sure_epochs(experiment) >= training.epochs:
        key = "training.freeze_epochs + 1" if search.grace_epochs is None else "search.grace_epochs"
        grace = search.grace(training.freeze_epochs)
        yield (
            f"no trial can be stopped early: {key} = {grace} leaves none of training.epochs = {training.epochs} after "
            f"which that would save anything"
        )
    yield from _of_epochs(training)


def _of_epochs(training: TrainingConfig) -> Iterator[str]:
    if training.freeze_epochs >= training.epochs:
        yield (
            f"the backbone never learns: it is frozen for training.freeze_epochs = {training.freeze_epochs} of "
            f"training.epochs = {training.epochs}"
        )
    if training.warmup_epochs >= training.epochs:
        yield (
            f"the learning rate never reaches training.lr: it rises for training.warmup_epochs = "
            f"{training.warmup_epochs:g} of training.epochs = {training.epochs}"
        )
    if training.images_per_epoch is not None and training.images_per_epoch < training.batch_size:
        yield (
            f"an epoch is one step of training.images_per_epoch = {training.images_per_epoch} images, fewer than "
            f"training.batch_size = {training.batch_size}"
        )


def _of_devices(experiment: ExperimentConfig) -> Iterator[str]:
    device, gpus = experiment.training.device, experiment.trial_resources.gpus_per_worker
    if device.startswith("cuda") and not gpus:
        yield f'training.device = "{device}", but trials are given no GPU: set trial.resources_per_worker.gpus'
    if device == "cpu" and gpus:
        yield f'each worker of a trial is given {gpus:g} GPUs, but training.device = "cpu" uses none'
    if gpus > 1:
        yield f"each worker of a trial is given {gpus:g} GPUs, but uses one: raise trial.workers instead"
