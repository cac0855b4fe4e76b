"""Looks at what a search is to be made from, so that it fails in seconds and not once per trial."""

from __future__ import annotations

from search.config import ExperimentConfig


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
