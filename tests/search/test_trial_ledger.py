"""What a driver asks at every turn: kept as trials change, it is what counting them all again says."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from search.failures import Failure
from search.records import Latency, Origin, TrialRecord, TrialState
from search.retries import attempts_by_root, root_of, trials_to_retry
from search.trial_ledger import TrialLedger

COUNTED = {TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED}
ENDS = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def _started(number, origin=Origin.SAMPLER, root=None):
    return TrialRecord(
        number=number,
        state=TrialState.RUNNING,
        params={},
        config={"training": {"batch_size": 8, "micro_batch_size": None}},
        latency=Latency(mean_ms=1.0, low_ms=1.0, high_ms=1.0),
        keep_counts=(),
        blocks=(),
        origin=origin,
        retry_of=root,
    )


def _failed(trial, failure=Failure.NODE_LOST):
    return replace(trial, state=TrialState.FAIL, failure=failure)


def _changed(draw, trials):
    """One trial as it starts, is run again, reports or ends, as in a search that holds these."""
    running = [trial for trial in trials if trial.state is TrialState.RUNNING]
    due = trials_to_retry(trials)
    step = draw(st.sampled_from(["start", *["retry"] * bool(due), *["report", "end", "end"] * bool(running)]))
    if step == "start":
        fresh = [origin for origin in Origin if origin is not Origin.RETRY]
        return _started(len(trials), draw(st.sampled_from(fresh)))
    if step == "retry":
        last = draw(st.sampled_from(due))
        return _started(len(trials), Origin.RETRY if last.origin.is_counted else last.origin, root_of(last))
    trial = draw(st.sampled_from(running))
    if step == "report":
        return replace(trial, curve=(*trial.curve, 50.0))
    state = draw(st.sampled_from(ENDS))
    return replace(trial, state=state, failure=draw(st.none() | st.sampled_from(list(Failure))))


@given(st.data())
def test_what_is_kept_is_what_counting_all_trials_again_says(data):
    ledger = TrialLedger()
    for _ in range(data.draw(st.integers(0, 20))):
        ledger.put(_changed(data.draw, ledger.trials))
    trials = ledger.trials
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert ledger.due == trials_to_retry(trials)
    assert ledger.running == tuple(trial for trial in trials if trial.state is TrialState.RUNNING)
    assert {root: ledger.attempts(root) for root in attempts_by_root(trials)} == attempts_by_root(trials)
    assert ledger.num_roots == sum(trial.retry_of is None for trial in trials)
    waiting = {trial.number for trial in trials_to_retry(trials)}
    counted = [t for t in trials if (t.state in COUNTED or t.number in waiting) and t.origin.is_counted]
    assert ledger.num_sampled == len(counted)
    again = TrialLedger(trials)  # as a driver that goes on with the study builds it
    assert (again.due, again.running, again.num_sampled) == (ledger.due, ledger.running, ledger.num_sampled)


def test_attempts_of_others_are_left_out():
    first, other = _failed(_started(0)), _failed(_started(2))
    ledger = TrialLedger([first, again := _failed(_started(1, Origin.RETRY, root=0)), other])
    assert ledger.attempts(0) == (first, again)
    assert ledger.attempts(2) == (other,)
    assert ledger.due == (again, other)


def test_a_trial_that_goes_on_is_not_due():
    ledger = TrialLedger([_failed(_started(0))])
    ledger.put(_started(1, Origin.RETRY, root=0))
    assert (ledger.due, [trial.number for trial in ledger.running], ledger.num_sampled) == ((), [1], 1)
