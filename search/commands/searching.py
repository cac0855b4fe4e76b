"""What `launch`, `resume` and `run` have in common."""

from __future__ import annotations

from search.commands.output import emit
from search.commands.status import summary_text
from search.records import StudyRecord

SEARCH_CODES = ("usage", "table", "data", "locked", "mismatch", "storage", "cluster", "failures", "feasible", "stopped")


def emit_summary(study: StudyRecord, *, as_json: bool) -> None:
    """Prints how a search ended."""
    from search.summary import summarise

    summary = summarise(study)
    emit(
        summary.to_dict() | {"directory": study.directory, "is_running": False},
        lambda: f"{summary_text(summary, is_running=False)}\nfolder    {study.directory}",
        as_json=as_json,
    )
