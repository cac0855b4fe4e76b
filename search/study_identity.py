"""Whether a study that exists was made from the experiment given now. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from spvit.errors import StudyMismatchError

CHANGEABLE = frozenset(
    {
        "study.directory",
        "study.storage",
        "latency.table",
        "latency.on_drift",
        "latency.drift_tolerance",
        "latency.time_limit_s",
        "latency.precision_percent",
        "search.num_trials",
        "search.num_concurrent",
        "search.cpus_per_trial",
        "search.gpus_per_trial",
        "search.max_failed_share",
        "search.keep_checkpoints",
        "search.stuck_factor",
        "search.stuck_floor_s",
        "search.enqueue",
        "search.max_gpu_hours",
        "search.max_wall_time_s",
        "search.patience_trials",
        "search.target_top1",
        "search.warm_starts",
        "tracking.uri",
        "tracking.enabled",
        "data.download",
        "data.num_workers",
    }
)
"""Keys that may change while a study goes on: they change what it costs or where it is seen, not what a trial is."""

CHANGEABLE_TABLES = frozenset({"progressive"})
"""Tables of the experiment that a search does not read."""

MAX_SHOWN = 6


def check_same(
    name: str,
    *,
    stored: Mapping[str, Any],
    given: Mapping[str, Any],
    stored_table: str,
    given_table: str,
) -> None:
    """Refuses to mix trials that cannot be compared.

    Args:
        name: of the study.
        stored: the experiment that the study was made from, in plain values.
        given: the experiment that it is to go on with.
        stored_table: hash of the study's latency table.
        given_table: hash of the table given now.

    Raises:
        StudyMismatchError: naming each key that differs, with both values.
    """
    differences = [
        f"  {key}: {_shown(old)} in the study, {_shown(new)} now"
        for key, old, new in _differences(stored, given)
        if key not in CHANGEABLE and key.partition(".")[0] not in CHANGEABLE_TABLES
    ]
    if stored_table != given_table:
        differences.append(f"  latency table: {stored_table[:12]} in the study, {given_table[:12]} now (SHA-256)")
    if not differences:
        return
    shown = differences[:MAX_SHOWN]
    if len(differences) > MAX_SHOWN:
        shown.append(f"  and {len(differences) - MAX_SHOWN} more")
    raise StudyMismatchError(
        "\n".join(
            [
                f"study {name!r} was made from another experiment, so its trials cannot be compared with new ones:",
                *shown,
                "Undo the change, or give the new experiment a name of its own (study.name).",
            ]
        )
    )


def _differences(old: Any, new: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from _differences(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else str(key))
    elif old != new:
        yield prefix, old, new


def _shown(value: Any) -> str:
    return "absent" if value is None else repr(value)
