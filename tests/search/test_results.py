from dataclasses import replace

import pytest

from search.results import front_frame, trials_frame


def test_trials_frame_has_one_row_per_trial_in_order(study):
    frame = trials_frame(study)
    assert list(frame["number"]) == [t.number for t in study.trials]
    assert frame["top1"].isna().sum() == 2
    assert frame.columns[-1] == "reason"


def test_speed_up_is_the_dense_latency_over_the_trials(study):
    frame = trials_frame(study).set_index("number")
    assert frame.loc[1, "speed_up"] == pytest.approx(2.0)


def test_keep_columns_hold_the_schedule_even_where_a_parameter_has_their_name(study):
    relative = replace(study.trials[1], params={"keep2": 0.625})
    row = trials_frame(replace(study, trials=(relative,))).iloc[0]
    assert row["keep2"] == 0.5


def test_front_frame_is_the_rows_of_the_front(study):
    assert list(front_frame(study)["number"]) == [1, 2]


def test_no_trials_give_an_empty_frame_with_the_same_first_columns(study):
    empty = trials_frame(replace(study, trials=()))
    assert empty.empty
    assert list(empty.columns[:10]) == list(trials_frame(study).columns[:10])
