"""What an elastic training is made of, for the training itself and for those who measure its parts."""

from __future__ import annotations

import math

import torch

from spvit.errors import ConfigError
from spvit.pruned_model import PrunedModel
from spvit.schedule import PruningSchedule
from trainers.compiling import compile_blocks
from trainers.config import ElasticConfig, ElasticTeacher, TrialConfig
from trainers.elastic_step import DENSE, ElasticStep, StepPlans
from trainers.loss import TrainingStep
from trainers.sampling import Purpose, stream
from trainers.schedule_prices import price_of_schedules
from trainers.schedule_sampler import ScheduleSampler, ScheduleSpace
from trainers.teacher import make_teacher
from trainers.workers import WorkerGroup


def elastic_of(config: TrialConfig) -> ElasticConfig:
    """What makes a trial elastic.

    Raises:
        ConfigError: it is not.
    """
    if config.elastic is None:
        raise ConfigError("An elastic training needs a trial with an [elastic] section, but this one has none.")
    return config.elastic


def make_elastic_step(
    model: PrunedModel, config: TrialConfig, sampler: ScheduleSampler, *, workers: WorkerGroup, device: torch.device
) -> TrainingStep:
    """The loss of a batch under the schedule that each step draws, compiled where that is asked for."""
    elastic = elastic_of(config)
    is_asked = elastic.teacher is ElasticTeacher.ORIGINAL and config.losses.needs_teacher
    step = ElasticStep(
        model,
        make_teacher(model, config, needed=is_asked),
        config,
        StepPlans(sampler, seed=config.training.seed, sandwich_share=elastic.sandwich_share),
        workers,
    ).to(device)
    if config.training.compile:
        compile_blocks(step, device)
    return step


def spread_schedules(sampler: ScheduleSampler, num: int, *, seed: int) -> tuple[PruningSchedule, ...]:
    """Schedules at evenly spread costs, the same whenever they are asked for."""
    return tuple(sampler.spread(num, stream(seed, Purpose.PRICED)))


def num_batches_priced(config: TrialConfig, num_batches: int) -> int:
    """Validation batches on which schedules are evaluated, of so many; workers share each of them."""
    wanted = elastic_of(config).priced_images
    if wanted is None:
        return num_batches
    return min(num_batches, max(1, math.ceil(wanted / config.training.batch_size)))


def make_sampler(model: PrunedModel, config: TrialConfig) -> ScheduleSampler:
    """What an elastic trial draws its schedules by.

    Raises:
        ConfigError: the trial is not elastic, has nothing to draw, or its table does not know its selectors.
    """
    elastic, price = elastic_of(config), price_of_schedules(config, model)
    space = ScheduleSpace.from_config(elastic, config.pruning.schedule, model.geometry)
    return ScheduleSampler(space, price, max_price=elastic.max_cost_share * price(DENSE))
