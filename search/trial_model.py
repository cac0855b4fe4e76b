"""The models that a study's trials trained, rebuilt from their checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from search.experiment import validate
from search.published_trials import bring_checkpoint
from search.records import StudyRecord, TrialRecord
from search.study_files import trial_directory
from spvit.errors import CheckpointError
from trainers.config import TrialConfig

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

    from spvit.pruned_model import PrunedModel


def trial_config(trial: TrialRecord) -> TrialConfig:
    """A trial's configuration as a value."""
    return TrialConfig.model_validate(dict(trial.config))


def load_trial_model(study: StudyRecord, trial: TrialRecord) -> PrunedModel:
    """The model that a trial trained, with the weights of its newest whole checkpoint, in evaluation mode.

    Raises:
        CheckpointError: there is no whole checkpoint, or it does not fit the trial.
        StorageError: its checkpoints were published, and cannot be fetched.
    """
    from trainers.build import build_model
    from trainers.checkpoint import latest_checkpoint

    directory = trial_directory(Path(study.directory), trial)
    bring_checkpoint(study, directory)
    saved = latest_checkpoint(directory, is_owner=False)
    if saved is None:
        raise CheckpointError(f"{directory}: no whole checkpoint of trial {trial.number} is left; train it again")
    config = trial_config(trial)
    # The checkpoint holds every weight: those that the training began with need not be there any more.
    own = config.model.model_copy(update={"checkpoint": None, "pretrained": False})
    model = build_model(config.model_copy(update={"model": own, "start": None}))
    try:
        model.load_state_dict(saved.weights())
    except RuntimeError as error:
        raise CheckpointError(f"{saved.directory}: the weights are not those of trial {trial.number}") from error
    return model.eval()


def load_dense_model(study: StudyRecord) -> tuple[VisionTransformer, bool]:
    """The unpruned model of a study, in evaluation mode, and whether it has trained weights or only its shape."""
    from spvit.errors import SpvitError
    from spvit.factory import create_backbone

    model = validate(dict(study.experiment), source=f"study {study.name}").model
    try:
        dense = create_backbone(model.name, args=model.args, checkpoint=model.checkpoint, pretrained=model.pretrained)
        return dense.eval(), model.checkpoint is not None or model.pretrained
    except SpvitError:
        # Timing needs the shape alone, so weights that were moved since the search do not prevent an export.
        return create_backbone(model.name, args=model.args).eval(), False
