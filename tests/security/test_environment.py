"""Workers get no passwords of the study's database and of MLflow. `tests/integration/test_cluster.py` asks them."""

import os
from pathlib import Path

import pytest

from search import ray_run, ray_session
from search.experiment import load_experiment

DEMO = Path(ray_run.__file__).parents[1] / "experiments" / "demo.toml"
CANARIES = {"MLFLOW_TRACKING_PASSWORD": "canary", "PGPASSWORD": "canary", "DATABRICKS_TOKEN": "canary"}


@pytest.fixture(autouse=True)
def driver(monkeypatch):
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)


def test_a_local_ray_inherits_none_and_the_driver_keeps_them():
    with ray_session._without_secrets():
        assert not CANARIES.keys() & os.environ.keys()
    assert CANARIES.items() <= os.environ.items()


def test_the_driver_keeps_them_when_ray_does_not_start():
    with pytest.raises(RuntimeError, match="no Ray"), ray_session._without_secrets():
        raise RuntimeError("no Ray")
    assert CANARIES.items() <= os.environ.items()


def test_what_a_machine_was_given_is_blanked():
    environment = ray_run._worker_environment(load_experiment(DEMO))
    assert {name: environment[name] for name in CANARIES} == dict.fromkeys(CANARIES, "")
    assert "canary" not in environment.values()
