"""Further trials that would pay, for a reader."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from search.commands.output import columns
from search.further import Further, FurtherTrial
from search.records import Latency

HEADING = ["further", "top-1 %", "90 % interval", "new ms", "interval", "gain", "keep rates", "tokens", "other"]
NOTE = "gain: by how many points the best top-1 is expected to rise, on average over latencies up to the budget"


def further_lines(further: Further) -> list[str]:
    """A row for each trial that would pay, and why there are not more."""
    note = [f"further      {further.note}"] if further.note else []
    if not further.trials:
        return note
    rows = [HEADING, *(_row(number, trial) for number, trial in enumerate(further.trials, start=1))]
    return ["", *columns(rows).splitlines(), NOTE, *note]


def interval(latency: Latency) -> str:
    """The range of a predicted latency."""
    return f"{latency.low_ms:.3f} to {latency.high_ms:.3f}"


def rates(keep_rates: Iterable[float]) -> str:
    """Keep rates as the other commands show them."""
    return " ".join(f"{rate:.3f}" for rate in keep_rates) or "dense"


def _row(number: int, trial: FurtherTrial) -> list[str]:
    proposal, forecast = trial.proposal, trial.forecast
    return [
        str(number),
        f"{forecast.top1:.2f}",
        f"{forecast.low_top1:.2f} to {forecast.high_top1:.2f}",
        f"{proposal.latency.mean_ms:.3f}",
        interval(proposal.latency),
        f"{trial.gain_points:.2f}",
        rates(proposal.config.pruning.schedule.keep_rates),
        " ".join(str(count) for count in _runs(proposal.plan.block_tokens)),
        " ".join(f"{name}={_value(value)}" for name, value in proposal.params.items() if not _is_rate(name)),
    ]


def _is_rate(name: str) -> bool:
    """Keep rates are shown as what they come to."""
    return name.startswith("keep") or name == "base_keep_rate"


def _runs(tokens: Sequence[int]) -> list[int]:
    """Equal neighbours once."""
    return [count for before, count in zip((None, *tokens), tokens, strict=False) if count != before]


def _value(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
