"""How large an error of complete models a prediction must allow for."""

from __future__ import annotations

from latency_tables.table import EndToEndCheck


def covering_error_percent(check: EndToEndCheck) -> float:
    """The error that nine in ten further models stay below, from those of the few that were checked.

    Of n errors in order a further one stays below the k-th with probability k / (n + 1), so that nine in ten need
    k = 0.9 (n + 1). The p90 of the n themselves lies at 0.9 n + 0.1: of seven models it covers but eight in ten. What
    is wanted lies 0.8 behind it, on the way to the largest error, n; with fewer than nine models that is the best there
    is. (Drawn from normal and exponential errors: 87 % covered by 7 models, 90 % by 9, 92 to 93 % by 20.) An assumed
    error is taken as it is.
    """
    if check.is_assumed:
        return check.p90_error_percent
    num_behind = 0.1 * (check.num_checked - 1)
    share = min(1.0, 0.8 / num_behind) if num_behind else 1.0
    return check.p90_error_percent + share * (check.max_error_percent - check.p90_error_percent)
