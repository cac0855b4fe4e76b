from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.choosing import MAX_BLUR, binomial, choose_accurate, choose_knee, choose_to_take, choose_within, only_faster
from search.noise import unpaired_difference
from search.records import Latency
from spvit.errors import NothingFeasibleError, UsageError


@pytest.fixture
def many_images(study):
    """So many that only equal top-1s are equal within the noise."""
    return replace(study, num_val_images=10_000_000)


def with_trials(study, *trials, num_val_images):
    return replace(study, trials=trials, num_val_images=num_val_images)


FEW = 900


def few_images(study):
    """So few that trials 1 and 3 are equal to trial 2, the best within 6.1 ms."""
    top1s = {1: 86.5, 3: 86.4}
    trials = tuple(replace(t, top1=top1s.get(t.number, t.top1)) for t in study.trials)
    return replace(study, trials=trials, num_val_images=FEW)


def test_what_the_images_tell_apart_is_chosen_by_top1(many_images):
    choice = choose_within(many_images, 6.1, binomial(many_images))
    assert (choice.trial.number, choice.best.number, choice.equals, choice.difference) == (2, 2, (), None)


def test_of_equals_within_the_noise_the_faster_one_is_preferred(study):
    few = few_images(study)  # 86.5 % and 88 % are then 1.5 points apart, with 2.6 either way
    choice = choose_within(few, 6.1, binomial(few))
    assert (choice.trial.number, choice.best.number) == (1, 2)
    assert choice.difference == unpaired_difference(86.5, 88.0, FEW)
    assert [equal.trial.number for equal in choice.equals] == [1, 3]


def test_images_too_few_to_tell_anything_prefer_nothing(study):
    blurred = replace(study, num_val_images=300)  # 85 % and 88 %: 3 points apart, with 4.6 either way
    choice = choose_within(blurred, 6.1, binomial(blurred))
    assert (choice.trial.number, choice.best.number, choice.reason) == (2, 2, "")
    assert [equal.trial.number for equal in choice.equals] == [1, 3]


def test_of_those_about_as_fast_the_simpler_one_is_preferred(study, make_trial):
    complex_one, simple = make_trial(0, 85.0, 5.0), make_trial(1, 84.9, 5.02, blocks=(2,), keep_counts=(24,))
    found = with_trials(study, complex_one, simple, make_trial(2, 85.1, 5.5), num_val_images=2000)
    assert choose_within(found, 6.0, binomial(found)).trial.number == 1
    assert choose_accurate(found, 80.0, binomial(found)).trial.number == 1


def test_what_is_taken_is_the_choice_within_the_budget_and_a_named_trial_always(study):
    few = few_images(study)
    compare = binomial(few)
    taken = choose_to_take(few, compare)
    assert taken == choose_within(few, few.max_latency_ms, compare)
    assert choose_to_take(few, compare, max_latency_ms=6.1) == choose_within(few, 6.1, compare)
    assert choose_to_take(few, compare, max_latency_ms=6.1).reason == (
        f"equal to it within the noise, {unpaired_difference(86.5, 88.0, FEW).to_text()}, and 1.19 times as fast"
    )
    named = choose_to_take(few, compare, number=2)
    assert (named.trial.number, named.best.number, named.reason) == (2, 2, "")
    with pytest.raises(UsageError, match=r"trial 4 .* was not trained to the end"):
        choose_to_take(few, compare, number=4)
    with pytest.raises(NothingFeasibleError, match=r"within 0\.10 ms"):
        choose_to_take(few, compare, max_latency_ms=0.1)


def test_a_simpler_one_says_so(study, make_trial):
    simple = make_trial(1, 84.9, 5.0, blocks=(2,), keep_counts=(24,))
    found = with_trials(study, make_trial(0, 85.0, 5.02), simple, num_val_images=2000)
    assert choose_to_take(found, binomial(found)).reason.endswith("and simpler, with 1 selector")


def test_without_the_number_of_images_nothing_is_called_equal(study):
    choice = choose_within(study, 6.1, binomial(study))
    assert (choice.trial.number, choice.equals) == (2, ())


def test_the_fastest_that_is_accurate_enough(many_images):
    assert choose_accurate(many_images, 84.5, binomial(many_images)).trial.number == 1
    assert choose_accurate(many_images, 86.0, binomial(many_images)).trial.number == 2


def test_the_knee(many_images, make_trial):
    trials = [make_trial(n, top1, ms) for n, (top1, ms) in enumerate([(70.0, 4.0), (84.0, 4.5), (85.0, 6.0)])]
    found = with_trials(many_images, *trials, num_val_images=10_000_000)
    assert choose_knee(found, binomial(found)).trial.number == 1


def test_nothing_meets_it_names_the_nearest_and_the_miss(study):
    compare = binomial(study)
    with pytest.raises(NothingFeasibleError, match=r"trial 1: .*5\.00 ms, up to 5\.10 ms: 4\.10 ms \(410%\)"):
        choose_within(study, 1.0, compare)
    with pytest.raises(NothingFeasibleError, match=r"99\.5 % top-1.*trial 2: 88\.00 % at 5\.95 ms, 11\.50 points"):
        choose_accurate(study, 99.5, compare)
    with pytest.raises(NothingFeasibleError, match="no front yet"):
        choose_knee(replace(study, trials=()), compare)
    with pytest.raises(NothingFeasibleError, match="trained to the end"):
        choose_accurate(replace(study, trials=()), 50.0, compare)


POINTS = st.lists(st.tuples(st.integers(600, 999), st.integers(10, 60)), min_size=1, max_size=12)


@given(POINTS, st.integers(50, 5000), st.integers(10, 60))
def test_a_choice_keeps_the_latency_and_is_equal_to_the_best(points, num_images, limit):
    study, trials = study_of(points, num_images)
    within = [t for t in trials if t.latency.high_ms <= limit]
    if not within:
        with pytest.raises(NothingFeasibleError, match="no finished trial"):
            choose_within(study, limit, binomial(study))
        return
    choice = choose_within(study, limit, binomial(study))
    assert choice.best.top1 == max(t.top1 for t in within)
    assert choice.trial.latency.high_ms <= limit
    assert unpaired_difference(choice.trial.top1, choice.best.top1, num_images).is_noise
    naive = {t.number for t in within if unpaired_difference(t.top1, choice.best.top1, num_images).is_noise}
    assert {equal.trial.number for equal in choice.equals} | {choice.best.number} == naive
    # Nothing that is surely equal to the best is noticeably faster than what was chosen.
    clear = {e.trial.number for e in choice.equals if e.difference.blur <= MAX_BLUR} | {choice.best.number}
    assert choice.trial.number in clear
    fastest = min(t.latency.mean_ms for t in within if t.number in clear)
    assert choice.trial.latency.mean_ms <= 1.01 * fastest


@given(POINTS, st.integers(50, 5000), st.integers(10, 60))
def test_looking_at_faster_ones_alone_changes_no_choice(points, num_images, limit):
    study, trials = study_of(points, num_images)
    if any(t.latency.high_ms <= limit for t in trials):
        everything = choose_within(study, limit, binomial(study))
        assert choose_within(study, limit, only_faster(binomial(study))).trial == everything.trial


def study_of(points, num_images):
    from search.records import StudyRecord, TrialRecord, TrialState

    trials = tuple(
        TrialRecord(
            number=number,
            state=TrialState.COMPLETE,
            params={},
            config={},
            latency=Latency(mean_ms=float(ms), low_ms=0.9 * ms, high_ms=1.0 * ms),
            keep_counts=(5,) * (number % 3),
            blocks=tuple(range(number % 3)),
            top1=top1 / 10,
        )
        for number, (top1, ms) in enumerate(points)
    )
    study = StudyRecord(
        name="made",
        directory="nowhere",
        experiment={},
        dense_latency=Latency(mean_ms=60.0, low_ms=60.0, high_ms=60.0),
        max_latency_ms=60.0,
        num_trials=len(trials),
        num_epochs=1,
        trials=trials,
        num_val_images=num_images,
    )
    return study, trials
