import math
import pickle

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from search import ParetoPruner

STEPS = 8


def _curve(start, end):
    """Half of what is missing is gained at each step, and the end is reached at the last."""
    return [end - (end - start) * 0.5**step for step in range(STEPS - 1)] + [end]


def _trial(latency_ms, curve, state=TrialState.COMPLETE, sign=1.0):
    values = {step: sign * value for step, value in enumerate(curve, start=1)}
    value = sign * curve[-1] if state is TrialState.COMPLETE else None
    return create_trial(state=state, value=value, intermediate_values=values, user_attrs={"latency_ms": latency_ms})


def _study(trials, direction="maximize"):
    study = optuna.create_study(direction=direction)
    study.add_trials(trials)
    return study


def _finished(sign=1.0):
    """Ten trials of 6 to 10 ms; the slower the better, from 80 to 83.6."""
    return [_trial(6 + 0.4 * n, _curve(70 + n % 4, 80 + 0.4 * n), sign=sign) for n in range(10)]


def _asked(study, latency_ms, curve, sign=1.0):
    study.add_trial(_trial(latency_ms, curve, TrialState.RUNNING, sign))
    return study.get_trials(deepcopy=False)[-1]


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1.0), ("minimize", -1.0)])
def test_only_what_cannot_reach_the_front_at_its_own_latency_is_stopped(direction, sign):
    pruner = ParetoPruner("latency_ms")
    hopeless, promising = _curve(60, 70)[:4], _curve(71, 83)[:4]
    for latency_ms, curve, stops in (
        (8.0, hopeless, True),
        (8.0, promising, False),
        (5.9, hopeless, False),  # faster than all that finished: whatever it reaches is on the front
    ):
        study = _study(_finished(sign), direction)
        assert pruner.prune(study, _asked(study, latency_ms, curve, sign)) is stops


def test_the_reason_names_bound_rival_and_both_latencies():
    study = _study(_finished())
    reason = ParetoPruner("latency_ms").judge(study, _asked(study, 8.1, _curve(60, 70)[:4]))
    assert (reason.step, reason.rival, reason.rival_latency_ms) == (4, 5, 8.0)
    assert reason.bound < reason.rival_value == pytest.approx(82.0)
    expected = f"at epoch 4: 99 % upper bound {reason.bound:.1f} % at 8.10 ms lies under trial 5, 82.0 % at 8.00 ms"
    assert reason.to_text(step="epoch", unit=" %") == expected


def test_numbers_that_lie_close_are_told_apart_in_the_sentence():
    study = _study(_finished())
    reason = ParetoPruner("latency_ms").judge(study, _asked(study, 8.1, _curve(60, 70)[:4]))
    close = type(reason)(
        step=2, bound=79.123, latency_ms=8.0, confidence=0.9, rival=1, rival_value=79.131, rival_latency_ms=7.0
    )
    assert "79.12 at 8.00 ms lies under trial 1, 79.13 at" in close.to_text()


def test_more_confidence_stops_less():
    study = _study(_finished())
    curve = _curve(70, 81.97)[:3]
    stops = [ParetoPruner("latency_ms", confidence=q).prune(study, _asked(study, 8.0, curve)) for q in (0.6, 0.9999999)]
    assert stops == [True, False]


@pytest.mark.parametrize("num_finished", range(5))
def test_with_fewer_than_five_finished_trials_nothing_is_stopped(num_finished):
    study = _study(_finished()[:num_finished])
    assert not ParetoPruner("latency_ms").prune(study, _asked(study, 12.0, [1.0, 1.0, 1.0]))


def test_trials_over_the_cap_are_stopped_and_stop_nobody():
    pruner = ParetoPruner("latency_ms", max_latency_ms=9.0)
    study = _study(_finished())
    reason = pruner.judge(study, _asked(study, 9.5, _curve(79, 99)[:3]))
    assert reason.to_text() == "at step 3: 9.50 ms is above the cap of 9.00 ms"
    slow = _study([_trial(9.1 + n, _curve(80, 95 + n / 10)) for n in range(8)])
    assert not pruner.prune(slow, _asked(slow, 9.0, [1.0, 1.0, 1.0]))


def test_trials_that_others_will_not_be_compared_with():
    """Pruned and running ones have no end; ends that are no number, and empty curves, say nothing."""
    others = [_trial(5.0, [99.0] * 4, state) for state in (TrialState.PRUNED, TrialState.RUNNING, TrialState.FAIL)]
    silent = create_trial(value=99.0, user_attrs={"latency_ms": 5.0})
    broken = [_trial(5.0, [math.nan] * 3 + [99.0]) for _ in range(6)]
    study = _study([*others * 3, silent, *broken])
    assert not ParetoPruner("latency_ms").prune(study, _asked(study, 8.0, [1.0, 1.0, 1.0]))


def test_short_and_long_curves_among_finished_trials_are_no_evidence_for_the_end():
    study = _study([_trial(6.0, _curve(70, 80)[:5]) for _ in range(8)])
    study.add_trial(_trial(9.0, _curve(70, 82)))
    assert not ParetoPruner("latency_ms").prune(study, _asked(study, 7.0, [1.0, 1.0, 1.0]))
    study.add_trials([_trial(9.0, _curve(70 + n, 82)) for n in range(5)])
    assert ParetoPruner("latency_ms").prune(study, _asked(study, 7.0, [1.0, 1.0, 1.0]))


def test_values_that_are_no_numbers_and_the_warm_up_are_left_alone():
    pruner = ParetoPruner("latency_ms", n_warmup_steps=3)
    study = _study(_finished())
    assert not pruner.prune(study, _asked(study, 8.0, [1.0, 1.0, 1.0]))
    assert pruner.prune(study, _asked(study, 8.0, [1.0, 1.0, 1.0, 1.0]))
    assert not pruner.prune(study, _asked(study, 8.0, [1.0, 1.0, 1.0, math.nan]))
    assert not pruner.prune(study, _asked(study, 8.0, [1.0] * STEPS))


def test_a_trial_without_a_latency_is_refused_with_the_remedy():
    study = _study(_finished())
    study.add_trial(create_trial(state=TrialState.RUNNING, intermediate_values={1: 1.0, 2: 1.0}))
    with pytest.raises(ValueError, match=r"trial 10 has no latency: set its user attribute 'latency_ms'"):
        ParetoPruner("latency_ms").prune(study, study.trials[-1])


@pytest.mark.parametrize(
    "settings", [{"confidence": 1.0}, {"confidence": 0.0}, {"n_warmup_steps": -1}, {"max_latency_ms": 0.0}]
)
def test_numbers_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
        ParetoPruner("latency_ms", **settings)


def _params_ms(trial):
    return 5 * trial.params["width"]


def test_it_prunes_a_plain_study_whose_trials_report(tmp_path):
    def objective(trial):
        width, skill = trial.suggest_float("width", 1, 2), trial.suggest_float("skill", 0, 20)
        for step, value in enumerate(_curve(50 + skill / 2, 60 + 5 * width + skill), start=1):
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    pruner = pickle.loads(pickle.dumps(ParetoPruner(_params_ms)))  # noqa: S301 - our own bytes
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0), pruner=pruner)
    study.optimize(objective, n_trials=60)
    pruned = [t for t in study.trials if t.state is TrialState.PRUNED]
    ends = {t.number: 60 + 5 * t.params["width"] + t.params["skill"] for t in study.trials}
    assert len(pruned) > 25
    for trial in pruned:  # without noise, every one of them would have ended under a faster one
        faster = [ends[t.number] for t in study.trials[: trial.number] if _params_ms(t) <= _params_ms(trial)]
        assert ends[trial.number] < max(faster)


def test_a_study_of_two_objectives_keeps_its_curves_in_an_attribute():
    study = optuna.create_study(directions=["maximize", "minimize"])
    for number in range(10):
        attrs = {"curve": _curve(70 + number % 4, 80 + 0.4 * number)}
        study.add_trial(create_trial(values=[attrs["curve"][-1], 6 + 0.4 * number], user_attrs=attrs))
    pruner = ParetoPruner(lambda trial: trial.values[1] if trial.values else 8.0, curve="curve")
    for curve, stops in (([1.0, 1.0, 1.0], True), (_curve(73, 84)[:3], False)):
        trial = study.ask()
        trial.set_user_attr("curve", curve)
        assert pruner.prune(study, study.get_trials(deepcopy=False)[trial.number]) is stops


@settings(max_examples=50)
@given(
    curves=st.lists(st.lists(st.floats(50, 90), min_size=STEPS, max_size=STEPS), min_size=6, max_size=14),
    missing=st.lists(st.integers(1, STEPS), max_size=6),
)
def test_what_is_remembered_of_finished_trials_changes_no_decision(curves, missing):
    remembering, study = ParetoPruner("latency_ms"), _study([])
    for number, curve in enumerate(curves):
        running = _trial(5 + number % 4, curve, TrialState.RUNNING)
        asked = [running, *_shorter(running, missing[number : number + 1])]
        study.add_trial(_trial(5 + number % 4, curve))
        for trial in asked:
            trial.number = len(curves)
            assert remembering.judge(study, trial) == ParetoPruner("latency_ms").judge(study, trial)


def _shorter(trial, missing):
    """The trial after each of its steps, and without those that are missing."""
    values = dict(trial.intermediate_values)
    for step in range(2, STEPS):
        kept = {at: value for at, value in values.items() if at <= step and at not in missing}
        if kept:
            part = _trial(trial.user_attrs["latency_ms"], [], TrialState.RUNNING)
            part.intermediate_values = kept
            yield part
