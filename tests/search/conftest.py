"""Lets the tests of this folder import what they share."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def every_format(tmp_path_factory):
    """A study with checkpoints, and the report of an export in every format, which takes seconds to write."""
    from exported_study import export_trained, trained_study

    from search.formats import ALL_FORMATS

    root = tmp_path_factory.mktemp("every_format")
    study = trained_study(root)
    return study, export_trained(study, root / "model", formats=ALL_FORMATS)
