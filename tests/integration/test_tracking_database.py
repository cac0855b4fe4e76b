import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from search.tracking_database import make_database, sqlite_path

pytestmark = [pytest.mark.large, pytest.mark.integration]
MAKE = "import sys; from search.tracking_database import make_database; make_database(sys.argv[1])"


def test_a_process_killed_while_it_makes_the_database_leaves_nothing_that_is_in_the_way(tmp_path):
    path = tmp_path / "mlflow.db"
    process = subprocess.Popen(
        [sys.executable, "-c", MAKE, f"sqlite:///{path}"],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "MLFLOW_DISABLE_TELEMETRY": "true"},
        stderr=subprocess.DEVNULL,
    )
    new = tmp_path / ".mlflow.db.new"
    while not (new.exists() and new.stat().st_size):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not path.exists()
    make_database(f"sqlite:///{path}")
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM experiments").fetchall() == [("Default",)]
    assert {file.name for file in tmp_path.iterdir()} == {"mlflow.db", ".mlflow.db.lock"}


def test_a_database_that_is_there_is_left_alone(tmp_path):
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"somebody's")
    make_database(f"sqlite:///{path}")
    assert path.read_bytes() == b"somebody's"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("sqlite:////a/mlflow.db", Path("/a/mlflow.db")),
        ("sqlite:///mlflow.db", Path("mlflow.db")),
        ("sqlite:///:memory:", None),
        ("sqlite://", None),
        ("http://localhost:5000", None),
        ("postgresql://u:p@host/db", None),
    ],
)
def test_only_files_are_made(uri, path):
    assert sqlite_path(uri) == path
