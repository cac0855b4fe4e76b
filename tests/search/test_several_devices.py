import math

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from search import KnownLatencySampler
from search.acquisition import Acquisition
from search.candidates import Candidates
from search.ehvi import expected_improvement, put
from search.outcomes import Outcome
from search.parameters import Branch, ParameterSpace
from search.quality_model import QualityModel

SPACE = {"deep": FloatDistribution(0.0, 1.0), "wide": FloatDistribution(0.0, 1.0)}
SPACE_OF_BOTH = ParameterSpace([Branch(distributions=SPACE, excluded={})])


def on_phone(params):
    return 100 + 100 * params["deep"] + 10 * params["wide"]


def on_server(params):
    return 1 + 0.1 * params["deep"] + params["wide"]


def quality_of(params):
    return 80 + 3 * math.sqrt(params["deep"]) + 3 * math.sqrt(params["wide"])


def study_of(*functions, **kwargs):
    sampler = KnownLatencySampler(list(functions), search_space=SPACE, seed=0, num_startup_trials=4, **kwargs)
    return optuna.create_study(directions=["maximize"] + ["minimize"] * len(functions), sampler=sampler)


def run(study, num_trials, *functions):
    for _ in range(num_trials):
        trial = study.ask(SPACE)
        study.tell(trial, [quality_of(trial.params), *(latency_ms(trial.params) for latency_ms in functions)])
    return [trial.params for trial in study.trials]


def test_every_cap_holds_from_the_first_trial_on():
    params = run(study_of(on_phone, on_server, max_latency_ms=[150.0, 1.6]), 10, on_phone, on_server)
    assert all(on_phone(p) <= 150.0 and on_server(p) <= 1.6 for p in params)


def test_a_device_without_a_cap_has_none():
    params = run(study_of(on_phone, on_server, max_latency_ms=[150.0, None]), 14, on_phone, on_server)
    assert max(map(on_phone, params)) <= 150.0
    assert max(map(on_server, params)) > 1.6


def test_the_same_device_twice_is_that_device():
    assert run(study_of(on_phone), 8, on_phone) == run(study_of(on_phone, on_phone), 8, on_phone, on_phone)


def test_units_of_a_device_do_not_matter():
    in_hours = lambda params: on_server(params) / 3.6e6
    ours = run(study_of(on_phone, on_server), 8, on_phone, on_server)
    assert run(study_of(on_phone, in_hours), 8, on_phone, in_hours) == [pytest.approx(params) for params in ours]


def test_gains_are_those_of_the_devices_added():
    known = [Outcome(params={"deep": d, "wide": w}, quality=80 + d + w) for d in (0.1, 0.9) for w in (0.2, 0.7)]
    model = QualityModel.fit(SPACE_OF_BOTH, known, None)
    tried = [outcome.params for outcome in known]
    pool = SPACE_OF_BOTH.draw(np.random.default_rng(0), 50)

    def acquisition(*functions, caps_ms=None):
        priced = [
            Candidates(params=params, latencies_ms=np.array([[f(p) for f in functions] for p in params]))
            for params in (tried, pool)
        ]
        caps_ms = caps_ms or (math.inf,) * len(functions)
        return Acquisition.of(model, tried=priced[0], pool=priced[1], caps_ms=caps_ms), priced[1]

    def gains(*functions):
        found, candidates = acquisition(*functions)
        return found.gains(candidates)

    assert gains(on_phone, on_server) == pytest.approx(gains(on_phone) + gains(on_server))
    assert np.argmax(gains(on_phone)) != np.argmax(gains(on_server))


def test_the_best_quality_within_a_cap_counts_beside_the_area():
    known = [Outcome(params={"deep": d, "wide": w}, quality=80 + d + w) for d in (0.1, 0.9) for w in (0.2, 0.7)]
    model = QualityModel.fit(SPACE_OF_BOTH, known, None)
    tried, pool = (
        Candidates(params=params, latencies_ms=np.array([[on_server(p)] for p in params]))
        for params in ([outcome.params for outcome in known], SPACE_OF_BOTH.draw(np.random.default_rng(0), 50))
    )
    capped = Acquisition.of(model, tried=tried, pool=pool, caps_ms=(2.2,), cap_weight=3.0)
    means, stds = model.predict(pool.params)
    area = expected_improvement(capped.fronts[0], pool.latencies_ms[:, 0], means, stds) / capped.spans_ms[0]
    best = np.min(np.exp(model.predict(tried.params)[0]))
    assert capped.gains(pool) == pytest.approx(area + 3.0 * put(best, means, stds))


def test_both_fronts_gain_from_one_training():
    """What is good on neither device alone is not proposed: trials follow both trade-offs."""
    grid = [{"deep": d, "wide": w} for d in (0.0, 0.5, 1.0) for w in (0.0, 0.5, 1.0)]
    study = study_of(on_phone, on_server)
    values = [[quality_of(p), on_phone(p), on_server(p)] for p in grid]
    study.add_trials([create_trial(params=p, distributions=SPACE, values=v) for p, v in zip(grid, values, strict=True)])
    late = run(study, 8, on_phone, on_server)[len(grid) :]
    assert any(p["wide"] > p["deep"] + 0.2 for p in late)  # cheap on the phone
    assert any(p["deep"] > p["wide"] + 0.2 for p in late)  # cheap on the server


def test_directions_must_be_as_many_as_the_devices():
    study = optuna.create_study(
        directions=["maximize", "minimize"], sampler=KnownLatencySampler([on_phone, on_server], seed=0)
    )
    with pytest.raises(ValueError, match=r"directions=\['maximize', 'minimize', 'minimize'\] .* but got: maximize, m"):
        study.ask()
