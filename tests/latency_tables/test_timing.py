import os
from collections.abc import Callable

import pytest
import torch

from latency_tables.clock import ThreadCpuClock, WallClock, clock_for
from latency_tables.quiet import cpu_pressure_percent, load_average, pinned, steady_process
from latency_tables.timing import MIN_ROUNDS, compare_models, interleave


class SimulatedClock:
    """Work says how long it takes; the machine slows down by half over the measurement."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.slowness = 1.0

    def seconds(self, work: Callable[[], object], num_calls: int) -> float:
        self.slowness *= 1.001
        name, seconds = work()  # type: ignore[misc]
        self.calls += [name]
        return float(seconds * num_calls * self.slowness)


def work(name: str, seconds: float) -> Callable[[], object]:
    return lambda: (name, seconds)


def test_ratios_are_exact_on_a_machine_that_only_drifts() -> None:
    clock = SimulatedClock()
    timed = interleave(
        {"half": work("half", 0.01), "double": work("double", 0.04)}, work("ref", 0.02), clock=clock, num_rounds=30
    )
    assert clock.slowness > 1.1
    assert timed.ratio("half").median == pytest.approx(0.5, rel=1e-3)
    assert timed.ratio("double").median == pytest.approx(2.0, rel=1e-3)


def test_every_sample_stands_between_two_references_and_the_order_changes() -> None:
    clock = SimulatedClock()
    names = ["a", "b", "c", "d"]
    interleave({name: work(name, 0.01) for name in names}, work("ref", 0.01), clock=clock, num_rounds=10)
    measured = clock.calls[-(2 * len(names) * 10 + 1) :]
    assert measured[0::2] == ["ref"] * 41
    rounds = [tuple(measured[1::2][i : i + 4]) for i in range(0, 40, 4)]
    assert all(sorted(order) == names for order in rounds)
    assert len(set(rounds)) > 1


def test_short_work_is_called_several_times_per_sample() -> None:
    timed = interleave({"short": work("short", 0.001)}, work("ref", 0.01), clock=SimulatedClock(), num_rounds=3)
    assert timed.workloads["short"].seconds[0] == pytest.approx(0.001, rel=0.05)
    assert timed.reference_ms == pytest.approx(10.0, rel=0.05)


@pytest.mark.parametrize(("max_calls", "expected"), [(1, {1}), (4, {1, 4})])
def test_samples_are_no_more_calls_in_a_row_than_allowed(max_calls: int, expected: set[int]) -> None:
    seen: list[int] = []

    class CountingClock(SimulatedClock):
        def seconds(self, work: Callable[[], object], num_calls: int) -> float:
            seen.append(num_calls)
            return super().seconds(work, num_calls)

    interleave(
        {"short": work("short", 0.001)}, work("ref", 0.01), clock=CountingClock(), num_rounds=3, max_calls=max_calls
    )
    assert set(seen[4:]) == expected  # after two warm-ups and their timings


def test_a_spent_time_limit_leaves_the_fewest_rounds() -> None:
    finished: list[float] = []
    timed = interleave(
        {"a": work("a", 0.01)},
        work("ref", 0.01),
        clock=SimulatedClock(),
        num_rounds=1000,
        time_limit_s=1e-9,
        on_round=finished.append,
    )
    assert len(timed.workloads["a"].ratios) == MIN_ROUNDS == len(finished)


def test_a_model_of_a_tenth_of_the_work_is_seen_to_be_faster() -> None:
    large, small = torch.randn(400, 400), torch.randn(40, 400)
    compared = compare_models(
        {"dense": lambda x: large @ x, "small": lambda x: small @ x, "same": lambda x: large @ x}, large, num_rounds=15
    )
    assert compared["small"].ratio.high < compared["same"].ratio.low
    assert compared["small"].speedup > 1.0
    assert compared["dense"].p50_ms <= compared["dense"].p95_ms
    assert compared["dense"].ratio.num_samples == 2 * 15 - 1


def test_complete_models_are_called_once_for_each_sample() -> None:
    """Also one that is far shorter: its second call in a row would find the caches as it left them itself."""
    calls: list[str] = []

    def model(name: str, size: int) -> Callable[[torch.Tensor], object]:
        def run(x: torch.Tensor) -> object:
            calls.append(name)
            return x[:size] @ x

        return run

    compare_models({"dense": model("dense", 500), "small": model("small", 1)}, torch.randn(500, 500), num_rounds=5)
    assert calls[-11:] == ["dense", *["small", "dense"] * 5]


def test_a_dense_model_alone_is_compared_with_itself() -> None:
    x = torch.randn(100, 100)
    assert set(compare_models({"dense": lambda y: x @ y}, x, num_rounds=5)) == {"dense"}


def test_models_without_a_dense_one_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match=r"One of the models must be called 'dense', but got \['a'\]"):
        compare_models({"a": lambda x: x}, None)


def interrupted_work(core: int) -> None:
    assert torch.get_num_threads() == 3
    assert os.sched_getaffinity(0) == {core}
    assert torch.is_inference_mode_enabled()
    raise KeyboardInterrupt


def test_the_process_is_put_back_after_timing() -> None:
    threads, cores = torch.get_num_threads(), os.sched_getaffinity(0)
    with pytest.raises(KeyboardInterrupt), steady_process(3, {min(cores)}):
        interrupted_work(min(cores))
    assert (torch.get_num_threads(), os.sched_getaffinity(0)) == (threads, cores)
    assert not torch.is_inference_mode_enabled()


def test_no_cores_leave_the_thread_free() -> None:
    before = os.sched_getaffinity(0)
    with pinned(None):
        assert os.sched_getaffinity(0) == before


def test_one_thread_is_timed_by_its_cpu_time_and_more_by_the_wall() -> None:
    assert isinstance(clock_for("cpu", 1), ThreadCpuClock)
    assert isinstance(clock_for("cpu", 2), WallClock)


def test_the_machines_business_is_told_in_sound_numbers() -> None:
    pressure = cpu_pressure_percent()
    assert load_average() >= 0.0
    assert pressure is None or 0.0 <= pressure <= 100.0
