"""What one of several workers has to do of a trial, from which the whole is forecast."""

import pytest

from search.planning import _with_memory_of_all
from search.trial_cost import _of_workers, _share
from trainers.config import TrialConfig
from trainers.step_cost import TrainingCost

CONFIG = TrialConfig.model_validate(
    {"model": {"name": "toy"}, "data": {"path": "nowhere"}, "training": {"batch_size": 12, "micro_batch_size": 5}}
)


def _cost(**changes):
    values = {"step_s": 2.0, "low_step_s": 1.0, "high_step_s": 3.0, "steps_per_epoch": 9, "evaluation_s": 6.0}
    rest = {"warm_up_s": 4.0, "build_s": 1.0, "images_timed": 4, "is_scaled": False, "peak_mib": 100.0}
    return TrainingCost(**(values | rest | changes))


@pytest.mark.parametrize(("num_workers", "batch_size", "micro"), [(1, 12, 5), (2, 6, 5), (3, 4, 4), (12, 1, 1)])
def test_a_worker_has_its_share_of_a_batch(num_workers, batch_size, micro):
    training = _share(CONFIG, num_workers).training
    assert (training.batch_size, training.micro_batch_size) == (batch_size, micro)
    assert training.model_copy(update={"batch_size": 12, "micro_batch_size": 5}) == CONFIG.training


def test_workers_take_as_many_steps_as_one_and_share_the_evaluation():
    assert _of_workers(_cost(), 1) == _cost()
    assert _of_workers(_cost(), 3) == _cost(steps_per_epoch=3, evaluation_s=2.0)
    assert _of_workers(_cost(steps_per_epoch=1), 4).steps_per_epoch == 1


def test_workers_share_what_an_elastic_trial_prices_at_its_end():
    assert _of_workers(_cost(pricing_s=12.0), 3) == _cost(steps_per_epoch=3, evaluation_s=2.0, pricing_s=4.0)


def test_memory_is_that_of_the_trial_that_needs_most():
    slowest, elastic = _cost(gpu_peak_mib=700.0), _cost(step_s=2.5, peak_mib=250.0, gpu_peak_mib=900.0)
    assert _with_memory_of_all([slowest, _cost(), elastic]) == _cost(peak_mib=250.0, gpu_peak_mib=900.0)
    assert _with_memory_of_all([_cost(peak_mib=250.0), _cost()]) == _cost(peak_mib=250.0)
