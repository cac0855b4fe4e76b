"""The schedule's ends, its middle, and its order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.learning_rate import lr_at


def test_ends_and_middle():
    rates = [lr_at(step, total_steps=100, peak=1.0, floor=0.1) for step in (0, 50, 100, 1000)]
    assert rates == pytest.approx([1.0, 0.55, 0.1, 0.1])


@given(total=st.integers(1, 500), warmup=st.integers(0, 100), step=st.integers(0, 600))
def test_stays_in_bounds_and_falls_after_warmup(total: int, warmup: int, step: int):
    now, following = (lr_at(s, total_steps=total, peak=1.0, floor=0.01, warmup_steps=warmup) for s in (step, step + 1))
    assert 0 < now <= 1.0
    assert following > now if step + 1 < warmup else (following <= now or step + 1 == warmup)
