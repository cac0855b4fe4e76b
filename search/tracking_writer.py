"""The border to MLflow: finds or makes a study's runs and applies updates to them. Applying twice does no harm."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from search.run_update import MetricPoint, RunStatus, RunUpdate
from search.tracking_database import make_database
from spvit.wording import first_line

LOGGER = logging.getLogger(__name__)
# What MLflow answers to a request that no repetition makes valid.
PERMANENT_ERRORS = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST"})
TABLE_SUFFIX = ".table.json"


class MlflowWriter:
    """One study's experiment in MLflow: a parent run for the search, a child run for each trial.

    Runs are recognised by the tags `spvit.study_id` and `spvit.trial`, so a writer that starts anew goes on with the
    runs of the one before.
    """

    def __init__(self, uri: str, *, study_name: str, study_id: str, artifact_directory: Path) -> None:
        """Connect; on a new SQLite file this creates the database, which takes seconds."""
        _quiet_environment()
        from mlflow import MlflowClient

        for name in ("alembic", "mlflow.store.db.utils"):
            logging.getLogger(name).setLevel(logging.WARNING)
        make_database(uri)
        self._client = MlflowClient(tracking_uri=uri)
        self._study_id = study_id
        artifacts = artifact_directory.resolve().as_uri() if "://" in uri and not uri.startswith("http") else None
        self.experiment_id = self._experiment(f"spvit/{study_name}", artifacts)
        self.run_ids: dict[int | None, str] = self._known_runs()

    def apply(self, update: RunUpdate, *, skip_existing_points: bool = False) -> None:
        """Make an update true.

        A part that MLflow refuses for good (a parameter with another value, a run that was deleted) is left out with
        a warning.

        Raises:
            Exception: whatever MLflow raises while it cannot be reached; the same update may be applied again.
        """
        may_have_points = skip_existing_points and update.number in self.run_ids
        run_id = self._run_id(update)
        metrics = self._new_points(run_id, update.metrics) if may_have_points else update.metrics
        if update.params or metrics or update.tags:
            self._log(update, run_id, metrics)
        for path in update.artifacts:
            self._store(run_id, Path(path))
        for key, value in update.experiment_tags.items():
            tag = partial(self._client.set_experiment_tag, self.experiment_id, key, value)
            self._try(update, f"tag {key} of the experiment", tag)
        if update.status is not None:
            self._try(update, "status", lambda: self._set_status(run_id, update))

    def _experiment(self, name: str, artifact_location: str | None) -> str:
        existing = self._client.get_experiment_by_name(name)
        if existing is None:
            return str(self._client.create_experiment(name, artifact_location=artifact_location))
        if existing.lifecycle_stage == "deleted":
            # A deleted experiment keeps its name taken until it is purged.
            self._client.restore_experiment(existing.experiment_id)
        return str(existing.experiment_id)

    def _known_runs(self) -> dict[int | None, str]:
        known: dict[int | None, str] = {}
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment_id],
                filter_string=f"tags.`spvit.study_id` = '{self._study_id}'",
                max_results=1000,
                page_token=token,
            )
            for run in page:
                trial = run.data.tags.get("spvit.trial")
                known[None if trial is None else int(trial)] = run.info.run_id
            token = page.token
            if not token:
                return known

    def _run_id(self, update: RunUpdate) -> str:
        if update.number not in self.run_ids:
            self.run_ids[update.number] = self._create_run(update)
        return self.run_ids[update.number]

    def _create_run(self, update: RunUpdate) -> str:
        tags = {"spvit.study_id": self._study_id}
        if update.number is not None:
            parent = self._run_id(RunUpdate(number=None, name="search", start_ms=update.start_ms))
            tags |= {"spvit.trial": str(update.number), "mlflow.parentRunId": parent}
        run = self._client.create_run(
            self.experiment_id,
            start_time=update.start_ms,
            run_name=update.name or f"trial {update.number}",
            tags=tags,
        )
        return str(run.info.run_id)

    def _new_points(self, run_id: str, points: Collection[MetricPoint]) -> tuple[MetricPoint, ...]:
        known = {
            (key, metric.step)
            for key in {point.key for point in points}
            for metric in self._client.get_metric_history(run_id, key)
        }
        return tuple(point for point in points if (point.key, point.step) not in known)

    def _log(self, update: RunUpdate, run_id: str, metrics: Collection[MetricPoint]) -> None:
        """In one request if MLflow takes it, else part by part, so that a refused one does not keep out the other."""
        from mlflow.exceptions import MlflowException

        try:
            self._log_batch(run_id, params=update.params, metrics=metrics, tags=update.tags)
        except MlflowException as error:
            if error.error_code not in PERMANENT_ERRORS:
                raise
            self._try(update, "parameters", lambda: self._log_batch(run_id, params=update.params))
            self._try(update, "metrics", lambda: self._log_batch(run_id, metrics=metrics, tags=update.tags))

    def _log_batch(
        self,
        run_id: str,
        *,
        metrics: Collection[MetricPoint] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        self._client.log_batch(
            run_id,
            metrics=[Metric(p.key, p.value, p.timestamp_ms, p.step) for p in metrics],
            params=[Param(key, value) for key, value in (params or {}).items()],
            tags=[RunTag(key, value) for key, value in (tags or {}).items()],
        )

    def _store(self, run_id: str, path: Path) -> None:
        """Files may be kept elsewhere than runs: where only they cannot be, the rest is not to wait for them."""
        try:
            self._log_artifact(run_id, path)
        except Exception as error:
            self._client.get_experiment(self.experiment_id)  # raises where MLflow itself is away
            LOGGER.warning("%s could not be stored in MLflow: %s", path, first_line(error))

    def _log_artifact(self, run_id: str, path: Path) -> None:
        if not path.is_file():
            LOGGER.warning("%s is gone and could not be stored in MLflow", path)
            return
        self._client.log_artifact(run_id, str(path))
        if path.name.endswith(TABLE_SUFFIX):
            # MLflow shows a file as a sortable table if this tag lists it.
            self._client.set_tag(run_id, "mlflow.loggedArtifacts", f'[{{"path": "{path.name}", "type": "table"}}]')

    def _set_status(self, run_id: str, update: RunUpdate) -> None:
        if update.status is RunStatus.RUNNING:
            self._client.update_run(run_id, status="RUNNING")
        else:
            self._client.set_terminated(run_id, status=str(update.status), end_time=update.end_ms)

    def _try(self, update: RunUpdate, part: str, write: Any) -> None:
        from mlflow.exceptions import MlflowException

        try:
            write()
        except MlflowException as error:
            if error.error_code not in PERMANENT_ERRORS:
                raise
            whose = "search" if update.number is None else f"trial {update.number}"
            LOGGER.warning("MLflow refused the %s of %s: %s", part, whose, first_line(error))


def _quiet_environment() -> None:
    """Must run before MLflow is imported. Without the bound a dead server blocks each call for four minutes."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
