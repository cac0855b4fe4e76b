"""Looks at what a search is to be made from, so that it fails in seconds and not once per trial."""

from __future__ import annotations

from search.config import ExperimentConfig
from search.given_start import GivenStart
from spvit.errors import CheckpointError, ConfigError


def check_inputs(experiment: ExperimentConfig) -> None:
    """Refuses an experiment that no trial could be trained with. Reads the weights and what a trial reads of its data.

    Raises:
        ConfigError: the model cannot be made, [pruning] does not fit it, or [data] names what a library does not know.
        CheckpointError: its weights are missing, damaged, or another model's, or hold selectors of another form.
        DataError: images or labels are missing, damaged, or do not fit the model.
    """
    from search.model_facts import trial_of
    from trainers.build import build_model
    from trainers.data import Loading, Split, describe_data, open_split
    from trainers.preprocessing import preprocessing_of

    data, preprocessing = experiment.data, preprocessing_of(build_model(trial_of(experiment)).backbone)
    batch_size = experiment.training.batch_size
    describe_data(data, num_classes=preprocessing.num_classes, batch_size=batch_size)
    for split in (Split.TRAIN, Split.VAL):
        loading = Loading(batch_size=batch_size, training=split is Split.TRAIN)
        open_split(data, split, preprocessing, loading)


def check_space(experiment: ExperimentConfig) -> None:
    """Refuses schedules that do not fit the model. Reads neither weights nor data.

    Raises:
        ConfigError: the model cannot be made, or [pruning] or [search.space] does not fit it.
    """
    from search.model_facts import geometry_of_experiment
    from search.space import SearchSpace

    geometry = geometry_of_experiment(experiment)
    last = max(experiment.pruning.resolved_blocks(geometry.depth))
    if last >= geometry.depth:
        raise ConfigError(
            f"pruning.blocks: 0 to {geometry.depth - 1} were required for the {geometry.depth} blocks of "
            f"{experiment.model.name}, but got {last}"
        )
    SearchSpace(experiment.model_copy(update={"start": GivenStart()}), geometry)


def check_search_inputs(experiment: ExperimentConfig) -> None:
    """Refuses an experiment that some trial of its search could not be trained with.

    Raises:
        ConfigError: see `check_inputs`; or a kind of selector that may be chosen does not fit the model.
        CheckpointError: see `check_inputs`; or the selectors in the weights are not of every kind, or those of
            `[start]` not before every block, that may be chosen.
        DataError: see `check_inputs`.
    """
    from search.elastic_trial import check_elastic_spaces
    from search.model_facts import geometry_of_experiment
    from search.selector_places import everywhere_trial
    from search.space import SearchSpace
    from search.starts import enqueued_starts
    from trainers.build import build_model

    check_inputs(experiment)
    space = SearchSpace(experiment, geometry_of_experiment(experiment))
    enqueued_starts(experiment.search.enqueue, space)
    # Package modes make no other modules, so one trial of each kind stands for all.
    built = {f"trials with {t.pruning.selector} selectors, which the search may choose,": t for t in space.fastest()}
    if experiment.has_elastic_trials:
        named = f"elastic trials (search.mode = '{experiment.search.mode}'), with a selector before each block,"
        built[named] = check_elastic_spaces(experiment, space)
    if experiment.start.path is not None and (trial := everywhere_trial(space)):
        built["trials with a selector before any of the blocks that the search may choose"] = trial
    for named, trial in built.items():
        try:
            build_model(trial)
        except (CheckpointError, ConfigError) as error:
            raise type(error)(f"{named} cannot be: {error}") from None
