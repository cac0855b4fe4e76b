"""Reads a study's runs from MLflow. Creates nothing there."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from search.records import StudyRecord
from search.tracking import default_tracking_uri
from search.tracking_database import sqlite_path
from search.verify.facts import RunFact
from spvit.wording import first_line

PAGE = 1000
ID_FILE = "tracking.id"


def load_runs(study: StudyRecord, folder: Path) -> tuple[tuple[RunFact, ...] | None, str]:
    """The runs of a study and where they were read; None and why where they cannot be."""
    tracking = study.experiment.get("tracking", {})
    if not tracking.get("enabled", True):
        return None, "tracking is off (tracking.enabled)"
    uri = tracking.get("uri") or default_tracking_uri(folder.parent)
    path = sqlite_path(uri)
    if not (folder / ID_FILE).is_file() or (path is not None and not path.exists()):
        return None, "the study was never tracked"
    try:
        return tuple(_runs(uri, (folder / ID_FILE).read_text(encoding="ascii").strip())), "in MLflow"
    except Exception as error:  # MLflow's failures are of every kind
        return None, f"MLflow cannot be read: {first_line(error, most=200)}"


def _runs(uri: str, study_id: str) -> Iterator[RunFact]:
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    token = None
    while True:
        page = client.search_runs(
            experiments, filter_string=f"tags.`spvit.study_id` = '{study_id}'", max_results=PAGE, page_token=token
        )
        for run in page:
            yield _fact(client, run)
        token = page.token
        if not token:
            return


def _fact(client: Any, run: Any) -> RunFact:
    tags = run.data.tags
    points: dict[int, list[float]] = defaultdict(list)
    if "top1" in run.data.metrics:
        for point in client.get_metric_history(run.info.run_id, "top1"):
            points[point.step].append(point.value)
    number = tags.get("spvit.trial")
    return RunFact(
        trial=None if number is None else int(number),
        run_id=run.info.run_id,
        status=run.info.status,
        state=tags.get("spvit.state", ""),
        top1={step: tuple(values) for step, values in points.items()},
        texts=(*run.data.params.values(), *tags.values()),
    )
