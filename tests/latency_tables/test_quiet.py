"""The process that times: what is set for the time being, and what the heap keeps."""

import os
import resource
import subprocess
import sys

import pytest
import torch

from latency_tables.device import usable_cores
from latency_tables.quiet import check_threads, keep_heap, pinned, pinned_cores, steady_process
from spvit.errors import ConfigError

FAULTS = """
import resource, sys, torch
from latency_tables.quiet import keep_heap
torch.set_num_threads(1)
if sys.argv[1] == "keep" and not keep_heap():
    print("unsupported"); raise SystemExit
def once():
    x = torch.empty(64 * 50, 64).fill_(1.0)
    return torch.nn.functional.gelu(x.repeat(1, 4)).repeat(1, 4).sum()
for _ in range(5): once()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20): once()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> str:
    return subprocess.run([sys.executable, "-c", FAULTS, mode], check=True, capture_output=True, text=True).stdout


def test_kept_heap_faults_few_pages_in_again() -> None:
    kept = faults("keep").strip()
    if kept == "unsupported":
        pytest.skip("this C library has no mallopt")
    assert int(kept) < 10_000  # of 100,000 pages that are written; a kernel may take some back by itself


def test_threads_and_gradients_are_put_back() -> None:
    threads = torch.get_num_threads()
    with steady_process(1):
        assert torch.get_num_threads() == 1
        assert torch.is_inference_mode_enabled()
    assert torch.get_num_threads() == threads
    assert not torch.is_inference_mode_enabled()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin a thread")
def test_cores_are_put_back() -> None:
    cores = os.sched_getaffinity(0)
    with pinned({min(cores)}):
        assert os.sched_getaffinity(0) == {min(cores)}
    assert os.sched_getaffinity(0) == cores


def test_setting_the_heap_twice_is_harmless() -> None:
    assert keep_heap() == keep_heap()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0


def test_as_many_threads_as_cores_are_taken_and_more_are_refused() -> None:
    check_threads(usable_cores())
    with pytest.raises(ConfigError, match=r"latency.num_threads = \d+ was set, but this process may use \d+ core"):
        check_threads(usable_cores() + 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin a thread")
def test_a_narrower_affinity_allows_fewer_threads() -> None:
    with pinned({min(os.sched_getaffinity(0))}), pytest.raises(ConfigError, match=r"may use 1 core"):
        check_threads(2)


def test_pinned_cores_are_told_in_order() -> None:
    assert pinned_cores(None) == ()
    assert pinned_cores({3, 1}) in {(1, 3), ()}
