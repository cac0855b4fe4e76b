"""The moving average is the recurrence it claims to be, and what it borrows comes back to the last bit."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainers.ema import WeightAverage, decay_at


@given(update=st.integers(0, 10**6), decay=st.floats(0.0, 0.99999))
def test_decay_rises_to_its_limit(update: int, decay: float) -> None:
    assert 0.0 <= decay_at(update, decay) <= decay_at(update + 1, decay) <= decay
    assert decay_at(10**9, decay) == decay


def test_average_is_the_recurrence() -> None:
    parameter = torch.nn.Parameter(torch.zeros(3))
    average, expected = WeightAverage([parameter], 0.5), torch.zeros(3)
    for number in range(12):
        with torch.no_grad():
            parameter.add_(torch.tensor([1.0, 2.0, -1.0]) * number)
        average.update(number)
        decay = min(0.5, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * parameter.detach()
    with average.lent():
        torch.testing.assert_close(parameter.detach(), expected)


def test_what_is_lent_comes_back() -> None:
    parameter = torch.nn.Parameter(torch.randn(5))
    average, before = WeightAverage([parameter], 0.9), parameter.detach().clone()
    with torch.no_grad():
        parameter.mul_(1.1)
    trained = parameter.detach().clone()
    inside = []

    def fail_inside() -> None:
        with average.lent():
            inside.append(parameter.detach().clone())
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert torch.equal(inside[0], before)
    assert torch.equal(parameter.detach(), trained)
    average.restart()
    with average.lent():
        assert torch.equal(parameter.detach(), trained)
