"""A study of many finished trials as a record, in no time: what a search leaves behind, without the search."""

from __future__ import annotations

import random
from pathlib import Path

from search.records import Latency, StudyRecord, TrialRecord, TrialState

NUM_EPOCHS = 3


def large_record(directory: Path, *, num_trials: int) -> StudyRecord:
    """Trials whose accuracy grows with their latency, with noise, all within the budget."""
    draw = random.Random(0)
    return StudyRecord(
        name=directory.name,
        directory=str(directory),
        experiment={"study": {"name": directory.name}, "model": {"name": "vit_tiny_patch16_224"}},
        dense_latency=Latency(mean_ms=10.0, low_ms=9.9, high_ms=10.1),
        max_latency_ms=8.0,
        num_trials=num_trials,
        num_epochs=NUM_EPOCHS,
        trials=tuple(_trial(number, draw) for number in range(num_trials)),
        dense_top1=90.0,
    )


def _trial(number: int, draw: random.Random) -> TrialRecord:
    latency_ms = draw.uniform(2.0, 8.0)
    top1 = 60.0 + 3.0 * latency_ms + draw.gauss(0.0, 1.0)
    rates = (round(draw.uniform(0.5, 1.0), 4), round(draw.uniform(0.1, 0.5), 4))
    stages = [{"block": block, "keep_rate": rate} for block, rate in enumerate(rates, start=1)]
    return TrialRecord(
        number=number,
        state=TrialState.COMPLETE,
        params={"keep1": rates[0], "keep2": rates[1], "ratio": draw.uniform(0.1, 4.0)},
        config={"pruning": {"schedule": {"stages": stages}}, "training": {"epochs": NUM_EPOCHS}},
        latency=Latency(mean_ms=latency_ms, low_ms=0.98 * latency_ms, high_ms=1.02 * latency_ms),
        keep_counts=(39, 24),
        blocks=(1, 2),
        curve=(top1 - 2.0, top1 - 1.0, top1),
        top1=top1,
        started_at=1_700_000_000.0 + 10 * number,
        finished_at=1_700_000_008.0 + 10 * number,
    )
