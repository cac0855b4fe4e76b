from dataclasses import replace

import finished_study
import pytest
import tabulated
from hypothesis import given
from hypothesis import strategies as st
from small_table import row

from search.budget import LatencyBudget, price_from
from search.choosing import binomial, choose_within
from search.pareto import pareto_front
from search.records import Latency, StudyRecord, TrialRecord, TrialState
from search.retarget import AskedBudget, Place, best_on_every_device, plan_of, retarget
from search.selection import best_trial, front_trials, trial_points
from search.summary import study_hypervolume
from spvit.schedule import PruningSchedule

GEOMETRY = tabulated.GEOMETRY
BLOCKS = (1, 2, 4)
RATES = st.lists(st.floats(0.1, 1.0), min_size=3, max_size=3).map(lambda rates: tuple(sorted(rates, reverse=True)))
TRIALS = st.lists(st.tuples(RATES, st.floats(0.0, 100.0)), min_size=1, max_size=12)


def trial(number, rates, top1, price, *, geometry=GEOMETRY, blocks=BLOCKS, state=TrialState.COMPLETE):
    stages = [{"block": block, "keep_rate": rate} for block, rate in zip(blocks, rates, strict=True)]
    record = TrialRecord(
        number=number,
        state=state,
        params={},
        config={"pruning": {"schedule": {"stages": stages}}},
        latency=Latency(mean_ms=0.0, low_ms=0.0, high_ms=0.0),
        keep_counts=(),
        blocks=blocks,
        top1=top1 if state is TrialState.COMPLETE else None,
    )
    return replace(record, latency=price(plan_of(record, geometry)))


def study_of(trials, price=tabulated.price, *, max_latency_ms=8.0, geometry=GEOMETRY, **changes):
    return StudyRecord(
        name="s",
        directory="runs/s",
        experiment={},
        dense_latency=price(PruningSchedule().plan(geometry)),
        max_latency_ms=max_latency_ms,
        num_trials=len(trials),
        num_epochs=3,
        trials=tuple(
            trial(n, rates, top1, price, geometry=geometry, **changes) for n, (rates, top1) in enumerate(trials)
        ),
    )


def moved_to(study, price, asked=None, geometry=GEOMETRY):
    dense = price(PruningSchedule().plan(geometry))
    return retarget(study, price=price, geometry=geometry, budget=(asked or AskedBudget()).on(study, dense))


def other_price(plan):
    """A device on which blocks cost the same whatever enters them and selections are dear."""
    mean_ms = 5.0 + sum(selection.num_candidates for selection in plan.selections) / 20
    return Latency(mean_ms=mean_ms, low_ms=0.9 * mean_ms, high_ms=1.1 * mean_ms)


@given(TRIALS)
def test_with_the_studys_own_prices_everything_is_the_studys_own(trials):
    study = study_of(trials)
    result = moved_to(study, tabulated.price)
    assert result.after == study
    assert [t.number for t in result.front] == [t.number for t in front_trials(study)]
    assert {t.place for t in result.moved} <= {Place.STAYS, Place.OFF}
    assert result.old_front_share == 1.0
    best = best_trial(study)
    assert result.recommended_before == (None if best is None else best.number)
    assert (None if result.recommended is None else result.recommended.number) == result.recommended_before


@given(TRIALS, st.sampled_from([0.25, 2.0, 64.0]))  # powers of two round nothing
def test_a_device_that_is_slower_by_a_factor_has_the_same_front_and_recommendation(trials, factor):
    def slower(plan):
        cost = tabulated.price(plan)
        return Latency(mean_ms=factor * cost.mean_ms, low_ms=factor * cost.low_ms, high_ms=factor * cost.high_ms)

    study = study_of(trials)
    own, there = moved_to(study, tabulated.price), moved_to(study, slower)
    assert [t.number for t in there.front] == [t.number for t in own.front]
    assert there.budget.max_ms == factor * own.budget.max_ms
    assert (there.recommended is None) == (own.recommended is None)
    if own.recommended is not None and there.recommended is not None:
        assert there.recommended.number == own.recommended.number
        assert there.recommended.speed_up == own.recommended.speed_up


@given(TRIALS, st.floats(3.0, 30.0))
def test_the_recommended_trial_is_the_best_within_the_budget(trials, max_latency_ms):
    result = moved_to(study_of(trials), other_price, AskedBudget(max_latency_ms=max_latency_ms))
    within = [t for t in result.moved if t.new.high_ms <= max_latency_ms]
    best = result.recommended
    assert (best is None) == (not within)
    if best is not None:
        assert best in within
        assert best.top1 == max(t.top1 for t in within)


@given(TRIALS, st.floats(3.0, 30.0))
def test_equal_within_the_noise_it_is_what_pareto_takes_there(trials, max_latency_ms):
    study = replace(study_of(trials), num_val_images=200)
    result = moved_to(study, other_price, AskedBudget(max_latency_ms=max_latency_ms))
    if best_trial(result.after, max_latency_ms) is None:
        assert (result.recommended, result.choice) == (None, None)
        return
    choice = choose_within(result.after, max_latency_ms, binomial(result.after))
    assert result.recommended.number == choice.trial.number
    assert choice == result.choice


@given(TRIALS)
def test_places_tell_both_fronts(trials):
    study = study_of(trials)
    result = moved_to(study, other_price)
    old, new = ({p.number for p in pareto_front(trial_points(s))} for s in (study, result.after))
    places = {t.number: t.place for t in result.moved}
    assert {n for n, place in places.items() if place in {Place.STAYS, Place.LEAVES}} == old
    assert {n for n, place in places.items() if place in {Place.STAYS, Place.ENTERS}} == new
    assert 0.0 <= result.old_front_share <= 1.0
    only_old = replace(result.after, trials=tuple(t for t in result.after.trials if t.number in old))
    assert result.old_front_share * study_hypervolume(result.after) == pytest.approx(study_hypervolume(only_old))


def test_where_selections_dominate_one_stage_overtakes_two():
    table = finished_study.table()
    dear_selections = replace(table, selections={n: row(2.0) for n in (3, 10, 17)})
    one_stage, two_stages, two_narrow_stages = ((0.7, 0.7), 81.0), ((0.7, 0.4), 82.0), ((0.7, 0.3), 80.0)
    study = study_of(
        [one_stage, two_stages, two_narrow_stages], price_from(table), geometry=table.geometry, blocks=(1, 2)
    )
    own = moved_to(study, price_from(table), geometry=table.geometry)
    there = moved_to(study, price_from(dear_selections), geometry=table.geometry)
    assert [(t.number, t.place) for t in own.moved] == [(2, Place.STAYS), (1, Place.STAYS), (0, Place.OFF)]
    assert [(t.number, t.place) for t in there.moved] == [(0, Place.ENTERS), (2, Place.LEAVES), (1, Place.STAYS)]


def test_trials_that_were_stopped_are_priced_but_never_shown():
    rates = (0.5, 0.4, 0.3)
    study = study_of([(rates, 80.0)])
    stopped = replace(study, trials=(*study.trials, trial(1, rates, 0, tabulated.price, state=TrialState.PRUNED)))
    result = moved_to(stopped, other_price)
    assert [t.number for t in result.moved] == [0]
    assert result.after.trials[1].latency == result.after.trials[0].latency


def test_budgets():
    study = study_of([((0.5, 0.4, 0.3), 80.0)], max_latency_ms=5.0)
    dense = Latency(mean_ms=20.0, low_ms=19.0, high_ms=21.0)
    assert AskedBudget(max_latency_ms=3.0).on(study, dense) == LatencyBudget(max_ms=3.0, source="--max-latency-ms")
    assert AskedBudget(max_latency_share=0.4).on(study, dense).max_ms == pytest.approx(8.0)
    own = AskedBudget().on(study, dense)
    assert own.max_ms == pytest.approx(5.0 / study.dense_latency.mean_ms * 20.0)
    assert "as in the study" in own.source


@given(TRIALS, st.floats(3.0, 12.0), st.floats(3.0, 30.0))
def test_the_best_on_every_device_keeps_every_budget(trials, here_ms, there_ms):
    study = study_of(trials)
    devices = [
        moved_to(study, tabulated.price, AskedBudget(max_latency_ms=here_ms)),
        moved_to(study, other_price, AskedBudget(max_latency_ms=there_ms)),
    ]
    admitted = [
        number
        for number, _ in enumerate(trials)
        if all(d.budget.admits(t.new) for d in devices for t in d.moved if t.number == number)
    ]
    best = best_on_every_device(devices)
    assert (best is None) == (not admitted)
    if best is not None:
        assert best.number in admitted
        assert best.top1 == max(trials[number][1] for number in admitted)
