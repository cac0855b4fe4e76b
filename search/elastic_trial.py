"""The trials of a search with elastic weights: what they train, and from what. Pure."""

from __future__ import annotations

from typing import Any

from search.budget import LatencyBudget
from search.config import ExperimentConfig
from search.corners import UnusedParametersError
from search.default_space import default_space
from search.elastic_search_config import SearchMode
from search.given_start import GivenStart
from search.selector_places import all_blocks, block_sets, everywhere
from search.shortened_training import shortened
from search.space import SearchSpace
from search.space_config import SpaceConfig
from search.space_parts import OF_ONE_SCHEDULE, settings_of, without
from spvit.errors import ConfigError
from spvit.options import TokenForm
from spvit.schedule import TokenGeometry
from trainers.config import ElasticConfig, LatencyTarget, TrainingConfig, TrialConfig
from trainers.further_training import further_training
from trainers.schedule_sampler import ScheduleSpace


def explored(experiment: ExperimentConfig, geometry: TokenGeometry) -> SpaceConfig:
    """What the search explores: what its file names, or what is usual for the backbone."""
    given = experiment.search.space
    return default_space(experiment, geometry) if given.explores_nothing else given


def settings_space(experiment: ExperimentConfig, geometry: TokenGeometry, elastic: TrialConfig) -> SearchSpace | None:
    """What elastic trials explore: all but schedules, which one set of weights shares; None where nothing is left.

    Args:
        experiment: the whole search.
        geometry: of its backbone.
        elastic: the trial with the file's own settings.
    """
    schedule = elastic.pruning.schedule
    rates = {"blocks": schedule.blocks, "stage_keep_rates": schedule.keep_rates, "base_keep_rate": None}
    settled = experiment.model_copy(update={"pruning": experiment.pruning.model_copy(update=rates)})
    return _of_used(settings_of(explored(experiment, geometry)), settled, geometry, elastic=elastic.elastic)


def schedule_space(
    experiment: ExperimentConfig, geometry: TokenGeometry, latency: LatencyTarget | None, elastic: TrialConfig
) -> SearchSpace:
    """What the trials explore that go on from an elastic one's weights: schedules, with that trial's settings.

    Its experiment is a search of these alone. Starting points of the user's own are left out of that: they may name
    what the elastic trial has settled.

    Args:
        experiment: the whole search.
        geometry: of its backbone.
        latency: what a latency term aims at.
        elastic: the trial; `start` names its weights.

    Raises:
        ConfigError: it explores no schedules.
    """
    space, search = explored(experiment, geometry), experiment.search
    own = space.model_copy(update={"pruning": {}, "training": {}, "elastic": {}})
    losses = {key: getattr(experiment.losses, key) for key in OF_ONE_SCHEDULE}
    epochs = search.elastic.epochs_of_contender(experiment.training.epochs)
    form = {key: getattr(elastic.pruning, key) for key in ("selector", "head_weighting", "package")}
    settled = experiment.model_copy(
        update={
            "pruning": experiment.pruning.model_copy(update=form),
            "losses": elastic.losses.model_copy(update=losses),
            "training": contender_training(experiment, elastic, epochs),
            "start": GivenStart() if elastic.start is None else GivenStart.of(elastic.start),
            "search": search.model_copy(update={"mode": SearchMode.SCHEDULE, "enqueue": ()}),
        }
    )
    found = _of_used(without(own, own.losses.keys() - OF_ONE_SCHEDULE), settled, geometry, latency)
    if found is None:
        raise ConfigError("Nothing but settings is explored, so there are no schedules to train further.")
    return found


def _of_used(
    space: SpaceConfig,
    settled: ExperimentConfig,
    geometry: TokenGeometry,
    latency: LatencyTarget | None = None,
    *,
    elastic: ElasticConfig | None = None,
) -> SearchSpace | None:
    """The space without what the settings that are settled leave no use for; None where nothing else is explored."""
    while not space.explores_nothing:
        search = settled.search.model_copy(update={"space": space})
        try:
            return SearchSpace(settled.model_copy(update={"search": search}), geometry, latency, elastic=elastic)
        except UnusedParametersError as error:
            before, space = space, without(space, frozenset(error.names))
            if space == before:
                raise
    return None


def check_elastic_spaces(experiment: ExperimentConfig, space: SearchSpace) -> TrialConfig:
    """Refuses a search whose elastic trials, or the schedules that follow any of them, could not be.

    Args:
        experiment: a search with elastic trials.
        space: all that it explores.

    Returns:
        An elastic trial with the file's own settings.

    Raises:
        ConfigError: as `elastic_trial`, `ScheduleSpace`, `settings_space` and `schedule_space` do.
    """
    elastic = elastic_trial(
        experiment, space, budget=LatencyBudget(max_ms=1.0, source="any"), dense_ms=1.0, latency=None
    )
    if elastic.elastic is not None:
        ScheduleSpace.from_config(elastic.elastic, elastic.pruning.schedule, space.geometry)
    settings_space(experiment, space.geometry, elastic)
    for kind in experiment.selector_kinds:
        best = elastic.model_copy(update={"pruning": elastic.pruning.model_copy(update={"selector": kind})})
        schedule_space(experiment, space.geometry, None, best)
    return elastic


def contender_training(experiment: ExperimentConfig, elastic: TrialConfig, epochs: int) -> TrainingConfig:
    """How a schedule is trained for so many epochs from an elastic trial's weights."""
    return further_training(shortened(elastic.training, epochs), experiment.search.elastic.contender_lr_scale)


def elastic_trial(
    experiment: ExperimentConfig,
    space: SearchSpace,
    *,
    budget: LatencyBudget,
    dense_ms: float,
    latency: LatencyTarget | None,
) -> TrialConfig:
    """The elastic trial that the file describes: every schedule of the search's space that the budget admits.

    Args:
        experiment: the search.
        space: all that it explores.
        budget: nothing dearer is drawn.
        dense_ms: latency of the unpruned model.
        latency: a table's curves, by which schedules are drawn; by multiply-accumulates without.

    Raises:
        ConfigError: the search explores no keep rates, or trains in the masked form.
    """
    if experiment.training.form is not TokenForm.GATHERED:
        raise ConfigError(
            f"training.form = '{experiment.training.form}': 'gathered' was required, as elastic trials remove tokens "
            "while they train; set that, or search.mode = 'schedule'."
        )
    rates = space.stage_rates or space.base_rates
    if rates is None:
        raise ConfigError(
            f"search.mode = {experiment.search.mode} trains one set of weights for many schedules, but the search "
            "explores no keep rates: explore search.space.stage_keep_rates, or set search.mode = 'schedule'."
        )
    numbers, blocks, is_geometric = space.structure.numbers, all_blocks(space.structure), space.stage_rates is None
    lowest = rates.low ** max(numbers) if is_geometric else rates.low
    derived = {
        "lowest_keep_rate": rates.low,
        "is_geometric": is_geometric,
        "block_sets": block_sets(space.structure),
        "highest_keep_rate": rates.high,
        "min_selectors": min(numbers),
        "max_selectors": max(numbers),
        "max_cost_share": min(1.0, budget.max_ms / dense_ms),
        "num_priced_last": experiment.search.elastic.num_priced,
        "priced_images": experiment.search.elastic.priced_images,
    }
    training = experiment.training
    config = experiment.fixed_trial(space.geometry.depth, latency)
    return TrialConfig.model_validate(
        config.to_dict()
        | {
            "pruning": config.pruning.model_copy(
                update={"schedule": everywhere(blocks, lowest, space.geometry)}
            ).model_dump(),
            "training": shortened(training, experiment.search.elastic.elastic_epochs(training.epochs)).model_dump(),
            "elastic": _filled(experiment.elastic, derived).model_dump(),
        }
    )


def _filled(given: ElasticConfig, derived: dict[str, Any]) -> ElasticConfig:
    """What the file says, and for the rest what follows from the search.

    A key that is as usual says nothing: a study keeps every key of its file, those that were left out among them.
    """
    fields = type(given).model_fields
    own = {key: getattr(given, key) for key in fields if getattr(given, key) != fields[key].default}
    return ElasticConfig.model_validate(derived | own)
