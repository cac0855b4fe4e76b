"""How many trials a machine or a cluster holds at once, and what a plan says of what does not fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.cluster_fit import Node, cluster_fit
from search.ray_nodes import node_of
from search.search_config import SearchConfig
from search.trial_resources import TrialResources, TrialWorkersConfig

GPUS = Node(num_cpus=16, num_gpus=4, memory_mib=64_000)
LAPTOP = Node(num_cpus=2, num_gpus=0, memory_mib=4000)


def _fit(nodes, *, num_concurrent, num_threads, trial=None, worker_mib=None, is_local=True, **search):
    config = TrialWorkersConfig.model_validate(trial or {})
    resources = TrialResources.from_config(config, SearchConfig(**search))
    limits = {"num_threads": num_threads, "worker_mib": worker_mib, "is_local": is_local}
    return cluster_fit(nodes, resources, num_concurrent=num_concurrent, **limits)


@pytest.mark.parametrize(
    ("nodes", "search", "num_at_once"),
    [
        ([LAPTOP], {"num_concurrent": 2}, 2),
        ([LAPTOP], {"num_concurrent": 8}, 8),  # a Ray of our own gives out more CPUs than there are
        ([LAPTOP], {"num_concurrent": 2, "gpus_per_trial": 1.0}, 0),
        ([GPUS], {"num_concurrent": 8, "gpus_per_trial": 1.0}, 4),
        ([GPUS], {"num_concurrent": 99, "gpus_per_trial": 0.4}, 8),
        ([GPUS, GPUS], {"num_concurrent": 99, "gpus_per_trial": 3.0}, 2),  # never on GPUs of two machines
        ([GPUS, GPUS], {"num_concurrent": 99, "trial": {"workers": 3, "resources_per_worker": {"gpus": 1}}}, 2),
        ([LAPTOP], {"num_concurrent": 2, "trial": {"resources_per_worker": {"memory_mib": 3000}}}, 1),
    ],
)
def test_trials_at_once_are_what_the_machines_hold(nodes, search, num_at_once):
    fit = _fit(nodes, num_threads=1, **search)
    assert fit.num_at_once == num_at_once
    assert fit.num_at_full_speed <= fit.num_at_once
    wanted = search["num_concurrent"]
    assert any("fit" in text or "instead of" in text for text in fit.problems) == (num_at_once < wanted)


def test_a_cluster_gives_out_no_more_cpus_than_it_has():
    nodes = [LAPTOP, Node(num_cpus=10, num_gpus=0)]
    fit = _fit(nodes, num_concurrent=8, cpus_per_trial=3.0, num_threads=3, is_local=False)
    assert fit.num_at_once == 3
    assert fit.problems == ("3 trials run at once instead of search.num_concurrent = 8: there are 12 CPUs and 0 GPUs",)


def test_trials_that_share_cpus_run_at_the_pace_of_fewer():
    fit = _fit([LAPTOP], num_concurrent=3, num_threads=2)
    assert (fit.num_at_once, fit.num_at_full_speed) == (3, 1.0)
    assert "3 trials of 2 threads share 2 CPUs" in fit.problems[0]


def test_memory_that_does_not_suffice_is_named():
    assert _fit([LAPTOP], num_concurrent=2, num_threads=1, worker_mib=1900).problems == ()
    (text,) = _fit([LAPTOP], num_concurrent=2, num_threads=1, worker_mib=2100).problems
    assert "2 trials of about 2100 MiB need more memory than the 4000 MiB" in text


GIB = 1 << 30
CLUSTER = (  # as Ray says what its machines have: a head that trains nothing, two machines with GPUs, one without
    {"memory": 8.0 * GIB, "object_store_memory": 1.0 * GIB, "node:__internal_head__": 1.0},
    {"CPU": 8.0, "GPU": 2.0, "memory": 32.0 * GIB, "accelerator_type:A10G": 1.0},
    {"CPU": 8.0, "GPU": 2.0, "memory": 32.0 * GIB},
    {"CPU": 6.0, "memory": 8.0 * GIB},
)


def _on_cluster(**wanted):
    return _fit([node_of(has) for has in CLUSTER], is_local=False, **{"num_threads": 1, **wanted})


def test_a_machine_is_what_ray_says_it_has():
    assert node_of(CLUSTER[0]) == Node(num_cpus=0.0, num_gpus=0.0, memory_mib=8192.0)
    assert node_of(CLUSTER[1]) == Node(num_cpus=8.0, num_gpus=2.0, memory_mib=32_768.0)
    assert node_of({}) == Node(num_cpus=0.0, num_gpus=0.0, memory_mib=None)


@pytest.mark.parametrize(
    ("wanted", "num_at_once"),
    [
        ({"cpus_per_trial": 4.0}, 5),  # 2, 2 and 1: two CPUs of the last machine are left
        ({"gpus_per_trial": 1.0, "cpus_per_trial": 1.0}, 4),
        ({"gpus_per_trial": 0.5, "cpus_per_trial": 3.0}, 4),  # as the CPUs of the machines with GPUs allow
        ({"trial": {"workers": 5, "resources_per_worker": {"cpus": 4}}}, 1),  # over three machines
        ({"trial": {"resources_per_worker": {"cpus": 1, "memory_mib": 16_000}}}, 4),
    ],
)
def test_a_plan_counts_what_a_cluster_holds_at_once(wanted, num_at_once):
    fit = _on_cluster(num_concurrent=20, **wanted)
    assert fit.num_at_once == num_at_once
    there = "there are 22 CPUs and 4 GPUs"
    assert f"{num_at_once} trials run at once instead of search.num_concurrent = 20: {there}" in fit.problems
    assert _on_cluster(num_concurrent=num_at_once, **wanted).problems == ()


@pytest.mark.parametrize(
    ("wanted", "needs"),
    [
        ({"cpus_per_trial": 9.0}, "each of its 1 workers needs 9 CPUs on one machine"),
        ({"gpus_per_trial": 3.0, "cpus_per_trial": 1.0}, "each of its 1 workers needs 1 CPUs, 3 GPUs on one machine"),
        (
            {"trial": {"workers": 5, "resources_per_worker": {"cpus": 1, "gpus": 1}}},
            "each of its 5 workers needs 1 CPUs, 1 GPUs on one machine",
        ),
        (
            {"trial": {"resources_per_worker": {"cpus": 1, "memory_mib": 40_000}}},
            "each of its 1 workers needs 1 CPUs, 40000 MiB on one machine",
        ),
    ],
)
def test_a_plan_says_which_trial_no_machine_of_a_cluster_holds(wanted, needs):
    fit = _on_cluster(num_concurrent=2, **wanted)
    assert fit.num_at_once == 0
    (problem,) = fit.problems
    assert problem.startswith(f"no trial fits: {needs}")
    assert problem.endswith("but there are 22 CPUs and 4 GPUs on 4")


def test_a_plan_says_where_a_cluster_has_too_little_memory():
    assert _on_cluster(num_concurrent=20, cpus_per_trial=1.0, worker_mib=4000.0).problems == ()
    (problem,) = _on_cluster(num_concurrent=20, cpus_per_trial=1.0, worker_mib=4100.0).problems
    assert "20 trials of about 4100 MiB need more memory than the 81920 MiB that are free" in problem


@given(
    cpus=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    workers=st.integers(1, 4),
    cpus_each=st.integers(1, 4),
)
def test_workers_lie_wherever_there_is_room(cpus, workers, cpus_each):
    """Against giving out one worker after the other until no machine has room."""
    left, num_placed = list(cpus), 0
    while (at := next((i for i, free in enumerate(left) if free >= cpus_each), None)) is not None:
        left[at] -= cpus_each
        num_placed += 1
    trial = {"workers": workers, "resources_per_worker": {"cpus": cpus_each}}
    nodes = [node_of({"CPU": float(num)} if num else {}) for num in cpus]
    fit = _fit(nodes, num_concurrent=99, num_threads=1, trial=trial, is_local=False)
    assert fit.num_at_once == num_placed // workers
