"""Trials compared image by image, from real checkpoints on real images."""

import shutil
from dataclasses import replace
from pathlib import Path

import exported_study
import pytest

from search.answers import by_answers, evaluated_answers, known_answers
from search.choosing import binomial
from search.noise import paired_difference
from search.study_files import trial_directory
from spvit.errors import CheckpointError, DataError


@pytest.fixture
def study(tmp_path):
    """Whose top-1s are what its checkpoints really answer."""
    made = exported_study.trained_study(tmp_path)
    rough = {t.number: replace(t, top1=0.0) for t in made.finished}
    for number, trial in rough.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("search.answers.MAX_DIFFERENCE", 100.0)
            right = evaluated_answers(made, trial)
        rough[number] = replace(trial, top1=100.0 * float(right.mean()))
    shutil.rmtree(tmp_path / "runs" / "small" / "answers")
    return replace(made, trials=tuple(rough.values()), num_val_images=exported_study.NUM_IMAGES)


def silently(_share, _text):
    pass


def test_answers_are_found_once_and_count_for_everybody_afterwards(study):
    first, second = study.finished[:2]
    assert not by_answers(study)(first, second).is_paired
    found = by_answers(study, silently)(first, second)
    assert found == paired_difference(evaluated_answers(study, first), evaluated_answers(study, second))
    assert by_answers(study)(first, second) == found
    assert known_answers(study, study.finished[2]) is None


def test_a_checkpoint_that_is_gone_is_an_error_unless_answers_are_not_required(study):
    first, second = study.finished[:2]
    shutil.rmtree(trial_directory(Path(study.directory), second))
    with pytest.raises(CheckpointError, match=f"no whole checkpoint of trial {second.number}"):
        by_answers(study, silently)(first, second)
    compare = by_answers(study, silently, is_required=False)
    assert compare(first, second) == binomial(study)(first, second)


def test_other_images_than_those_of_the_search_are_refused(study):
    first = study.finished[0]
    with pytest.raises(DataError, match="the images or the checkpoint are not those of then"):
        evaluated_answers(study, replace(first, top1=first.top1 + 1.0))
