"""What MLflow is told of a search as its trials end is what counting them all again says."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.history import history
from search.rank_agreement import RankAgreement
from search.records import Latency, Origin, StudyRecord, TrialRecord, TrialState
from search.search_progress import RANK_CORRELATION, SearchProgress
from search.selection import best_trial
from search.study_updates import replay
from search.summary import study_hypervolume

DENSE = Latency(mean_ms=10.0, low_ms=10.0, high_ms=10.0)
# A coarse grid makes ties, the cases that go wrong, frequent.
TRIALS = st.lists(
    st.builds(
        lambda state, origin, top1, latency_ms, estimate, finished_at: TrialRecord(
            number=0,
            state=state,
            params={},
            config={},
            latency=Latency(mean_ms=latency_ms, low_ms=latency_ms, high_ms=latency_ms + 0.5),
            keep_counts=(),
            blocks=(),
            origin=origin,
            top1=top1 if state is TrialState.COMPLETE else None,
            estimated_top1=estimate,
            finished_at=finished_at,
        ),
        st.sampled_from([TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]),
        st.sampled_from([Origin.SAMPLER, Origin.CONTENDER, Origin.ELASTIC]),
        st.none() | st.integers(0, 5).map(float),
        st.integers(1, 12).map(float),
        st.none() | st.integers(0, 3).map(float),
        st.none() | st.integers(0, 9).map(float),
    ),
    max_size=10,
)


def _study(trials):
    return StudyRecord(
        name="x",
        directory="x",
        experiment={},
        dense_latency=DENSE,
        max_latency_ms=8.0,
        smaller_budgets_ms=(3.5, 6.0),
        num_trials=9,
        num_epochs=1,
        trials=tuple(replace(trial, number=number) for number, trial in enumerate(trials)),
    )


def _naive(study):
    """Everything from all of a study's trials."""
    values = {"hypervolume": study_hypervolume(study)}
    if (best := best_trial(study)) is not None:
        values |= {"best_top1": best.top1, "best_latency_ms": best.latency.mean_ms}
    for limit_ms in study.smaller_budgets_ms:
        if (best := best_trial(study, limit_ms)) is not None:
            values[f"best_top1_within_{limit_ms:g}_ms"] = best.top1
    if (tau := RankAgreement.of(study.trials).tau) is not None:
        values[RANK_CORRELATION] = tau
    return values


@given(TRIALS)
def test_progress_is_what_all_trials_so_far_say(trials):
    study = _study(trials)
    progress, ended = SearchProgress(study), []
    for trial in study.finished:
        progress.add(trial)
        ended.append(trial)
        assert progress.metrics() == _naive(replace(study, trials=tuple(ended)))
        assert progress.num_finished == len(ended)
    assert SearchProgress.of(study).metrics() == _naive(study)


@given(TRIALS)
def test_a_replay_tells_of_each_moment_as_it_was(trials):
    study = _study(trials)
    told = [point for update in replay(study) if update.number is None for point in update.metrics]
    ended = sorted(study.finished, key=lambda t: (t.finished_at or 0.0, t.number))
    expected = [
        (key, pytest.approx(value, rel=1e-5), step)
        for step in range(1, len(ended) + 1)
        for key, value in _naive(replace(study, trials=tuple(ended[:step]))).items()
    ]
    assert [(point.key, point.value, point.step) for point in told] == expected


@given(TRIALS)
def test_the_history_has_the_hypervolume_of_each_moment(trials):
    study, ended = _study(trials), []
    for moment in history(study):
        ended.append(study.trials[moment.number])
        assert moment.hypervolume == study_hypervolume(replace(study, trials=tuple(ended)))
