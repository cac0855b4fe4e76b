"""The view of a study that MLflow's own charts page opens with. The only file that knows the page's private format.

MLflow keeps a saved view as a tag of the experiment, and an address can name it. Neither is documented: the format is
that of MLflow 3.17 and 3.18. A page that does not understand it shows what it shows without.
"""

from __future__ import annotations

import json
import shlex
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.records import StudyRecord
from search.secrets import without_password
from search.tracking_place import is_server

VIEW_KEY = "spvit"
TAG_PREFIX = "mlflow.sharedViewState."
FRONT, KEEP_RATES, CURVES = "Front", "Keep rates", "Curves"
COLUMNS = (
    *("metrics.`top1`", "metrics.`latency_ms`", "metrics.`speed_up`"),
    *("tags.`spvit.state`", "tags.`spvit.origin`", "tags.`spvit.reason`"),
)
MADE_AT = 1_767_225_600_000
"""In milliseconds, as the page wants it; the same each time, so that writing the view again changes nothing."""


def experiment_fragment(experiment_id: str) -> str:
    """The part of the MLflow page's address that shows one experiment's runs in the study's own view."""
    return (
        f"#/experiments/{experiment_id}/runs?workflowType=machine_learning&compareRunsMode=CHART"
        f"&viewStateShareKey={VIEW_KEY}"
    )


def where_to_look(directory: Path, uri: str, experiment_id: str | None) -> str:
    """How to browse the study in a folder: the page's address at a server, or else the command that opens one."""
    if is_server(uri):
        fragment = "" if experiment_id is None else experiment_fragment(experiment_id)
        return f"browse the study at {without_password(uri).rstrip('/')}/{fragment}"
    runs = "" if directory.parent == Path("runs").resolve() else f" --runs-dir {shlex.quote(str(directory.parent))}"
    return f"browse the study with `spvit-search dashboard {directory.name}{runs}`"


def study_view(study: StudyRecord) -> dict[str, str]:
    """The tag of the experiment that holds the view."""
    view = {"name": "Study", "createdAt": MADE_AT, "updatedAt": MADE_AT, "state": json.dumps(_state(study))}
    return {f"{TAG_PREFIX}{VIEW_KEY}": json.dumps(view)}


def _state(study: StudyRecord) -> dict[str, Any]:
    stages = _num_stages(study)
    keep = [f"keep{stage}" for stage in range(1, stages + 1)]
    return {
        "searchFilter": "",
        "orderByKey": "metrics.`top1`",
        "orderByAsc": False,
        "lifecycleFilter": "Active",
        "selectedColumns": [*COLUMNS, *(f"params.`{name}`" for name in keep)],
        "runsHiddenMode": "SHOW_ALL",
        "hideEmptyCharts": True,
        "autoRefreshEnabled": True,
        "isAccordionReordered": True,
        "compareRunSections": [_section(name) for name in (FRONT, KEEP_RATES, CURVES)],
        "compareRunCharts": _charts(keep),
    }


def _charts(keep: Sequence[str]) -> list[dict[str, Any]]:
    metric = {"type": "METRIC"}
    parallel = {"selectedParams": list(keep), "selectedMetrics": ["latency_ms", "top1"], "showAllRuns": True}
    return [
        _chart("SCATTER", FRONT, "Top-1 (%) over latency (ms)")
        | {"xaxis": {"key": "latency_ms", **metric}, "yaxis": {"key": "top1", **metric}, "runsCountToCompare": 500},
        _curve(FRONT, "Hypervolume over trials (% x ms)", "hypervolume"),
        _curve(FRONT, "Best top-1 under the budget over trials (%)", "best_top1"),
        _chart("PARALLEL", KEEP_RATES, "Keep rates, latency (ms), top-1 (%)") | parallel,
        _curve(CURVES, "Top-1 (%) by epoch", "top1"),
        _curve(CURVES, "Training loss by epoch", "loss_total"),
        _curve(CURVES, "Validation loss by epoch", "val_loss"),
    ]


def _curve(section: str, name: str, metric: str) -> dict[str, Any]:
    axes = {"xAxisKey": "step", "xAxisScaleType": "linear", "scaleType": "linear", "lineSmoothness": 0}
    further = {"selectedMetricKeys": [metric], "useGlobalXaxisKey": True, "useGlobalLineSmoothing": True}
    return _chart("LINE", section, name) | {"metricKey": metric, **axes, **further}


def _chart(kind: str, section: str, name: str) -> dict[str, Any]:
    return {
        "uuid": _uuid(f"{section}/{name}"),
        "type": kind,
        "metricSectionId": _uuid(section),
        "displayName": name,
        "runsCountToCompare": 100,
        "deleted": False,
        "isGenerated": False,
    }


def _section(name: str) -> dict[str, Any]:
    common = {"display": True, "isReordered": True, "deleted": False, "isGenerated": False}
    return {"uuid": _uuid(name), "name": name, "columns": 1 if name == KEEP_RATES else 3, **common}


def _uuid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"spvit/{name}"))


def _num_stages(study: StudyRecord) -> int:
    """Stages of the largest schedule that the experiment can propose, as far as it says; else of its trials."""
    pruning = study.experiment.get("pruning", {})
    blocks = pruning.get("blocks") or ()
    return max([len(blocks), *(len(trial.blocks) for trial in study.trials)])
