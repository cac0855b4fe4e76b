"""Which blocks selectors stand before, as numbers in [0, 1] for a sampler. Pure.

Of all sets of `num` blocks in a range each must be equally likely where the numbers are uniform. Numbers drawn for each
block by itself would meet, and blocks drawn one behind the other crowd at the end of the range. So each number is the
share of the sets, among those that begin as drawn so far, whose next block is an earlier one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import comb


def blocks_of(shares: Sequence[float], first: int, last: int) -> tuple[int, ...]:
    """The blocks that shares mean, rising, one for each share.

    Args:
        shares: in [0, 1].
        first: the first block allowed.
        last: the last block allowed.

    Raises:
        ValueError: the range has fewer blocks than there are shares.
    """
    _check_room(len(shares), first, last)
    blocks: list[int] = []
    lowest = first
    for number, share in enumerate(shares):
        borders = _borders(lowest, last, len(shares) - number)
        blocks.append(next((block for block, _, high in borders if share < high), last - len(shares) + number + 1))
        lowest = blocks[-1] + 1
    return tuple(blocks)


def shares_of(blocks: Sequence[int], first: int, last: int) -> tuple[float, ...]:
    """Shares that mean the blocks: the middle of those that do, so that `blocks_of` gives the blocks back.

    Raises:
        ValueError: the blocks do not rise within the range.
    """
    if list(blocks) != sorted(set(blocks)) or not all(first <= block <= last for block in blocks):
        raise ValueError(f"blocks must rise within {first} to {last}, but got {list(blocks)}")
    shares: list[float] = []
    lowest = first
    for number, wanted in enumerate(blocks):
        borders = _borders(lowest, last, len(blocks) - number)
        shares.append(next((low + high) / 2 for block, low, high in borders if block == wanted))
        lowest = wanted + 1
    return tuple(shares)


def _borders(lowest: int, last: int, num: int) -> Iterator[tuple[int, float, float]]:
    """For each block that may come first of `num`, from which share of the sets to which it does."""
    whole, before = comb(last - lowest + 1, num), 0
    for block in range(lowest, last - num + 2):
        after = before + comb(last - block, num - 1)
        yield block, before / whole, after / whole
        before = after


def _check_room(num: int, first: int, last: int) -> None:
    if num > last - first + 1:
        raise ValueError(f"{num} selectors need {num} blocks, but {first} to {last} are {max(0, last - first + 1)}")
