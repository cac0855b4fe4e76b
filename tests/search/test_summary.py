import json
from dataclasses import replace

import pytest

from search.commands import status
from search.failures import Failure
from search.progress_state import ProgressState
from search.records import Origin, Rejection, TrialState
from search.report import final_report
from search.study_report import study_note
from search.summary import baseline_trial, summarise
from search.view_lines import counts_text


def test_summary_counts_every_state_and_rejection(study):
    summary = summarise(study)
    assert summary.counts[TrialState.COMPLETE] == 4
    assert summary.counts[TrialState.PRUNED] == 1
    assert summary.counts[TrialState.FAIL] == 1
    assert sum(summary.counts.values()) == len(study.trials)
    assert summary.rejections == {Rejection.TOO_SLOW: 7, Rejection.DUPLICATE: 0}


def test_interrupted_attempts_are_told_from_failed_ones_and_these_by_cause(study, make_trial):
    ends = [
        (TrialState.FAIL, Failure.INTERRUPTED),
        (TrialState.FAIL, Failure.STORAGE),
        (TrialState.FAIL, Failure.NODE_LOST),
        (TrialState.PRUNED, Failure.DIVERGENCE),
    ]
    more = [
        replace(make_trial(number, 0.0, 5.0, state=state), failure=failure)
        for number, (state, failure) in enumerate(ends, start=6)
    ]
    study_then = replace(study, trials=(*study.trials, *more))
    summary = summarise(study_then)
    assert (summary.num_interrupted, summary.num_failed) == (2, 2)  # one of them without a cause, of an older version
    assert (summary.to_dict()["num_interrupted"], summary.to_dict()["num_failed"]) == (2, 2)
    assert summary.num_to_go_on == 3
    text = status.summary_text(summary, is_running=False)
    assert "trials    4 complete, 2 pruned, 2 interrupted, 2 failed; 5 of the 5 asked for" in text
    assert "failures  1 divergence, 1 node lost, 3 to be run again" in text
    assert "failures" not in status.summary_text(summarise(study), is_running=False)
    assert "2 stopped early, 2 interrupted, 2 failed" in study_note(study_then)
    assert "2 stopped early, 2 interrupted, 2 failed" in final_report(study_then).to_text()
    assert "2 stopped, 2 failed, 2 interrupted" in counts_text(ProgressState.begin(study_then, 0.0))


def test_epochs_saved_are_those_that_pruned_trials_did_not_train(study):
    summary = summarise(study)
    assert summary.num_epochs_trained == 4 * 3 + 1
    assert summary.num_epochs_saved == 3 - 1


def test_an_epoch_counts_once_however_often_its_trial_was_interrupted(study, make_trial):
    lost = make_trial(6, 0.0, 5.0, state=TrialState.FAIL, curve=(60.0, 61.0))
    again = make_trial(7, 0.0, 5.0, state=TrialState.FAIL, curve=(60.0, 61.0), origin=Origin.RETRY, retry_of=6)
    whole = make_trial(8, 62.0, 5.0, curve=(60.0, 61.0, 62.0), origin=Origin.RETRY, retry_of=6)
    before = summarise(study)
    after = summarise(replace(study, trials=(*study.trials, lost, again, whole)))
    assert after.num_epochs_trained == before.num_epochs_trained + 3
    assert after.num_epochs_saved == before.num_epochs_saved


def test_neither_baselines_nor_failures_count_towards_the_trials_asked_for(study, make_trial):
    assert summarise(study).num_counted == 4  # of six: one baseline, one failure
    retry = make_trial(6, 62.0, 5.0, origin=Origin.RETRY, retry_of=5)
    assert summarise(replace(study, trials=(*study.trials, retry))).num_counted == 5


def test_status_says_how_to_go_on_exactly_while_trials_are_missing(study, make_trial):
    unfinished = status.summary_text(summarise(study), is_running=False)
    assert "; 4 of the 5 asked for" in unfinished
    assert unfinished.endswith("spvit-search resume small")
    assert "resume" not in status.summary_text(summarise(study), is_running=True)
    retry = make_trial(6, 62.0, 5.0, origin=Origin.RETRY, retry_of=5)
    finished = summarise(replace(study, trials=(*study.trials, retry)))
    assert "resume" not in status.summary_text(finished, is_running=False)


def test_hypervolume_is_the_area_over_zero_at_the_dense_latency(study):
    # Front: 85 % at 5 ms, 88 % at 5.95 ms; reference 0 % at 10 ms.
    assert summarise(study).hypervolume == pytest.approx(85 * 5 + 3 * 4.05)


def test_summary_is_json(study):
    values = json.loads(json.dumps(summarise(study).to_dict()))
    assert values["best"] == {"number": 1, "top1": 85.0, "latency_ms": 5.0}
    assert values["counts"]["RUNNING"] == 0
    assert [p["number"] for p in values["front"]] == [1, 2]


def test_empty_study_has_a_summary(study):
    summary = summarise(replace(study, trials=()))
    assert summary.best is None
    assert summary.front == ()
    assert not summary.is_finished


def test_a_running_trial_keeps_the_study_unfinished(study):
    assert summarise(study).is_finished
    running = replace(study.trials[1], state=TrialState.RUNNING, top1=None)
    assert not summarise(replace(study, trials=(*study.trials, running))).is_finished


def test_baseline_is_found_only_when_it_was_trained(study):
    assert baseline_trial(study).number == 0
    assert baseline_trial(replace(study, trials=study.trials[1:])) is None
