"""Whether a study that exists was made from what is given now: experiment, latency table, packages, code. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from search.given_start import names_weights
from spvit.errors import StudyMismatchError
from spvit.wording import first_of

CHANGEABLE = frozenset(
    {
        "study.directory",
        "study.storage",
        "study.checkpoints",
        "study.scratch",
        "latency.table",
        "start.path",
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

CHANGEABLE_TABLES = frozenset({"progressive", "trial"})
"""Tables of the experiment that a search does not read, or that say only where its trials are trained."""

TABLE, PACKAGE, CODE = "latency table (SHA-256)", "package", "code (SHA-256)"
MAX_SHOWN = 5

Changes = Mapping[str, tuple[str, str]]
"""Old and new value of each key that differs, as text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What a study is made from.

    Attributes:
        experiment: in plain values.
        table_sha256: of its latency table.
        versions: of the packages that decide what a trial is and which are proposed, by name.
        code_sha256: of this program; empty where nobody noted it.
    """

    experiment: Mapping[str, Any]
    table_sha256: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    code_sha256: str = ""


def changes_between(old: Made, new: Made) -> Changes:
    """What differs and decides something, so that trials before and after cannot be compared.

    Packages and code that one of the two does not name are passed over: older studies did not note them.
    """
    changes = {
        key: (_shown(before), _shown(after))
        for key, before, after in _differences(_told(old.experiment), _told(new.experiment))
        if key not in CHANGEABLE and key.partition(".")[0] not in CHANGEABLE_TABLES
    }
    if old.table_sha256 != new.table_sha256:
        changes[TABLE] = (old.table_sha256[:12], new.table_sha256[:12])
    for name in sorted({*old.versions} & {*new.versions}):
        if old.versions[name] != new.versions[name]:
            changes[f"{PACKAGE} {name}"] = (old.versions[name], new.versions[name])
    if old.code_sha256 and new.code_sha256 and old.code_sha256 != new.code_sha256:
        changes[CODE] = (old.code_sha256[:12], new.code_sha256[:12])
    return changes


def check_accepted(name: str, changes: Changes, *, accepted: Collection[str] = ()) -> None:
    """Refuses to mix trials that cannot be compared.

    Args:
        name: of the study.
        changes: what differs.
        accepted: keys that may.

    Raises:
        StudyMismatchError: naming each other key that differs, with both values.
    """
    refused = [f"{key}: {old} -> {new}" for key, (old, new) in changes.items() if key not in accepted]
    if not refused:
        return
    raise StudyMismatchError(
        "\n".join(
            [
                f"study {name!r} was made from something else, so its trials cannot be compared with new ones:",
                *(f"  {line}" for line in first_of(refused, MAX_SHOWN)),
                "Undo the change, give the new experiment a name of its own (study.name), or go on all the same, as a",
                "new generation of this study: --accept-change",
            ]
        )
    )


def _told(experiment: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without a start that names no file: a study is older than the table."""
    if names_weights(experiment):
        return experiment
    return {key: value for key, value in experiment.items() if key != "start"}


def _differences(old: Any, new: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from _differences(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else str(key))
    elif old != new and not _says_nothing(old, new):
        yield prefix, old, new


def _says_nothing(old: Any, new: Any) -> bool:
    """Whether one is an empty table and the other was not there: a study is older than the table."""
    return {} in (old, new) and None in (old, new)


def _shown(value: Any) -> str:
    return "absent" if value is None else repr(value)
