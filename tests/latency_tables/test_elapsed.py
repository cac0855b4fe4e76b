import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency_tables.clock import ThreadCpuClock
from latency_tables.elapsed import ElapsedRecorder, ElapsedTime
from latency_tables.timing import compare_models

SECONDS = st.lists(st.floats(min_value=1e-6, max_value=10.0), min_size=1, max_size=40)


@given(seconds=SECONDS, count=st.integers(min_value=1, max_value=9))
def test_the_median_lies_in_its_interval_and_within_the_samples(seconds, count):
    time_ = ElapsedTime.from_seconds(seconds)
    assert 1000 * min(seconds) <= time_.low_ms * (1 + 1e-9)
    assert time_.low_ms <= time_.p50_ms <= time_.high_ms
    assert time_.high_ms <= 1000 * max(seconds) * (1 + 1e-9)
    assert time_.p50_ms <= time_.p95_ms * (1 + 1e-9)
    assert time_.divided(count).p50_ms * count == pytest.approx(time_.p50_ms)


def test_no_samples_are_no_time():
    with pytest.raises(ValueError, match="samples above 0"):
        ElapsedTime.from_seconds([])


def test_the_wall_sees_what_the_cpu_clock_does_not():
    recorder = ElapsedRecorder(ThreadCpuClock())

    def sleep():
        time.sleep(0.02)

    def other():
        return None

    cpu_s = sum(recorder.seconds(sleep, 1) for _ in range(3))
    recorder.seconds(other, 1)
    assert recorder.of(sleep, 3).low_ms >= 20.0 > 1000 * cpu_s / 3
    assert recorder.of(other, 1).p50_ms < 20.0


def test_every_model_of_a_comparison_has_its_elapsed_time():
    models = {"dense": lambda pause_s: time.sleep(2 * pause_s), "pruned": time.sleep}
    compared = compare_models(models, 0.005, num_rounds=3, num_threads=1)
    assert compared["dense"].elapsed.low_ms >= 10.0
    assert compared["pruned"].elapsed.low_ms >= 5.0
