"""How many classes a model is to tell apart: as many as its data has, where the experiment does not say."""

from __future__ import annotations

import logging

from search.config import ExperimentConfig
from spvit.errors import DataError
from trainers.config import DataConfig

logger = logging.getLogger(__name__)
KEY = "num_classes"


def with_num_classes(experiment: ExperimentConfig) -> ExperimentConfig:
    """The experiment with `model.args.num_classes` taken from its data, unless it is set or the model has it already.

    Data that cannot be read decides nothing: a device can be profiled without it, and those who need it look again.

    Raises:
        ConfigError: the model or the data set has a name that its library does not know.
    """
    if KEY in experiment.model.args:
        return experiment
    found = _classes_of(experiment.data)
    if found is None or found == (usual := _outputs_of(experiment)):
        return experiment
    logger.warning(
        "model.args.num_classes is not set: %s is made for the %d classes of the data, not for its usual %d.",
        experiment.model.name,
        found,
        usual,
    )
    model = experiment.model.model_copy(update={"args": {**experiment.model.args, KEY: found}})
    return experiment.model_copy(update={"model": model})


def _classes_of(data: DataConfig) -> int | None:
    """Classes of the training split; those of the validation split where that is all there is."""
    from trainers.data import Split, describe_split

    for split in (Split.TRAIN, Split.VAL):
        try:
            return len(describe_split(data, split).class_names)
        except DataError:
            continue
    return None


def _outputs_of(experiment: ExperimentConfig) -> int:
    from spvit.factory import create_backbone

    return int(create_backbone(experiment.model.name, args=experiment.model.args).num_classes)
