"""What a search will cost: epochs, hours, how many trials run at once, and settings that make no sense together."""

import pytest
import tabulated
from hypothesis import given
from hypothesis import strategies as st

from search.config import ExperimentConfig
from search.contradictions import contradictions
from search.forecast import (
    MIN_TRIALS,
    ElasticLoad,
    Interval,
    KeptShare,
    TrialSeconds,
    as_trained,
    forecast,
    kept_share_of,
    kept_share_of_study,
    prior_kept_share,
    sure_epochs,
)
from search.records import Origin
from search.study import read_study

pytestmark = pytest.mark.usefixtures("few_candidates")

SECONDS = TrialSeconds(epoch=Interval(low=10.0, high=30.0, middle=20.0), warm_up=100.0, start=5.0)


def _experiment(tmp_path, *, training=None, **search):
    values = tabulated.experiment(tmp_path, **search).model_dump(mode="json")
    values["training"] |= training or {}
    return ExperimentConfig.model_validate(values)


def test_before_anything_is_known_epochs_go_from_the_sure_ones_to_all(tmp_path):
    config = _experiment(tmp_path, num_trials=10, grace_epochs=1)  # 4 epochs, and a fixed schedule
    kept = prior_kept_share(config)
    found = forecast(config, SECONDS, kept, num_at_once=2.0)
    assert found.num_trials == 11
    assert found.num_epochs == Interval(low=4 + 10 * 2, high=4 + 10 * 4)
    assert found.trial_hours.low == pytest.approx((24 * 10 + 11 * 5 + 100) / 3600)
    assert found.trial_hours.high == pytest.approx((44 * 30 + 11 * 5 + 100) / 3600)
    assert found.hours.high == pytest.approx(found.trial_hours.high / 2)


@pytest.mark.parametrize("search", [{"pruner": "none"}, {"grace_epochs": 3}, {"grace_epochs": 9}])
def test_where_nothing_can_be_stopped_the_number_of_epochs_is_known(tmp_path, search):
    config = _experiment(tmp_path, num_trials=10, **search)
    found = forecast(config, SECONDS, prior_kept_share(config), num_at_once=1.0)
    assert found.num_epochs == Interval(low=44, high=44, middle=44)


@given(
    share=st.floats(0.0, 1.0), num_trials=st.integers(1, 40), at_once=st.floats(1.0, 16.0), num_done=st.integers(0, 50)
)
def test_a_forecast_is_in_order_and_never_negative(tmp_path_factory, share, num_trials, at_once, num_done):
    config = _experiment(tmp_path_factory.getbasetemp(), num_trials=num_trials)
    kept = KeptShare(share=Interval(low=share / 2, high=(share + 1) / 2, middle=share), source="here")
    found = forecast(config, SECONDS, kept, num_at_once=at_once, num_done=num_done)
    for interval in (found.num_epochs, found.trial_hours, found.hours):
        assert 0.0 <= interval.low <= interval.middle <= interval.high
    assert found.num_trials == max(0, num_trials - num_done) + (num_done == 0)
    assert found.hours.high <= found.trial_hours.high


def test_trials_that_have_ended_cost_nothing_more(tmp_path):
    config = _experiment(tmp_path, num_trials=10)
    kept = prior_kept_share(config)
    left = forecast(config, SECONDS, kept, num_at_once=1.0, num_done=6)
    assert left.num_epochs.high == 4 * 4
    assert forecast(config, SECONDS, kept, num_at_once=1.0, num_done=10).num_trials == 0


@given(num_epochs=st.lists(st.integers(2, 12), min_size=MIN_TRIALS, max_size=60))
def test_the_share_of_epochs_is_the_mean_of_those_that_are_not_sure(num_epochs):
    kept = kept_share_of(num_epochs, sure=2, epochs=12, source="here")
    assert kept.share.low <= kept.share.middle <= kept.share.high
    mean = sum((num - 2) / 10 for num in num_epochs) / len(num_epochs)
    assert kept.share.middle == pytest.approx(mean, abs=0.05)


def test_a_few_trials_or_none_that_could_be_stopped_say_nothing():
    assert kept_share_of([3] * (MIN_TRIALS - 1), sure=2, epochs=12, source="") is None
    assert kept_share_of([3] * 20, sure=12, epochs=12, source="") is None
    assert kept_share_of([1] * 20, sure=2, epochs=12, source="") is None  # diverged, not stopped by the pruner


def test_a_studys_own_trials_are_believed_once_enough_have_ended(tmp_path):
    config = _experiment(tmp_path, num_trials=12, sampler="random")
    driver = tabulated.make_driver(config)
    tabulated.run(driver, max_reports=5)
    assert kept_share_of_study(read_study(tmp_path / "toy"), config) is None
    tabulated.run(tabulated.make_driver(config))
    study = read_study(tmp_path / "toy")
    kept = kept_share_of_study(study, config)
    assert kept.source == "the 12 trials of this study that have ended"
    counted = [trial.num_epochs for trial in study.trials if trial.origin is not Origin.BASELINE]
    assert kept.share.middle == pytest.approx(sum((num - 2) / 2 for num in counted) / 12)


def test_every_trial_trains_until_it_is_judged_first(tmp_path):
    assert sure_epochs(_experiment(tmp_path, grace_epochs=2)) == 3
    assert sure_epochs(_experiment(tmp_path, grace_epochs=None, training={"freeze_epochs": 1})) == 3
    assert sure_epochs(_experiment(tmp_path, grace_epochs=9)) == 4
    assert sure_epochs(_experiment(tmp_path, pruner="none")) == 4


@pytest.mark.parametrize(
    ("search", "training", "text"),
    [
        ({"num_startup_trials": 8}, {}, r"search\.num_startup_trials = 8 leaves the sampler known_latency none"),
        ({"num_concurrent": 9}, {}, r"search\.num_concurrent = 9 is more than search\.num_trials = 8"),
        ({"patience_trials": 8}, {}, r"search\.patience_trials = 8 never ends"),
        ({"patience_trials": 3}, {}, r"search\.patience_trials = 3 can end the search within"),
        ({"grace_epochs": 3}, {}, r"no trial can be stopped early: search\.grace_epochs = 3 leaves none"),
        ({"grace_epochs": None}, {"freeze_epochs": 2}, r"no trial can be stopped early: training\.freeze_epochs \+ 1"),
        ({}, {"freeze_epochs": 4}, "the backbone never learns"),
        ({}, {"warmup_epochs": 4.0}, r"the learning rate never reaches training\.lr"),
        ({}, {"images_per_epoch": 10, "batch_size": 20}, "an epoch is one step"),
        ({}, {"device": "cuda:0"}, "trials are given no GPU"),
        ({"gpus_per_trial": 1.0}, {"device": "cpu"}, r'given 1 GPUs, but training\.device = "cpu" uses none'),
    ],
)
def test_settings_that_contradict_each_other_are_named(tmp_path, search, training, text):
    assert contradictions(_experiment(tmp_path)) == ()
    found = contradictions(_experiment(tmp_path, training=training, **search))
    with pytest.raises(ValueError, match=text):
        raise ValueError("\n".join(found))


@pytest.mark.parametrize(
    ("search", "training", "text"),
    [
        (
            {"num_trials": 4, "elastic": {"num_bands": 5}},
            {},
            r"search\.elastic\.num_bands = 5 leaves the sampler known_latency none of search\.num_trials = 4",
        ),
        (
            {"patience_trials": 5, "elastic": {"num_bands": 5}},
            {},
            r"search\.patience_trials = 5 can end the search within the search\.elastic\.num_bands = 5",
        ),
        (
            {"grace_epochs": 2, "elastic": {"contender_epochs": 3}},
            {},
            r"search\.grace_epochs = 2 leaves none of the 3 epochs from elastic weights \(search\.elastic\.contender_",
        ),
        (
            {"grace_epochs": None},
            {"freeze_epochs": 6},
            r"the share of training\.freeze_epochs \+ 1 = 3 leaves none of the 4 epochs from elastic weights",
        ),
    ],
)
def test_with_elastic_trials_contradictions_are_those_of_the_schedules_that_follow(tmp_path, search, training, text):
    usual = {"mode": "auto", "num_trials": 8, "num_startup_trials": 8, "elastic": {"num_bands": 3}}
    assert contradictions(_experiment(tmp_path, training={"epochs": 12}, **usual)) == ()
    found = contradictions(_experiment(tmp_path, training={"epochs": 12} | training, **(usual | search)))
    assert len(found) == 1
    with pytest.raises(ValueError, match=text):
        raise ValueError(found[0])


def test_elastic_trials_alone_know_no_number_of_schedules(tmp_path):
    search = {"num_trials": 2, "num_concurrent": 3, "patience_trials": 2, "grace_epochs": 4}
    assert len(contradictions(_experiment(tmp_path, **search))) == 5
    assert contradictions(_experiment(tmp_path, mode="elastic", **search)) == ()


ELASTIC = ElasticLoad(
    num_trials=2, num_epochs=8, epoch=Interval(low=20.0, high=60.0, middle=30.0), start=50.0, pricing=40.0
)


def _with_elastic(tmp_path, mode, **changes):
    search = {"num_trials": 10, "pruner": "none", "elastic": {"contender_epochs": 1}}
    return _experiment(tmp_path, mode=mode, **(search | changes))


def test_schedules_that_start_from_elastic_weights_have_fewer_epochs(tmp_path):
    config = _with_elastic(tmp_path, "auto")
    found = forecast(config, SECONDS, prior_kept_share(as_trained(config)), num_at_once=4.0, elastic=ELASTIC)
    epochs = 4 + 10 * 1  # the fixed schedule is trained from the backbone
    assert found.num_trials == 1 + 10 + 2
    assert found.num_epochs == Interval(low=epochs + 16, high=epochs + 16, middle=epochs + 16)
    elastic, schedules = 2 * (8 * 30 + 50 + 40), epochs * 20 + 11 * 5 + 100
    assert found.trial_hours.middle == pytest.approx((elastic + schedules) / 3600)
    assert found.hours.middle == pytest.approx((elastic / 2 + schedules / 4) / 3600)  # two leave two places empty


def test_schedules_wait_for_a_long_elastic_trial_however_many_run_at_once(tmp_path):
    epochs = {"epochs": 30, "freeze_epochs": 0}
    config = _with_elastic(tmp_path, "auto", num_trials=32, elastic={}, training=epochs)
    epoch = Interval(low=20.0, high=20.0, middle=20.0)
    load = ElasticLoad(num_trials=1, num_epochs=60, epoch=epoch, start=50.0, pricing=40.0)
    found = forecast(config, SECONDS, prior_kept_share(as_trained(config)), num_at_once=8.0, elastic=load)
    elastic, schedules = 60 * 20 + 50 + 40, (30 + 32 * 10) * 20 + 33 * 5 + 100
    assert found.num_trials == 1 + 33
    assert found.trial_hours.middle == pytest.approx((elastic + schedules) / 3600)
    assert found.hours.middle == pytest.approx((elastic + schedules / 8) / 3600)


def test_a_search_of_elastic_trials_alone_trains_no_schedule_but_the_fixed_one(tmp_path):
    config = _with_elastic(tmp_path, "elastic")
    found = forecast(config, SECONDS, prior_kept_share(as_trained(config)), num_at_once=1.0, elastic=ELASTIC)
    assert (found.num_trials, found.num_epochs.middle) == (1 + 2, 4 + 16)
    beside = forecast(config, SECONDS, prior_kept_share(as_trained(config)), num_at_once=4.0, elastic=ELASTIC)
    assert beside.hours.middle == pytest.approx((330 + 4 * 20 + 5 + 100) / 3600)


def test_the_middle_of_a_sum_is_known_where_both_are():
    known, unknown = Interval(low=1.0, high=3.0, middle=2.0), Interval(low=1.0, high=3.0)
    assert known.plus(known) == Interval(low=2.0, high=6.0, middle=4.0)
    assert known.plus(unknown) == unknown.plus(1.0).plus(Interval(low=0.0, high=2.0)) == Interval(low=2.0, high=6.0)
    assert known.divided(2.0) == Interval(low=0.5, high=1.5, middle=1.0)
