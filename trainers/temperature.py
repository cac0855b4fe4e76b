"""The temperature of sampled decisions as a pure function of the training's progress."""


def temperature_at(progress: float, *, start: float, end: float | None) -> float:
    """From `start` to `end` by equal factors; `start` throughout where there is no end.

    A high temperature spreads the gradient over all candidates; a low one confines it to those near the border between
    kept and dropped.

    Args:
        progress: share of the training's steps done, in [0, 1].
        start: first temperature, above 0.
        end: last temperature, above 0.
    """
    if end is None:
        return start
    return float(start * (end / start) ** min(1.0, max(0.0, progress)))
