from dataclasses import replace

from search.plot_data import PointKind, plot_data


def test_each_trial_is_shown_as_what_it_is(study):
    data = plot_data(study)
    shown = {kind: [p.lines[0] for p in data.of_kind(kind)] for kind in PointKind}
    assert shown[PointKind.FRONT] == ["trial 1", "trial 2"]
    assert shown[PointKind.COMPLETE] == ["trial 3"]
    assert shown[PointKind.BASELINE] == ["trial 0, fixed [.7, .49]"]
    assert shown[PointKind.PRUNED] == ["trial 4"]
    assert shown[PointKind.DENSE] == ["dense model"]


def test_a_stopped_trial_stands_where_it_was_stopped_and_says_why(study):
    (pruned,) = plot_data(study).of_kind(PointKind.PRUNED)
    assert pruned.top1 == 70.0
    assert pruned.lines[-1] == "after epoch 1: below the median"


def test_front_runs_from_fast_to_accurate(study):
    assert plot_data(study).front == ((5.0, 85.0), (5.95, 88.0))


def test_dense_model_is_left_out_where_its_accuracy_is_unknown(study):
    assert not plot_data(replace(study, dense_top1=None)).of_kind(PointKind.DENSE)
