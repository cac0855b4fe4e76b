"""A real search whose checkpoints are published elsewhere, and what goes on from them."""

import json

import pytest
from command_line import call, write_experiment

from search.records import Origin, TrialState
from search.retries import root_of
from search.study import read_study
from trainers.checkpoint_names import checkpoints_in

pytestmark = [pytest.mark.large, pytest.mark.integration]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    experiment = write_experiment(
        folder,
        "published",
        ('directory = "', f'checkpoints = "{folder}/store"\nscratch = "{folder}/scratch"\ndirectory = "'),
        ("num_trials = 8", "num_trials = 2"),
        ("time_limit_s = 8", "time_limit_s = 2"),
        ("[5e-4, 100.0]", "[5e-4, 6e-4]"),
    )
    call("launch", experiment)
    return folder / "runs" / "published"


def _history(study, number):
    """A trial's published epochs, with the seconds that each of them took."""
    published = study.parents[1] / "store" / study.name / "trials" / str(number)
    return json.loads((checkpoints_in(published)[-1][1] / "meta.json").read_text())["history"]


def test_a_trial_is_finished_from_its_published_checkpoint(study):
    call("finish", study.name, "--runs-dir", study.parent, "--epochs", "5")
    record = read_study(study)
    (finished,) = [trial for trial in record.trials if trial.origin is Origin.FINISHED]
    shorter = record.trials[finished.continues]
    assert (finished.state, finished.num_epochs) == (TrialState.COMPLETE, 5)
    # The very same epochs, seconds included: none was trained again.
    assert _history(study, finished.number)[:3] == _history(study, root_of(shorter))


def test_trials_are_prolonged_from_their_published_checkpoints(study):
    call("extend", study.name, "--runs-dir", study.parent, "--epochs", "4")
    longer = [trial for trial in read_study(study).trials if trial.origin is Origin.CONTINUED]
    assert longer
    for trial in longer:
        assert _history(study, trial.number)[:3] == _history(study, trial.continues)
