"""Looks at what a search is to be made from, so that it fails in seconds and not once per trial."""

from __future__ import annotations

from search.config import ExperimentConfig
from trainers.config import DataFormat


def check_inputs(experiment: ExperimentConfig) -> None:
    """Refuses an experiment that no trial could be trained with. Reads the weights and what a trial reads of its data.

    Raises:
        ConfigError: the model cannot be made, or [pruning] does not fit it.
        CheckpointError: its weights are missing, damaged, or another model's.
        DataError: images or labels are missing, damaged, or do not fit the model.
    """
    from search.model_facts import trial_of
    from spvit.factory import create_backbone
    from trainers.data import Loading, Split, describe_data, open_split
    from trainers.preprocessing import preprocessing_of

    trial_of(experiment)
    model, data = experiment.model, experiment.data
    backbone = create_backbone(model.name, args=model.args, checkpoint=model.checkpoint, pretrained=model.pretrained)
    preprocessing = preprocessing_of(backbone)
    describe_data(data, num_classes=preprocessing.num_classes)
    if data.format is DataFormat.NPZ:  # a folder's images are made to fit, and a damaged one is left out by name
        for split in (Split.TRAIN, Split.VAL):
            open_split(data, split, preprocessing, Loading(batch_size=1, training=False))
