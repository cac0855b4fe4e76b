"""A study that goes on with something changed, or with more than was asked for."""

from dataclasses import replace
from pathlib import Path

import pytest
import tabulated

from search.again import what_happens
from search.config import ExperimentConfig
from search.continuation_files import seed_trial_folder
from search.extension import extended
from search.records import Origin, TrialState
from search.selection import front_trials
from search.study import read_study
from search.study_opening import OpeningTerms
from search.summary import num_counted, summarise
from search.verify import verify_study
from spvit.errors import StudyMismatchError, UsageError

pytestmark = pytest.mark.usefixtures("few_candidates")

ANY = OpeningTerms(accept_change=True)


def _changed(config, **sections):
    values = config.model_dump(mode="json")
    for section, changes in sections.items():
        values[section] |= changes
    return ExperimentConfig.model_validate(values)


def _search(config, terms=None, *, max_reports=None):
    """Runs a search to its end, or to the death of its driver."""
    driver = tabulated.make_driver(config, terms=terms)
    tabulated.run(driver, max_reports=max_reports)
    if max_reports is None:
        driver.finish()
        assert driver.is_finished
    return read_study(driver.directory)


def _extend(config, study, **asked):
    return extended(config, study, **({"trials": None, "epochs": None} | asked))


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A finished search, extended by trials and epochs, and killed on the way."""
    config = tabulated.experiment(tmp_path_factory.mktemp("runs"), num_trials=4)
    first = _search(config)
    longer, terms = _extend(config, first, trials="+2", epochs=6)
    _search(longer, terms, max_reports=3)
    return first, _search(longer), longer


def test_an_extended_study_keeps_what_it_had_and_gets_what_was_asked_for(searched):
    first, study, _ = searched
    assert study.trials[: len(first.trials)] == first.trials
    assert (study.num_trials, num_counted(study), study.num_epochs) == (6, 6, 6)
    (generation,) = study.generations
    assert (generation.from_trial, dict(generation.changes)) == (len(first.trials), {"training.epochs": ("4", "6")})
    assert {trial.generation for trial in study.trials[len(first.trials) :]} == {2}
    assert all(trial.num_epochs == 6 for trial in study.finished if trial.generation == 2)
    assert verify_study(Path(study.directory)).violations == ()


def test_the_front_is_prolonged_from_its_own_epochs_once_each(searched):
    first, study, _ = searched
    front = front_trials(first)
    prolonged = [t for t in study.trials if t.origin is Origin.CONTINUED and t.state is TrialState.COMPLETE]
    assert sorted(t.continues for t in prolonged) == sorted(t.number for t in front)
    for trial in prolonged:
        before = study.trials[trial.continues]
        assert trial.curve[:4] == before.curve
        assert (trial.params, trial.latency, trial.continues_epochs) == (before.params, before.latency, 4)
        assert trial.config["training"] == {**before.config["training"], "epochs": 6, "continues_epochs": 4}
    own = {t.number: t.num_epochs - t.continues_epochs for t in study.trials if t.state is not TrialState.FAIL}
    assert summarise(study).num_epochs_trained == sum(own.values())


def test_a_trial_that_prolongs_another_begins_with_a_copy_of_its_checkpoint(searched, tmp_path):
    _, study, _ = searched
    trial = next(t for t in study.trials if t.continues is not None and t.retry_of is None)
    source = tmp_path / "trials" / str(trial.continues) / "checkpoint-000004"
    source.mkdir(parents=True)
    (source / "weights").write_text("trained")
    seed_trial_folder(tmp_path, trial)
    copy = tmp_path / "trials" / str(trial.number) / "checkpoint-000004" / "weights"
    assert copy.read_text() == "trained"
    copy.write_text("trained further")
    seed_trial_folder(tmp_path, trial)  # it has begun
    assert copy.read_text() == "trained further"
    assert (source / "weights").read_text() == "trained"
    assert [path.name for path in copy.parents[1].iterdir()] == ["checkpoint-000004"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, "give --trials .* or --epochs"),
        ({"trials": "some"}, "--trials: .*'some'"),
        ({"trials": "2"}, r"was asked for 6 trials; .* For so many more: \+2"),
        ({"epochs": 5}, r"has training\.epochs = 6; more were required, but got 5"),
    ],
)
def test_what_is_no_extension_is_refused(searched, asked, told):
    _, study, config = searched
    with pytest.raises(UsageError, match=told):
        _extend(config, study, **asked)


def test_an_extension_allows_no_other_change(searched):
    _, study, config = searched
    longer, terms = _extend(_changed(config, losses={"ratio": 9.0}), study, epochs=8)
    with pytest.raises(StudyMismatchError, match=r"losses\.ratio: .* -> 9\.0"):
        tabulated.make_store(longer, terms=terms)
    assert read_study(Path(study.directory)).generation == 2


def test_a_change_that_is_accepted_begins_a_generation_and_keeps_the_old_one(tmp_path):
    config = tabulated.experiment(tmp_path, num_trials=3)
    first = _search(config)
    space = {"stage_keep_rates": {"low": 0.4, "high": 0.8}, "losses": {"distillation": {"low": 0.0, "high": 1.0}}}
    other = _changed(config, search={"space": space, "num_trials": 6})
    with pytest.raises(StudyMismatchError, match=r"search\.space"):
        tabulated.make_store(other)
    study = _search(other, ANY)
    assert study.trials[: len(first.trials)] == first.trials
    assert [t.generation for t in study.trials] == [1] * len(first.trials) + [2] * 3
    assert study.generations[0].from_trial == len(first.trials)
    assert any(key.startswith("search.space") for key in study.generations[0].changes)
    assert _search(other).generations == study.generations  # what was accepted once is not asked for again


def test_an_interrupted_trial_of_an_earlier_space_still_goes_on(tmp_path):
    config = tabulated.experiment(tmp_path, num_trials=3)
    _search(config, max_reports=6)
    other = _changed(config, search={"space": {"losses": {"distillation": {"low": 0.0, "high": 1.0}}}})
    study = _search(other, ANY)
    retried = [t for t in study.trials if t.retry_of is not None]
    assert retried
    assert all(t.params == study.trials[t.retry_of].params for t in retried)


@pytest.mark.parametrize("part", ["table", "code", "package"])
def test_another_table_code_or_package_is_refused_and_can_be_accepted(tmp_path, monkeypatch, part):
    config = tabulated.experiment(tmp_path)
    tabulated.make_store(config)
    sha256 = "b" * 64 if part == "table" else ""
    if part == "code":
        monkeypatch.setattr("search.study_opening.code_sha256", lambda: "f" * 64)
    if part == "package":
        monkeypatch.setattr("search.study_opening.package_versions", lambda: {"torch": "0.1"})
    with pytest.raises(StudyMismatchError, match=part):
        tabulated.make_store(config, sha256=sha256)
    assert tabulated.make_store(config, sha256=sha256, terms=ANY).record().generation == 2
    assert tabulated.make_store(config, sha256=sha256).record().generation == 2


def test_a_driver_that_dies_while_it_accepts_leaves_the_study_as_it_was(tmp_path, monkeypatch):
    config = tabulated.experiment(tmp_path)
    before = tabulated.make_store(config).record()

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("search.study_storage.StudyStorage.set_study_attrs", die)
    with pytest.raises(KeyboardInterrupt):
        tabulated.make_store(_changed(config, training={"epochs": 9}), terms=ANY)
    assert read_study(tmp_path / "toy") == before


def test_launching_again_says_what_it_does(searched):
    _, study, _ = searched
    assert "it is finished, and nothing is run" in what_happens(study, 6)
    assert "6 of 9 trials; going on with it, unless" in what_happens(study, 9)
    assert "interrupted goes on from its checkpoints" in what_happens(replace(study, end=None), 6)
