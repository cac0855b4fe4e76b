"""Reads what lies in a study's folder: checkpoints, exports, what was left behind. Changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latency_tables.table import LatencyTable
from search.records import StudyRecord
from search.table_files import table_file
from search.verify.facts import CheckpointFact, ExportFact
from spvit.errors import LatencyTableError
from trainers.safe_folder import MANIFEST, TEMPORARY, DamagedFolderError, verify_folder

TRIALS, EXPORT = "trials", "export"
CHECKPOINT = "checkpoint-"
LEFT_BEHIND = (
    "*.tmp",
    "*.new",
    "ray",
    f"{TRIALS}/*/*.new",
    f"{TRIALS}/*/{TEMPORARY}*",
    f"{EXPORT}/{TEMPORARY}*",
    f"{EXPORT}/.export-*",
)
"""Of the study's folder: half-written files, Tune's snapshots, half-written checkpoints and exports."""


def load_trial_folders(folder: Path) -> tuple[int, ...]:
    """Numbers of the trials that have a folder, ascending."""
    return tuple(sorted(int(path.name) for path in (folder / TRIALS).glob("*") if path.name.isdecimal()))


def load_checkpoints(folder: Path) -> tuple[CheckpointFact, ...]:
    """Every checkpoint that a trial may go on from, compared with its manifest. What was set aside is left out."""
    return tuple(
        CheckpointFact(
            trial=number,
            step=int(path.name.removeprefix(CHECKPOINT)),
            path=str(path.relative_to(folder)),
            damage=_damage(path),
        )
        for number in load_trial_folders(folder)
        for path in sorted((folder / TRIALS / str(number)).glob(f"{CHECKPOINT}*"))
        if path.name.removeprefix(CHECKPOINT).isdecimal()
    )


def load_exports(folder: Path) -> tuple[ExportFact, ...]:
    """Every export in the study's folder, compared with its manifest."""
    found = sorted(path.parent for path in (folder / EXPORT).glob(f"*/{MANIFEST}"))
    return tuple(_export(path, folder) for path in found)


def load_leftovers(folder: Path) -> tuple[str, ...]:
    """Paths of what should be gone when nothing runs."""
    found = {path for pattern in LEFT_BEHIND for path in folder.glob(pattern)}
    return tuple(sorted(str(path.relative_to(folder)) for path in found))


def load_table_damage(study: StudyRecord, folder: Path) -> str:
    """What is wrong with the latency table that the study was searched with; empty where nothing is.

    A study whose prices did not come from a table file has none to look at.
    """
    given = study.experiment.get("latency", {}).get("table")
    try:
        path = table_file(Path(given) if given else None, folder)
        if not path.exists():
            missing = f"{path} is missing, the table that the study was searched with; put it back from a copy"
            return missing if study.table_sha256 else ""
        sha256 = LatencyTable.load(path).sha256
    except LatencyTableError as error:
        return str(error)
    return "" if sha256 == study.table_sha256 else f"{path} is not the table that the study was searched with"


def _damage(folder: Path) -> str:
    try:
        verify_folder(folder)
    except DamagedFolderError as error:
        return str(error)
    return ""


def _export(path: Path, folder: Path) -> ExportFact:
    damage, report = _damage(path), _read_report(path)
    return ExportFact(
        path=str(path.relative_to(folder)),
        study=str(report.get("study", "")),
        trial=int(report.get("trial", -1)),
        top1=report.get("searched_top1"),
        damage=damage or ("" if report else "its certificate.json cannot be read"),
    )


def _read_report(path: Path) -> dict[str, Any]:
    try:
        report = json.loads((path / "certificate.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


def text_files(folder: Path) -> Iterator[Path]:
    """Files of a study's folder that a person or a tracker may read, checkpoints apart."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in TEXTS and path.is_file() and path.stat().st_size <= MAX_TEXT_BYTES:
            yield path


TEXTS = frozenset({".toml", ".json", ".jsonl", ".md", ".csv", ".html", ".txt", ".log"})
MAX_TEXT_BYTES = 8 * 1024**2
