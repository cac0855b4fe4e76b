"""`[start]`: a search, or a training, whose trials go on from the weights of another study's trial."""

import re

import pytest
import tabulated
import torch
from safetensors.torch import save_file

from search.experiment import load_experiment, validate
from search.given_start import GivenStart
from search.known_experiment import with_what_files_tell
from search.progress_state import planned_epochs
from search.records import Origin
from search.study import read_study
from spvit.errors import CheckpointError, ConfigError, StudyMismatchError
from trainers.config import StartWeights
from trainers.start_weights import ShareRule

FILE = (
    '[study]\nname = "s"\n[model]\nname = "vit_tiny_patch16_224"\n[model.args]\nnum_classes = 4\n'
    '[data]\npath = "images"\n[start]\npath = "weights.safetensors"\n'
)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"w": torch.zeros(2)}, path)
    return path


@pytest.fixture
def file(tmp_path, weights):
    path = tmp_path / "mine.toml"
    path.write_text(FILE)
    return path


def searched(tmp_path, weights, **search):
    values = tabulated.experiment(tmp_path, **search).model_dump(mode="json")
    return with_what_files_tell(validate(values | {"start": {"path": str(weights)}}, source="test"))


def test_the_file_lies_beside_the_experiment_and_its_hash_is_noted(file, weights):
    experiment = with_what_files_tell(load_experiment(file))
    assert experiment.start.path == weights
    assert experiment.start.weights == StartWeights.of(weights, backbone_share=ShareRule.BY_DROPPED)
    assert experiment.fixed_trial(12).start == experiment.start.weights


def test_what_a_trial_names_is_given_back_as_it_is(weights):
    named = StartWeights.of(weights, backbone_share=0.25)
    assert GivenStart.of(named).weights == named


def test_without_a_path_trials_begin_with_the_backbone(file):
    experiment = load_experiment(file, ["start="])
    assert experiment.fixed_trial(12).start is None
    assert with_what_files_tell(experiment).start == GivenStart()


def test_a_file_that_is_not_there_is_named_with_its_key(file, weights):
    weights.unlink()
    with pytest.raises(CheckpointError, match=rf"start\.path: .*{re.escape(str(weights))}, which cannot be read"):
        with_what_files_tell(load_experiment(file))


def test_another_file_than_was_meant_is_refused(file):
    start = with_what_files_tell(load_experiment(file, [f"start.sha256={'0' * 64}"])).start.weights
    with pytest.raises(CheckpointError, match=r"with the SHA-256 0000.*but its SHA-256 is"):
        start.check()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (["search.mode=elastic", "search.space.stage_keep_rates={low=0.3,high=0.9}"], r"start\.path names weights"),
        (["study.checkpoints=/shared"], r"start\.path is a file of this machine"),
        (["start.path=", f"start.sha256={'0' * 64}"], "sha256 is given, but no path"),
        (["start.sha256=abc"], r"`start\.sha256`"),
        (["start.backbone_share=2"], r"`start\.backbone_share"),
    ],
)
def test_what_cannot_be_is_refused(file, changes, text):
    with pytest.raises(ConfigError, match=text):
        load_experiment(file, changes)


def test_every_trial_of_a_search_goes_on_from_the_weights_and_none_is_elastic(tmp_path, weights):
    config = searched(tmp_path, weights, mode="auto")
    assert not config.has_elastic_trials
    tabulated.run(tabulated.make_driver(config))
    study = read_study(tmp_path / "toy")
    assert len(study.finished) > 3
    assert {trial.config["start"]["sha256"] for trial in study.trials} == {config.start.weights.sha256}
    assert all(trial.origin is not Origin.ELASTIC for trial in study.trials)
    assert all(planned_epochs(trial, study) == 4 for trial in study.trials)


def test_the_weights_may_lie_elsewhere_when_a_study_goes_on_but_not_be_others(tmp_path, weights):
    config = searched(tmp_path, weights)
    tabulated.run(tabulated.make_driver(config), max_reports=5)
    moved = weights.rename(tmp_path / "moved.safetensors")
    tabulated.run(tabulated.make_driver(searched(tmp_path, moved)))
    save_file({"w": torch.ones(2)}, moved)
    with pytest.raises(StudyMismatchError, match=r"start\.sha256"):
        tabulated.make_driver(searched(tmp_path, moved))
