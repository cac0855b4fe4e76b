"""`[start]`: a search, or a training, whose trials go on from the weights of another study's trial."""

import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import elastic_study
import pytest
import tabulated
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

import auto_search

from search.complete_experiment import complete_experiment
from search.elastic_front import best_elastic
from search.elastic_search_config import SearchMode
from search.elastic_start import start_within
from search.experiment import load_experiment, validate
from search.export_files import elastic_experiment
from search.given_start import GivenStart
from search.inputs import check_inputs, check_search_inputs, check_space
from search.progress_state import planned_epochs
from search.progressive_inputs import check_progressive_inputs
from search.records import Origin
from search.space import SearchSpace
from search.study import read_study
from search.study_identity import Made, changes_between
from spvit.errors import CheckpointError, ConfigError, StudyMismatchError
from trainers.build import build_model
from trainers.checkpoint_size import checkpoint_bytes
from trainers.config import StartWeights, TrialConfig
from trainers.start_weights import ShareRule

FILE = (
    '[study]\nname = "s"\n[model]\nname = "vit_tiny_patch16_224"\n[model.args]\nnum_classes = 4\n'
    '[data]\npath = "images"\n[start]\npath = "weights.safetensors"\n'
)

RATES = "search.space.stage_keep_rates={low=0.3,high=0.9}"
MODEL = {"img_size": 14, "patch_size": 2, "in_chans": 1, "embed_dim": 24, "depth": 6, "num_heads": 3, "num_classes": 4}


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
    return complete_experiment(validate(values | {"start": {"path": str(weights)}}, source="test"))


def test_the_file_lies_beside_the_experiment_and_its_hash_is_noted(file, weights):
    experiment = complete_experiment(load_experiment(file))
    assert experiment.start.path == weights
    assert experiment.start.weights() == StartWeights.of(weights, backbone_share=ShareRule.BY_DROPPED)
    assert experiment.fixed_trial(12).start == experiment.start.weights()


def test_what_a_trial_names_is_given_back_as_it_is(weights):
    named = StartWeights.of(weights, backbone_share=0.25)
    assert GivenStart.of(named).weights() == named


def test_without_a_path_trials_begin_with_the_backbone(file):
    experiment = load_experiment(file, ["start="])
    assert experiment.fixed_trial(12).start is None
    assert complete_experiment(experiment).start == GivenStart()


def test_a_file_that_is_not_there_is_named_with_its_key(file, weights):
    weights.unlink()
    experiment = complete_experiment(load_experiment(file))
    check_space(experiment)  # as before a device is profiled, which needs no weights
    with pytest.raises(CheckpointError, match=rf"start\.path: .*{re.escape(str(weights))}, which cannot be read"):
        check_inputs(experiment)


def test_another_file_than_was_meant_is_refused(file):
    start = complete_experiment(load_experiment(file, [f"start.sha256={'0' * 64}"])).start.weights()
    with pytest.raises(CheckpointError, match=r"with the SHA-256 0000.*but its SHA-256 is"):
        start.check()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (["search.mode=elastic", RATES], r"start\.path names weights"),
        (["study.checkpoints=/shared"], r"start\.path is a file that every machine reads"),
        (["search.space.elastic.sandwich_share={low=0.1,high=0.9}", RATES], "no elastic trials whose settings"),
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
    assert {trial.config["start"]["sha256"] for trial in study.trials} == {config.start.sha256}
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


@pytest.fixture
def trial(weights):
    """As it was noted while its weights lay in a study's folder that is no more."""
    start = StartWeights.of(weights).model_copy(update={"path": Path("/gone/runs/s/trials/0/checkpoint-000003/w")})
    return TrialConfig(model={"name": "toy"}, data={"path": "images"}, start=start)


def stored(study, content):
    path = study / "trials" / "0" / "checkpoint-000003" / "w"
    path.parent.mkdir(parents=True)
    return Path(shutil.copyfile(content, path))


def test_a_noted_trial_goes_on_from_its_weights_where_they_are_now(tmp_path, weights, trial):
    given = GivenStart.of(StartWeights.of(weights))
    assert start_within(tmp_path / "s", trial) == trial
    assert start_within(tmp_path / "s", trial, given).start.path == weights
    own = stored(tmp_path / "s", weights)
    assert start_within(tmp_path / "s", trial, given).start.path == own


def test_other_weights_in_the_same_place_are_not_taken_for_them(tmp_path, weights, trial):
    other = tmp_path / "other"
    save_file({"w": torch.ones(2)}, other)
    stored(tmp_path / "s", other)
    assert start_within(tmp_path / "s", trial) == trial
    assert start_within(tmp_path / "s", trial, GivenStart.of(StartWeights.of(other))) == trial
    assert start_within(tmp_path / "s", trial, GivenStart.of(StartWeights.of(weights))).start.path == weights


def test_where_weights_lie_makes_no_other_trial(tmp_path, weights):
    space = SearchSpace(searched(tmp_path, weights), tabulated.GEOMETRY)
    moved = SearchSpace(searched(tmp_path, weights.rename(tmp_path / "moved")), tabulated.GEOMETRY)
    assert space.default != moved.default
    assert space.identity(space.default) == moved.identity(moved.default)


def test_a_study_from_before_there_was_a_start_was_made_from_the_same(tmp_path):
    now = tabulated.experiment(tmp_path).model_dump(mode="json")
    before = {key: value for key, value in now.items() if key != "start"}
    assert changes_between(Made(experiment=before), Made(experiment=now)) == {}


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """An experiment whose weights have selectors before blocks 1, 2 and 4."""
    folder = tmp_path_factory.mktemp("real")
    auto_search.make_data(folder / "data")
    values = {
        "study": {"name": "s"},
        "model": {"name": "vit_tiny_patch16_224", "args": MODEL},
        "data": {"format": "npz", "path": str(folder / "data")},
        "training": {"freeze_epochs": 0, "batch_size": 8},
        "pruning": {"blocks": [1, 2, 4], "base_keep_rate": 0.7},
        "search": {"space": {"stage_keep_rates": {"low": 0.3, "high": 0.9}}},
    }
    model = build_model(validate(values, source="test").fixed_trial(6))
    save_file(model.state_dict(), folder / "weights.safetensors")
    return values | {"start": {"path": str(folder / "weights.safetensors")}}


def test_weights_with_a_selector_before_every_block_that_is_searched_are_accepted(real):
    check_search_inputs(validate(real, source="test"))


@pytest.mark.parametrize("blocks", [{"low": 1, "high": 5}, {"choices": [[1, 2, 4], [2, 3, 5]]}])
def test_a_search_of_blocks_without_a_selector_in_the_weights_is_refused(real, blocks):
    number = {} if "choices" in blocks else {"num_selectors": {"type": "int", "low": 2, "high": 3}}
    space = {"stage_keep_rates": {"low": 0.3, "high": 0.9}, "blocks": blocks, **number}
    experiment = validate(real | {"search": {"space": space}}, source="test")
    with pytest.raises(CheckpointError, match=r"before any of the blocks that .* cannot be: .*lacks"):
        check_search_inputs(experiment)


def test_progressive_insertion_has_no_use_for_them(real):
    with pytest.raises(ConfigError, match=r"start\.path names weights .* fine-tuned from the backbone"):
        check_progressive_inputs(validate(real, source="test"))


def test_an_export_of_elastic_weights_names_no_others(tmp_path, weights):
    elastic_study.run(elastic_study.experiment(tmp_path)).finish()
    study = read_study(tmp_path / "toy")
    given = GivenStart.of(StartWeights.of(weights)).model_dump(mode="json")
    later = replace(study, experiment={**study.experiment, "start": given})
    found = elastic_experiment(later, best_elastic(study.trials))
    assert found.start == GivenStart()
    assert found.search.mode is SearchMode.ELASTIC


def test_a_checkpoint_is_measured_without_the_weights(real):
    config = validate(real, source="test").fixed_trial(6)
    lost = config.start.model_copy(update={"path": Path("/gone/weights")})
    assert checkpoint_bytes(config.model_copy(update={"start": lost})) == checkpoint_bytes(config)
