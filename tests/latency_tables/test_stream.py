"""Every batch is really run, in every round."""

from collections import Counter

import pytest

from latency_tables.stream import compare_on_batches


def work(steps: int) -> int:
    return sum(range(steps))


def test_all_batches_are_run_equally_often():
    seen: Counter[str] = Counter()
    compare_on_batches({"dense": lambda name: seen.update([name])}, ["a", "b", "c"], num_rounds=3)
    assert len(set(seen.values())) == 1
    assert set(seen) == {"a", "b", "c"}


def test_no_batches_is_an_error():
    with pytest.raises(ValueError, match="At least one batch"):
        compare_on_batches({"dense": work}, [])
