"""Which validation images a trial's model answers right: what tells two models apart that are about as accurate.

Kept in `answers/NUMBER.npz` in the study's folder, so that a model is evaluated once.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.choosing import Compare, binomial
from search.noise import Difference, paired_difference
from search.records import StudyRecord, TrialRecord
from spvit.errors import DataError, SpvitError, UsageError
from spvit.options import TokenForm

FOLDER = "answers"
BATCH_SIZE = 256
MAX_DIFFERENCE = 0.5
"""Points of top-1 by which other arithmetic (half precision, another device) may differ; more means other images."""

Answers = NDArray[np.bool_]
Progress = Callable[[float, str], None]


def known_answers(study: StudyRecord, trial: TrialRecord) -> Answers | None:
    """Whether each validation image was answered right, shape (images,); None where nobody has looked yet."""
    with suppress(OSError, KeyError, ValueError, zipfile.BadZipFile), np.load(_path(study, trial)) as arrays:
        answers: Answers = np.unpackbits(arrays["packed"], count=int(arrays["num_images"])).astype(np.bool_)
        return answers
    return None


def evaluated_answers(
    study: StudyRecord, trial: TrialRecord, progress: Progress = lambda _share, _text: None
) -> Answers:
    """The same, from the trial's checkpoint where it is not known yet.

    Raises:
        UsageError: the trial was not trained to the end, or its top-1 is not that of the gathered form.
        CheckpointError: its checkpoint is missing or damaged.
        DataError: the images cannot be read, or are not those that the search evaluated on.
    """
    if (known := known_answers(study, trial)) is not None:
        return known
    if trial.top1 is None or trial.form is not TokenForm.GATHERED:
        raise UsageError(
            f"trial {trial.number} of study {study.name!r} has no top-1 of the gathered form (state {trial.state}, "
            f"form {trial.form}); leave out --evaluate"
        )
    answers = _evaluate(study, trial, progress)
    top1 = 100.0 * float(answers.mean())
    if abs(top1 - trial.top1) > MAX_DIFFERENCE:
        raise DataError(
            f"trial {trial.number} of study {study.name!r} has {top1:.2f} % on the validation images that there are "
            f"now, but had {trial.top1:.2f} % in the search: the images or the checkpoint are not those of then"
        )
    _keep(_path(study, trial), answers)
    return answers


def by_answers(study: StudyRecord, progress: Progress | None = None, *, is_required: bool = True) -> Compare:
    """Compares two finished trials image by image where both's answers are known, else by their top-1s alone.

    With `progress` answers that are not known are found first, of trials that the top-1s cannot tell apart; this raises
    what `evaluated_answers` raises, unless it is not required: then the top-1s alone have to do.
    """
    by_top1 = binomial(study)

    def compare(first: TrialRecord, second: TrialRecord) -> Difference | None:
        rough = by_top1(first, second)
        if progress is not None and (rough is None or rough.is_noise):
            try:
                return paired_difference(*(evaluated_answers(study, trial, progress) for trial in (first, second)))
            except SpvitError:
                if is_required:
                    raise
        answers = [known_answers(study, trial) for trial in (first, second)]
        return rough if answers[0] is None or answers[1] is None else paired_difference(answers[0], answers[1])

    return compare


def _evaluate(study: StudyRecord, trial: TrialRecord, progress: Progress) -> Answers:
    from search.trial_model import load_trial_model, trial_config
    from trainers.answers import correct_answers
    from trainers.data import Loading, Split, open_split
    from trainers.preprocessing import preprocessing_of

    model = load_trial_model(study, trial)
    loading = Loading(batch_size=BATCH_SIZE, training=False)
    images = open_split(trial_config(trial).data, Split.VAL, preprocessing_of(model.backbone), loading)
    text = f"evaluating trial {trial.number}"
    return correct_answers(model, images, on_batch=lambda share: progress(min(1.0, share), text))


def _path(study: StudyRecord, trial: TrialRecord) -> Path:
    return Path(study.directory) / FOLDER / f"{trial.number}.npz"


def _keep(path: Path, answers: Answers) -> None:
    """In one step. A folder that cannot be written costs one more evaluation next time, nothing else."""
    temporary = path.with_name(f".{path.name}.new")
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, packed=np.packbits(answers), num_images=len(answers))
        temporary.replace(path)
