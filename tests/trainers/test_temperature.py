import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.temperature import temperature_at


@given(progress=st.floats(0.0, 1.0), end=st.floats(0.01, 10.0))
def test_goes_from_start_to_end_by_equal_factors(progress: float, end: float) -> None:
    assert temperature_at(0.0, start=2.0, end=end) == 2.0
    assert temperature_at(1.0, start=2.0, end=end) == pytest.approx(end)
    half_way = temperature_at(progress / 2, start=2.0, end=end)
    assert temperature_at(progress, start=2.0, end=end) == pytest.approx(half_way**2 / 2.0)


def test_without_an_end_it_stays() -> None:
    assert temperature_at(0.7, start=1.5, end=None) == 1.5
