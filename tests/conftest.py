"""Fixtures that more than one folder of tests needs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings

from search.records import Latency, Origin, Rejection, StudyRecord, TrialRecord, TrialState

# A deadline measures how busy the machine is: on shared cores the same example takes 5 ms or 500.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")


def _trial(number, top1, latency_ms, *, state=TrialState.COMPLETE, curve=None, **changes):
    """A trial with two keep rates; its curve ends in its top-1."""
    rates = (0.8, 0.5)
    stages = [{"block": 1, "keep_rate": rates[0]}, {"block": 2, "keep_rate": rates[1]}]
    record = TrialRecord(
        number=number,
        state=state,
        params={"keep1": rates[0], "keep2": rates[1], "ratio": 1.5 + number},
        config={"pruning": {"schedule": {"stages": stages}}, "training": {"epochs": 3}},
        latency=Latency(mean_ms=latency_ms, low_ms=latency_ms * 0.98, high_ms=latency_ms * 1.02),
        keep_counts=(39, 24),
        blocks=(1, 2),
        curve=(top1 - 2, top1 - 1, top1) if curve is None else tuple(curve),
        top1=top1 if state is TrialState.COMPLETE else None,
        started_at=1_700_000_000.0 + 10 * number,
        finished_at=1_700_000_008.0 + 10 * number,
    )
    return replace(record, **changes)


@pytest.fixture
def make_trial():
    """A function that makes a trial: `make_trial(number, top1, latency_ms, **changes)`."""
    return _trial


@pytest.fixture
def study(tmp_path):
    """A small finished study: dense 10 ms, budget 6 ms, one baseline, every state and both rejections."""
    trials = (
        _trial(0, 80.0, 5.8, origin=Origin.BASELINE, label="fixed [.7, .49]"),
        _trial(1, 85.0, 5.0),
        _trial(2, 88.0, 5.95),
        _trial(3, 84.0, 5.5),
        _trial(4, 0.0, 4.0, state=TrialState.PRUNED, curve=(70.0,), reason="after epoch 1: below the median"),
        _trial(5, 0.0, 4.2, state=TrialState.FAIL, curve=(), reason="worker lost"),
    )
    return StudyRecord(
        name="small",
        directory=str(tmp_path / "runs" / "small"),
        experiment={"study": {"name": "small"}, "model": {"name": "vit_tiny_patch16_224"}, "data": {"path": "data"}},
        dense_latency=Latency(mean_ms=10.0, low_ms=9.9, high_ms=10.1),
        max_latency_ms=6.0,
        num_trials=5,
        num_epochs=3,
        trials=trials,
        rejections={Rejection.TOO_SLOW: 7},
        dense_top1=90.0,
    )
