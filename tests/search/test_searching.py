from pathlib import Path

import pytest
import tabulated

from search.report_files import FOLDER, ReportFiles
from search.searching import _listeners
from search.tracking import MlflowTracker


@pytest.mark.parametrize(("enabled", "kind"), [(True, MlflowTracker), (False, ReportFiles)])
def test_the_report_is_written_with_a_tracker_or_without(tmp_path, study, enabled, kind):
    config = tabulated.experiment(tmp_path)
    config = config.model_copy(update={"tracking": config.tracking.model_copy(update={"enabled": enabled})})
    folder = Path(study.directory)
    _, listener = _listeners(config, folder)
    assert type(listener) is kind
    listener.on_study_end(study)
    assert "# Study small" in (folder / FOLDER / "summary.md").read_text()
