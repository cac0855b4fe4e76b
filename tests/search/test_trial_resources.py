"""What a trial with several workers takes, and whether machines hold it."""

import pytest
import tabulated
from hypothesis import given
from hypothesis import strategies as st

from search.config import ExperimentConfig
from search.experiment import validate
from search.search_config import SearchConfig
from search.study_identity import check_same
from search.trial_bundles import num_bundles, placement_problem
from search.trial_resources import Placement, TrialResources, TrialWorkersConfig
from spvit.errors import ConfigError

MIB = 2**20


def _experiment(tmp_path, trial=None, **search):
    values = tabulated.experiment(tmp_path, **search).model_dump(mode="json")
    return values | {"trial": trial or {}}


def _resources(trial=None, **search):
    return TrialResources.from_config(TrialWorkersConfig.model_validate(trial or {}), SearchConfig(**search))


def test_one_worker_takes_what_search_says():
    assert _resources(cpus_per_trial=3.0, gpus_per_trial=0.5) == TrialResources(
        cpus_per_worker=3.0, gpus_per_worker=0.5
    )


def test_each_worker_takes_a_bundle():
    found = _resources(
        {"workers": 4, "resources_per_worker": {"cpus": 2, "gpus": 1, "memory_mib": 100}, "placement": "spread"}
    )
    assert found.bundle() == {"CPU": 2.0, "GPU": 1.0, "memory": 100 * MIB}
    assert (found.cpus, found.gpus, found.placement) == (8.0, 4.0, Placement.SPREAD)
    assert TrialResources(cpus_per_worker=0.5).threads_per_worker == 1


@pytest.mark.parametrize(
    ("trial", "search", "text"),
    [
        ({"workers": 2}, {"cpus_per_trial": 4.0}, r"trial\.resources_per_worker\.cpus, not search\.cpus_per_trial = 4"),
        ({"workers": 2}, {"gpus_per_trial": 1.0}, r"trial\.resources_per_worker\.gpus, not search\.gpus_per_trial = 1"),
        ({"resources_per_worker": {"cpus": 4}}, {"cpus_per_trial": 4.0}, "in one place"),
        ({"workers": 2, "resources_per_worker": {"gpus": 0.5}}, {}, "cannot share a GPU"),
        ({}, {"gpus_per_trial": 1.5}, "a part of one GPU or whole ones, but 1.5"),
        ({"workers": 3}, {}, r"\n  training\.batch_size = 256 images are shared equally by trial\.workers = 3"),
        ({"workers": 0}, {}, r"trial\.workers.*1 or more"),
        ({"resources_per_worker": {"memory": 5}}, {}, "did you mean `trial.resources_per_worker.memory_mib`"),
    ],
)
def test_what_cannot_be_given_is_refused(tmp_path, trial, search, text):
    values = _experiment(tmp_path, trial)
    values["search"] |= search
    with pytest.raises(ConfigError, match=text):
        validate(values, source="x.toml")


def test_a_study_may_go_on_with_other_workers(tmp_path):
    old = _experiment(tmp_path)
    del old["trial"]  # a study from before there were workers
    new = ExperimentConfig.model_validate(_experiment(tmp_path, {"workers": 4})).model_dump(mode="json")
    check_same("toy", stored=old, given=new, stored_table="", given_table="")


@given(
    has=st.integers(0, 40),
    needs=st.floats(0.01, 12.0),
    memory=st.integers(0, 10),
)
def test_a_machine_holds_as_many_bundles_as_fit_one_after_the_other(has, needs, memory):
    left, count = float(has), 0
    while left >= needs - 1e-9 and count < memory:
        left, count = left - needs, count + 1
    assert num_bundles({"CPU": has, "memory": memory}, {"CPU": needs, "memory": 1}) == count


def test_parts_of_a_gpu_lie_on_one():
    assert num_bundles({"GPU": 2}, {"GPU": 0.4}) == 4
    assert num_bundles({"GPU": 1}, {"GPU": 0.25}) == 4
    assert num_bundles({}, {"GPU": 0.25}) == 0


@pytest.mark.parametrize(
    ("trial", "text"),
    [
        ({"workers": 3, "resources_per_worker": {"cpus": 3}}, r"3 workers with 3 CPUs each .* has room for 2: 8 CPUs"),
        ({"resources_per_worker": {"cpus": 5}}, r"needs a worker with 5 CPUs.*no machine has enough cpus"),
        ({"resources_per_worker": {"gpus": 1}}, r"enough gpus.*0 GPUs on 2 machines"),
        ({"resources_per_worker": {"memory_mib": 200}}, r"200 MiB each.*enough memory_mib.*200 MiB on 2"),
    ],
)
def test_what_no_cluster_would_ever_start_is_named(trial, text):
    nodes = [{"CPU": 4, "memory": 100 * MIB}] * 2
    problem = placement_problem(nodes, _resources(trial))
    assert problem is not None
    with pytest.raises(ValueError, match=text):
        raise ValueError(problem)
    assert placement_problem(nodes, _resources({"workers": 8})) is None
