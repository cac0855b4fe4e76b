"""Leaves a study's report in its folder where no tracker does."""

from __future__ import annotations

from pathlib import Path

from search.listener import StudyListener
from search.records import StudyRecord

FOLDER = "report"


class ReportFiles(StudyListener):
    """Writes the front as table, picture and page, and a note, when a search ends."""

    def on_study_end(self, study: StudyRecord) -> None:
        """Write them; they replace those of an earlier session."""
        from search.study_report import write_study_files

        write_study_files(study, Path(study.directory) / FOLDER)
