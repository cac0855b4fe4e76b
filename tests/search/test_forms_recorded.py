"""The form that ran stays with a trial, its run in MLflow and its row in tables, beside how it was trained."""

from dataclasses import replace

import pytest
import tabulated

from search.results import trials_frame
from search.study import read_study
from search.study_updates import trial_ended
from spvit.options import TokenForm


@pytest.mark.parametrize("form", TokenForm)
def test_a_trial_keeps_the_form_of_its_evaluation(tmp_path, form):
    config = tabulated.experiment(tmp_path)
    store = tabulated.make_store(config)
    store.start(tabulated.make_proposer(config).propose(0))
    store.report_epoch(0, 1, 61.5, form, seconds=2.5)
    trial = store.complete(0, 61.5)
    assert trial.form is form
    study = read_study(tmp_path / "toy")
    assert study.trials[0] == trial
    row = trials_frame(study).iloc[0]
    assert (row["form"], row["training_form"]) == (form.value, "gathered")
    tags = trial_ended(trial, now_ms=0).tags
    assert (tags["spvit.form"], tags["spvit.training_form"]) == (form.value, "gathered")


def test_the_form_of_training_is_the_configurations(make_trial):
    trial = replace(make_trial(0, 80.0, 5.0), config={"training": {"form": "masked"}})
    assert trial_ended(trial, now_ms=0).tags["spvit.training_form"] == "masked"
