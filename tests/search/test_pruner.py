import re
from dataclasses import replace

import pytest
import tabulated

from search.peer_rules import MIN_PEERS
from search.pruner import PeerPruner
from search.records import Latency, Origin, TrialRecord, TrialState
from search.search_config import PrunerName

RULES = [rule for rule in PrunerName if rule is not PrunerName.NONE]


def _trial(number, latency_ms, curve, state=TrialState.COMPLETE, **changes):
    latency = Latency(mean_ms=latency_ms, low_ms=latency_ms, high_ms=latency_ms)
    top1 = curve[-1] if state is TrialState.COMPLETE else None
    record = TrialRecord(
        number=number,
        state=state,
        params={},
        config={},
        latency=latency,
        keep_counts=(),
        blocks=(),
        curve=curve,
        top1=top1,
    )
    return replace(record, **changes)


def _pruner(tmp_path, rule, **search):
    config = tabulated.experiment(tmp_path, pruner=rule, **search)
    return PeerPruner(config.search, config.training, "toy")


def _judge(pruner, number, latency_ms, curve, **changes):
    for epoch in range(1, len(curve) + 1):
        trial = _trial(number, latency_ms, curve[:epoch], TrialState.RUNNING, **changes)
        pruner.update(trial)
        verdict = pruner.judge(trial)
    return verdict


@pytest.mark.parametrize("rule", RULES)
def test_a_slower_more_accurate_trial_never_stops_a_faster_one(tmp_path, rule):
    pruner = _pruner(tmp_path, rule)
    for number in range(20):
        pruner.update(_trial(number, 10.0, (80.0, 81.0, 82.0, 83.0)))
    assert _judge(pruner, 99, 9.0, (50.0, 51.0, 52.0)).goes_on


def test_the_worse_of_equally_fast_trials_is_stopped_with_a_sentence(tmp_path):
    pruner = _pruner(tmp_path, PrunerName.MEDIAN)
    pruner.restore([_trial(n, 10.0, (70.0 + n, 80.0 + n, 82.0, 83.0)) for n in range(5)])
    verdict = _judge(pruner, 99, 10.0, (69.0, 78.1))
    expected = "after epoch 2: 78.10 % is below the median 82.00 % of 5 trials that are as fast or faster (<= 10.20 ms)"
    assert verdict.reason == expected
    assert _judge(pruner, 98, 10.0, (69.0, 83.1)).goes_on


@pytest.mark.parametrize("rule", RULES)
def test_grace_baselines_few_peers_and_the_last_epoch_are_never_stopped(tmp_path, rule):
    pruner = _pruner(tmp_path, rule, grace_epochs=2)
    pruner.restore([_trial(n, 10.0, (80.0, 80.0, 80.0, 80.0)) for n in range(8)])
    assert _judge(pruner, 20, 10.0, (1.0, 1.0)).goes_on
    assert _judge(pruner, 21, 10.0, (1.0, 1.0, 1.0, 1.0)).goes_on
    assert _judge(pruner, 22, 10.0, (1.0, 1.0, 1.0), origin=Origin.BASELINE).goes_on
    lonely = _pruner(tmp_path, rule)
    lonely.restore([_trial(n, 10.0, (80.0, 80.0, 80.0, 80.0)) for n in range(MIN_PEERS - 1)])
    assert _judge(lonely, 23, 10.0, (1.0, 1.0)).goes_on


@pytest.mark.parametrize("rule", RULES)
def test_a_pruner_rebuilt_from_curves_decides_as_the_one_that_saw_them_grow(tmp_path, rule):
    live, curves = _pruner(tmp_path, rule), [(60.0 + n % 5, 65.0 + n % 7, 66.0 + n % 3, 70.0) for n in range(12)]
    for number, curve in enumerate(curves):
        _judge(live, number, 10.0, curve)
        live.update(_trial(number, 10.0, curve))
    rebuilt = _pruner(tmp_path, rule)
    rebuilt.restore([_trial(number, 10.0, curve) for number, curve in enumerate(curves)])
    for number in range(20, 30):
        curve = (60.0, 60.0 + number - 20)
        assert _judge(live, number, 10.0, curve) == _judge(rebuilt, number, 10.0, curve)


def test_pareto_says_what_could_not_be_reached_any_more(tmp_path):
    pruner = _pruner(tmp_path, PrunerName.PARETO)
    pruner.restore([_trial(n, 10.0 + n / 10, (70.0 + n % 3, 78.0 + n, 80.0 + n, 81.0 + n)) for n in range(6)])
    reason = _judge(pruner, 99, 10.45, (61.0, 62.0)).reason
    assert re.fullmatch(
        r"at epoch 2: 99 % upper bound \d\d\.\d % at 10\.45 ms lies under trial 4, 85\.0 % at 10\.40 ms", reason
    )
    assert _judge(pruner, 98, 10.45, (72.0, 84.0)).goes_on


def test_a_trial_that_freezes_its_backbone_longer_has_a_longer_grace(tmp_path):
    """Where a search explores how long it is frozen; a grace that is given holds for all."""
    frozen = {"config": {"training": {"freeze_epochs": 2}}}
    known = [_trial(n, 10.0, (70.0 + n, 80.0 + n, 82.0, 83.0)) for n in range(5)]
    for given, goes_on in ((None, True), (1, False)):
        pruner = _pruner(tmp_path, PrunerName.MEDIAN, grace_epochs=given)
        pruner.restore(known)
        assert _judge(pruner, 99, 10.0, (69.0, 70.0), **frozen).goes_on is goes_on
        assert not _judge(pruner, 98, 10.0, (69.0, 70.0)).goes_on
