"""Blocks of selectors as numbers in [0, 1]: one to one, and even over all sets of blocks."""

from collections import Counter
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.positions import blocks_of, shares_of

RANGES = st.tuples(st.integers(0, 5), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(RANGES, st.data())
def test_any_shares_are_blocks_that_rise_within_the_range(ends, data):
    first, last = ends
    num = data.draw(st.integers(1, last - first + 1))
    shares = data.draw(st.lists(st.floats(0.0, 1.0), min_size=num, max_size=num))
    blocks = blocks_of(shares, first, last)
    assert len(blocks) == num
    assert list(blocks) == sorted(set(blocks))
    assert first <= blocks[0] <= blocks[-1] <= last


@given(RANGES, st.data())
def test_blocks_come_back_from_their_shares(ends, data):
    first, last = ends
    blocks = sorted(data.draw(st.sets(st.integers(first, last), min_size=1)))
    assert blocks_of(shares_of(blocks, first, last), first, last) == tuple(blocks)


def test_even_shares_make_every_set_of_blocks_equally_likely():
    grid = [(step + 0.5) / 60 for step in range(60)]
    counts = Counter(blocks_of(shares, 1, 6) for shares in product(grid, repeat=2))
    assert set(counts) == set(combinations(range(1, 7), 2))
    assert set(counts.values()) == {60 * 60 // 15}


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="4 selectors need 4 blocks, but 1 to 3 are 3"):
        blocks_of([0.5] * 4, 1, 3)
    with pytest.raises(ValueError, match="blocks must rise within 1 to 5"):
        shares_of([2, 2], 1, 5)
