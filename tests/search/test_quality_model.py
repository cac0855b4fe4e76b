import numpy as np
import pytest
from optuna.distributions import FloatDistribution

from search.outcomes import Outcome
from search.parameters import Branch, ParameterSpace
from search.quality_model import QualityModel

SPACE = ParameterSpace([Branch(distributions={"x": FloatDistribution(0.0, 1.0)}, excluded={})])
KNOWN = [Outcome(params={"x": x}, quality=80 - 30 * (x - 0.4) ** 2) for x in (0.0, 0.2, 0.5, 0.7, 1.0)]
ASKED = [{"x": x} for x in np.linspace(0, 1, 21)]


def test_predictions_are_qualities_again():
    model = QualityModel.fit(SPACE, KNOWN, None)
    means, stds = model.predict(ASKED)
    qualities = model.scale.ceiling - np.exp(means)
    assert np.mean(np.abs(qualities - [80 - 30 * (p["x"] - 0.4) ** 2 for p in ASKED])) < 0.5  # of a range of 10.8
    assert np.all(stds > 0)


def test_units_of_a_guess_do_not_matter():
    def guess(params):
        return -((params["x"] - 0.4) ** 2)

    plain = QualityModel.fit(SPACE, KNOWN, guess).predict(ASKED)
    scaled = QualityModel.fit(SPACE, KNOWN, lambda params: 500 * guess(params) + 3).predict(ASKED)
    assert scaled[0] == pytest.approx(plain[0], abs=1e-3)


def test_a_constant_guess_says_nothing():
    guessed = QualityModel.fit(SPACE, KNOWN, lambda params: 7.0).predict(ASKED)
    assert guessed[0] == pytest.approx(QualityModel.fit(SPACE, KNOWN, None).predict(ASKED)[0], abs=0.1)


def test_running_trials_take_away_doubt_where_they_are():
    running = Outcome(params={"x": 0.85}, quality=None)
    (mean, std), (mean_after, std_after) = (
        QualityModel.fit(SPACE, known, None).predict([running.params]) for known in (KNOWN, [*KNOWN, running])
    )
    assert mean_after == pytest.approx(mean, abs=1e-4)
    assert std_after < std
