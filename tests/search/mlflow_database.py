"""An MLflow database without runs. MLflow takes seconds to make one, a copy milliseconds."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from search.tracking_database import make_database


@cache
def _template() -> Path:
    path = Path(tempfile.mkdtemp(prefix="spvit-tests-")) / "mlflow.db"
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    make_database(f"sqlite:///{path}")
    return path


def give_mlflow_database(runs: Path) -> None:
    """Puts one into a folder of studies, unless it has one. (`test_own_data.py` has it made anew.)"""
    if not (runs / "mlflow.db").exists():
        runs.mkdir(parents=True, exist_ok=True)
        shutil.copy(_template(), runs / "mlflow.db")
