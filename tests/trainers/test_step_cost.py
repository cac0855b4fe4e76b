"""Timing a few steps trains what it times, and says how many of them an epoch has."""

import pytest
from tiny import MODEL, save_noise

from spvit.errors import DataError
from spvit.schedule import PruningSchedule
from trainers import step_cost
from trainers.config import TrialConfig
from trainers.epoch_training import EpochTraining
from trainers.step_cost import TrainingCost, measure_training


@pytest.fixture(scope="module")
def data_path(tmp_path_factory):
    return save_noise(tmp_path_factory.mktemp("data"), train=100, val=40)


def _config(path, rates=(0.6, 0.3), **training):
    settings = {"epochs": 3, "batch_size": 20, "device": "cpu", "num_threads": 1, "selector_warmup_steps": 40}
    schedule = PruningSchedule.from_keep_rates(rates, range(1, len(rates) + 1))
    return TrialConfig.model_validate(
        {
            "model": MODEL,
            "data": {"format": "npz", "path": path, "augmentation": "none"},
            "training": settings | training,
            "pruning": {
                "schedule": {"stages": [{"block": s.block, "keep_rate": s.keep_rate} for s in schedule.stages]}
            },
        }
    )


@pytest.mark.parametrize("training", [{}, {"freeze_epochs": 0, "micro_batch_size": 7, "ema_decay": 0.9}])
def test_a_cost_has_the_counts_of_a_whole_training(data_path, training):
    cost = measure_training(_config(data_path, **training))
    assert cost.steps_per_epoch == 5
    assert (cost.images_timed, cost.is_scaled) == (20, False)
    assert cost.warm_up_s > 0.0
    assert cost.peak_mib > 50.0
    assert cost.gpu_peak_mib is None
    assert cost.epoch_s(cost.step_s) == 5 * cost.step_s + cost.evaluation_s


def test_without_selectors_that_learn_there_is_no_warm_up(data_path):
    assert measure_training(_config(data_path, selector_warmup_steps=0)).warm_up_s == 0.0
    assert measure_training(_config(data_path, rates=())).warm_up_s == 0.0


def test_where_whole_batches_take_too_long_small_ones_are_scaled_up(data_path):
    cost = measure_training(_config(data_path), time_limit_s=1e-9)
    assert (cost.images_timed, cost.is_scaled) == (step_cost.PILOT_IMAGES, True)
    assert cost.steps_per_epoch == 5


def test_what_is_timed_are_real_steps_on_the_trials_own_batches(data_path, monkeypatch):
    sizes = []
    original = EpochTraining._accumulate

    def noted(self, module, images, targets, temperature):
        sizes.append(len(images))
        return original(self, module, images, targets, temperature)

    monkeypatch.setattr(EpochTraining, "_accumulate", noted)
    measure_training(_config(data_path))
    assert sizes == [step_cost.PILOT_IMAGES] * 2 + [20] * 5


def test_rates_that_ruin_a_model_cost_what_others_do(data_path):
    cost = measure_training(_config(data_path, lr=1e20, min_lr=0.0, selector_warmup_lr=1e20, freeze_epochs=0))
    assert cost.warm_up_s > 0.0


def test_data_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError):
        measure_training(_config(tmp_path / "nowhere"))


def test_times_must_be_in_order():
    with pytest.raises(ValueError, match="positive and in order"):
        TrainingCost(
            step_s=1.0, low_step_s=2.0, high_step_s=3.0, steps_per_epoch=1, evaluation_s=1.0, warm_up_s=0.0,
            build_s=0.0, images_timed=1, is_scaled=False, peak_mib=1.0,
        )  # fmt: skip


def test_an_elastic_trial_trains_what_it_draws_and_evaluates_many_schedules(data_path):
    elastic = {"num_priced": 3, "num_priced_last": 9, "priced_images": 20}
    config = TrialConfig.model_validate(_config(data_path).to_dict() | {"elastic": elastic})
    cost = measure_training(config)
    assert cost.low_step_s < cost.step_s < cost.high_step_s
    assert 0.0 < cost.evaluation_s < cost.pricing_s
    assert cost.steps_per_epoch == 5
