"""A search that was interrupted proposes, decides and finds what an undisturbed one does, one trial at a time."""

import tempfile
from functools import cache
from pathlib import Path

import pytest
import tabulated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search.retries import root_of
from search.search_config import SamplerName
from search.study import read_study
from search.verify import Expected, verify_study

pytestmark = pytest.mark.usefixtures("few_candidates")

NUM_TRIALS = 6


def _config(folder, sampler):
    return tabulated.experiment(folder, num_trials=NUM_TRIALS, num_concurrent=1, sampler=sampler)


def _interrupted(folder, sampler, kill_points):
    """Drivers that die after so many reports each, and one that runs to the end."""
    config = _config(folder, sampler)
    for num_reports in kill_points:
        tabulated.run(tabulated.make_driver(config), max_reports=num_reports)
    driver = tabulated.make_driver(config)
    tabulated.run(driver)
    driver.finish()
    return read_study(folder / "toy")


@cache
def _undisturbed(sampler):
    with tempfile.TemporaryDirectory() as folder:
        return _interrupted(Path(folder), sampler, ())


def _found(study):
    """The last attempt of each trial, in the order in which they were proposed."""
    last = {root_of(trial): trial for trial in study.trials}
    return [(t.params, t.label, t.keep_counts, t.state, t.curve, t.top1, t.latency) for _, t in sorted(last.items())]


@settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow])
@given(
    sampler=st.sampled_from([SamplerName.TPE, SamplerName.RANDOM, SamplerName.KNOWN_LATENCY]),
    kill_points=st.lists(st.integers(min_value=0, max_value=12), min_size=1, max_size=3),
)
def test_an_interrupted_search_is_an_undisturbed_one(sampler, kill_points):
    undisturbed = _undisturbed(sampler)
    with tempfile.TemporaryDirectory() as folder:
        study = _interrupted(Path(folder), sampler, kill_points)
        report = verify_study(Path(folder) / "toy", Expected(undisturbed=undisturbed))
    assert _found(study) == _found(undisturbed)
    assert report.violations == ()
    assert study.rejections == undisturbed.rejections


@pytest.mark.parametrize("num_reports", [5, 14])
def test_what_is_proposed_depends_on_the_study_alone_while_several_run(tmp_path, num_reports):
    config = tabulated.experiment(tmp_path, num_concurrent=3)
    driver = tabulated.make_driver(config)
    tabulated.run(driver, max_reports=num_reports)
    turn = sum(trial.retry_of is None for trial in read_study(tmp_path / "toy").trials)
    proposals = []
    for _ in range(2):
        store, proposer = tabulated.make_store(config), tabulated.make_proposer(config)
        proposer.restore(store.trials, store.record().rejections)
        proposals.append(proposer.propose(len(store.trials), turn=turn))
    assert proposals[0] == proposals[1]
