"""Lets the tests of this folder import what they share."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def every_format(tmp_path_factory):
    """A study with checkpoints, and the report of an export in every format, which takes seconds to write."""
    from exported_study import export_trained, trained_study
    from mlflow_database import give_mlflow_database

    from search.formats import ALL_FORMATS

    root = tmp_path_factory.mktemp("every_format")
    study = trained_study(root)
    give_mlflow_database(root / "runs")  # to register the export in
    return study, export_trained(study, root / "model", formats=ALL_FORMATS)


@pytest.fixture(scope="module")
def few_candidates():
    """The sampler that knows latency looks at few: for tests of what becomes of its proposals, not of their worth."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.sampler.NUM_CANDIDATES", 40)
        patch.setattr("search.known_latency.NUM_ROUNDS", 1)
        patch.setattr("search.known_latency.NUM_CHILDREN", 4)
        yield
