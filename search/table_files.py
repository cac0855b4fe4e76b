"""Which file prices a study: the table that the experiment names, the study's own, or a rescaled copy of either.

A search that begins on a device that drifted keeps the rescaled copy in its folder, so that whatever goes on with it
or reads it later prices by the very same numbers; see `search.drift_check`.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from latency_tables.table import LatencyTable
from search.records import StudyRecord
from search.study_files import OUTCOMES_FILE, PROGRESSIVE_FOLDER, STUDY_FILE
from spvit.errors import LatencyTableError, StorageError

TABLE_FILE = "latency_table.json"
RESCALED_FILE = "latency_table_rescaled.json"
PLAN_FILE = "plan.json"


def table_file(given: Path | None, folder: Path) -> Path:
    """The file whose table prices what is in a study's folder, whether it is there or not.

    Args:
        given: the table that the experiment names.
        folder: the study's.

    Raises:
        LatencyTableError: the rescaled copy, or what it is a copy of, is damaged.
    """
    original, copy = given or folder / TABLE_FILE, folder / RESCALED_FILE
    if not is_priced(folder) or not copy.exists():
        return original
    # Another table that is given now is not passed over: the study then says that it was made from this one.
    is_other = original.exists() and LatencyTable.load(original).sha256 != _origin(copy)
    return original if is_other else copy


def _origin(copy: Path) -> str:
    return LatencyTable.load(copy).provenance.rescaled_from


def is_priced(folder: Path) -> bool:
    """Whether anything was priced there already: from then on its prices must not change."""
    return (folder / STUDY_FILE).exists() or (folder / PROGRESSIVE_FOLDER / OUTCOMES_FILE).exists()


def keep_rescaled(table: LatencyTable, folder: Path) -> None:
    """Keeps the table in the folder if it is rescaled, before anything is priced by it.

    Raises:
        StorageError: the folder cannot be written.
    """
    if is_priced(folder):
        return
    if table.provenance.rescaled_from:
        table.save(folder / RESCALED_FILE)
        return
    try:
        (folder / RESCALED_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{folder / RESCALED_FILE} cannot be removed: {error.strerror or error}.") from error


def required_table(given: Path | None, folder: Path, *, may_measure: bool) -> Path | None:
    """The file that prices a study; None where there is none yet and one may be measured.

    Raises:
        LatencyTableError: there is none, or the study's own is gone.
    """
    path = table_file(given, folder)
    if given is not None or path.exists():
        return path
    if is_priced(folder):
        raise LatencyTableError(
            f"The latency table that study {folder.name!r} was searched with, {path}, is gone. Put it back from a "
            "copy; a new one would price trials differently, so it needs a study of another name (study.name)."
        )
    if not may_measure:
        raise LatencyTableError(
            f"No latency table: {path} does not exist and the experiment sets no latency.table. "
            "Measure one with `spvit-search profile EXPERIMENT`, or leave out --no-profile."
        )
    return None


def given_files(study: StudyRecord) -> list[str]:
    """What a search was given beside its experiment, as far as it is there: its latency table, and the last plan."""
    folder, given = Path(study.directory), study.experiment.get("latency", {}).get("table")
    found = [folder / PLAN_FILE]
    with suppress(LatencyTableError):
        found.insert(0, table_file(Path(given) if given else None, folder))
    return [str(path.resolve()) for path in found if path.is_file()]
