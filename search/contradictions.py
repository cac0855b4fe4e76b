"""Settings of an experiment that are valid each but make no sense together: said before anything is trained. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from search.config import ExperimentConfig
from search.elastic_search_config import SearchMode
from search.forecast import as_trained, sure_epochs
from search.search_config import PrunerName, SamplerName
from trainers.config import TrainingConfig

MODEL_SAMPLERS = frozenset({SamplerName.TPE, SamplerName.GP, SamplerName.KNOWN_LATENCY})
"""Samplers that learn from trials once `num_startup_trials` are there."""


def contradictions(experiment: ExperimentConfig) -> tuple[str, ...]:
    """A sentence for each: which keys, what follows, what to change."""
    return (*_of_search(experiment), *_of_training(experiment), *_of_devices(experiment))


def _of_search(experiment: ExperimentConfig) -> Iterator[str]:
    search = experiment.search
    if search.mode is SearchMode.ELASTIC:
        return  # num_trials and the sampler are those of schedules, of which it trains the fixed one alone
    num_trials, patience, (startup_key, num_startup) = search.num_trials, search.patience_trials, _startup(experiment)
    if search.sampler in MODEL_SAMPLERS and num_startup >= num_trials:
        yield (
            f"{startup_key} = {num_startup} leaves the sampler {search.sampler} none of "
            f"search.num_trials = {num_trials} to propose by what it learnt: lower it"
        )
    if search.num_concurrent > num_trials:
        yield f"search.num_concurrent = {search.num_concurrent} is more than search.num_trials = {num_trials}"
    if patience is not None and patience >= num_trials:
        yield f"search.patience_trials = {patience} never ends a search of search.num_trials = {num_trials}"
    if patience is not None and search.sampler in MODEL_SAMPLERS and patience <= num_startup:
        yield (
            f"search.patience_trials = {patience} can end the search within the {startup_key} = {num_startup} that "
            f"the sampler only learns from: raise it"
        )


def _startup(experiment: ExperimentConfig) -> tuple[str, int]:
    """Trials that the sampler only learns from, and the key that says so: the best of each band tell it enough."""
    search = experiment.search
    usual, num_bands = search.num_startup_trials, search.elastic.num_bands
    if experiment.has_elastic_trials and num_bands < usual:
        return "search.elastic.num_bands", num_bands
    return "search.num_startup_trials", usual


def _of_training(experiment: ExperimentConfig) -> Iterator[str]:
    search, trained = experiment.search, as_trained(experiment)
    has_schedules = search.mode is not SearchMode.ELASTIC
    if has_schedules and search.pruner is not PrunerName.NONE and sure_epochs(trained) >= trained.training.epochs:
        yield _never_stopped(trained)
    yield from _of_epochs(experiment.training)


def _never_stopped(trained: ExperimentConfig) -> str:
    """Of schedules, each trained like this: from elastic weights for a part of the file's epochs."""
    search, training = trained.search, trained.training
    frozen, epochs = "training.freeze_epochs + 1", f"training.epochs = {training.epochs}"
    if trained.has_elastic_trials:
        frozen = f"the share of {frozen}"
        epochs = f"the {training.epochs} epochs from elastic weights (search.elastic.contender_epochs)"
    key = frozen if search.grace_epochs is None else "search.grace_epochs"
    grace = search.grace(training.freeze_epochs)
    return (
        f"no trial can be stopped early: {key} = {grace} leaves none of {epochs} after which that would save anything"
    )


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
