import os
import time

from trainers.process_usage import UsageMeter


def test_work_and_memory_of_this_process_are_seen():
    meter = UsageMeter()
    before = meter.take()
    held = bytearray(os.urandom(1)) * 400_000_000
    until_s = time.process_time() + 0.2
    while time.process_time() < until_s:
        pass
    after = meter.take()
    assert len(held) == 400_000_000
    # Less than what is held now, as the process may have given back what tests before this one held.
    assert after["system/process_memory_megabytes"] > before["system/process_memory_megabytes"] + 200
    assert after["system/process_cpu_percentage"] > 0
    assert 0 < after["system/cpu_utilization_percentage"] <= 100
    assert 0 < after["system/system_memory_usage_percentage"] <= 100


def test_busy_time_counts_from_the_last_call():
    seconds = iter([0.0, 10.0, 10.0])
    meter = UsageMeter(clock=lambda: next(seconds))
    until_s = time.process_time() + 0.1
    while time.process_time() < until_s:
        pass
    assert 1.0 <= meter.take()["system/process_cpu_percentage"] < 100
    assert "system/process_cpu_percentage" not in meter.take()  # no time has passed
