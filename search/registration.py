"""Puts an export into MLflow's model registry, from where it loads without this package.

It becomes a run of its own under the search's: a trial's run that is opened again gets another end, and metrics that
were measured when exporting would take the place of those that were searched by.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from search.export_report import CERTIFICATE, ExportReport
from search.formats import ExportFormat
from search.records import StudyRecord
from search.tracking_place import open_writer
from search.tracking_writer import MlflowWriter
from spvit.wording import first_line

LOGGER = logging.getLogger(__name__)
NEEDED = ("mlflow", "onnx", "onnxruntime", "numpy")
"""What a fresh environment needs to load the model: MLflow installs these from the model's own requirements."""
FILES = (CERTIFICATE, "README.md", "config.toml", "config.json", "labels.txt")


@dataclass(frozen=True, kw_only=True, slots=True)
class Registration:
    """Where MLflow has an export, or why it has not. `version` counts the exports of one study."""

    name: str = ""
    version: str = ""
    run_id: str = ""
    requirements: tuple[str, ...] = ()
    problem: str = ""

    @property
    def is_registered(self) -> bool:
        """Whether MLflow has it."""
        return not self.problem

    @property
    def model_uri(self) -> str:
        """What `mlflow.pyfunc.load_model` takes."""
        return f"models:/{self.name}/{self.version}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"model_uri": self.model_uri if self.is_registered else None}

    def to_text(self) -> str:
        """A line for a terminal."""
        if not self.is_registered:
            return f"registered no: {self.problem}"
        return (
            f'registered mlflow.pyfunc.load_model("{self.model_uri}"); a fresh environment needs '
            f"{', '.join(self.requirements)}"
        )


def register_export(study: StudyRecord, report: ExportReport, *, uri: str | None = None) -> Registration:
    """Register an exported folder as a new version of the study's model; a failure is told and changes nothing else.

    Args:
        study: the study.
        report: of the export, whose folder has an ONNX file.
        uri: MLflow tracking URI; where the study is tracked if absent.
    """
    folder = Path(report.directory)
    if not (folder / ExportFormat.ONNX.file).is_file():
        return Registration(
            problem=f"the registry takes the ONNX file, and {folder} has none (--format onnx; extra `onnxruntime`)"
        )
    try:
        writer = open_writer(Path(study.directory), uri=uri)
        return _register(writer, study, report, uri or _uri_of(study))
    except Exception as error:  # MLflow's failures are of every kind, and the export is whole without it
        return Registration(problem=f"MLflow cannot be written: {first_line(error, most=300)}")


def _uri_of(study: StudyRecord) -> str:
    from search.tracking import default_tracking_uri

    return default_tracking_uri(Path(study.directory).parent)


def _register(writer: MlflowWriter, study: StudyRecord, report: ExportReport, uri: str) -> Registration:
    import mlflow

    name = f"spvit-{study.name}"
    requirements = tuple(f"{package}=={metadata.version(package)}" for package in NEEDED)
    with _tracking_to(uri):
        client = mlflow.MlflowClient()
        run_id = _create_run(client, writer, report)
        with mlflow.start_run(run_id=run_id):
            version = _log_model(Path(report.directory), name, requirements)
        client.set_registered_model_alias(name, f"trial-{report.trial}", version)
        for key, value in {"spvit.trial": str(report.trial), "spvit.verdict": str(report.verdict)}.items():
            client.set_model_version_tag(name, version, key, value)
    return Registration(name=name, version=version, run_id=run_id, requirements=requirements)


def _create_run(client: Any, writer: MlflowWriter, report: ExportReport) -> str:
    # Without `spvit.study_id`: runs that have it are the search and its trials.
    tags = {
        "spvit.role": "export",
        "spvit.exported_trial": str(report.trial),
        "spvit.verdict": str(report.verdict),
        "spvit.weights_sha256": report.weights_sha256,
        "mlflow.note.content": (Path(report.directory) / "README.md").read_text(encoding="utf-8"),
    }
    if None in writer.run_ids:
        tags["mlflow.parentRunId"] = writer.run_ids[None]
    run = client.create_run(writer.experiment_id, run_name=f"export of trial {report.trial}", tags=tags)
    run_id = str(run.info.run_id)
    for key, value in _metrics(report).items():
        client.log_metric(run_id, key, value)
    for file in FILES:
        client.log_artifact(run_id, str(Path(report.directory) / file))
    return run_id


def _metrics(report: ExportReport) -> dict[str, float]:
    """By file: nothing of what trials are compared by, so that an export is never taken for one."""
    return {
        f"{certificate.format}/{key}": value
        for certificate in report.formats
        for key, value in {
            "val_top1": certificate.val_top1,
            "elapsed_p50_ms": certificate.timing.elapsed.p50_ms,
            "elapsed_p95_ms": certificate.timing.elapsed.p95_ms,
            "time_over_dense": certificate.timing.ratio,
            "max_difference": certificate.max_difference,
        }.items()
    }


def _log_model(folder: Path, name: str, requirements: tuple[str, ...]) -> str:
    import mlflow.onnx
    import numpy as np
    import onnx

    description = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    shape = tuple(description["pretrained_cfg"]["input_size"])
    # Halves and quarters: their decimals are short, and MLflow keeps examples as text.
    example = np.random.default_rng(0).integers(-4, 5, (1, *shape)).astype(np.float32) / np.float32(4.0)
    logged = mlflow.onnx.log_model(
        onnx.load(folder / ExportFormat.ONNX.file),
        name="model",
        registered_model_name=name,
        signature=_signature(shape, description["num_classes"]),
        input_example=example,
        pip_requirements=list(requirements),
        save_as_external_data=False,
    )
    return str(logged.registered_model_version)


def _signature(shape: tuple[int, ...], num_classes: int) -> Any:
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    kind = np.dtype(np.float32)
    return ModelSignature(
        inputs=Schema([TensorSpec(kind, (-1, *shape))]),
        outputs=Schema([TensorSpec(kind, (-1, num_classes), "logits")]),
    )


@contextmanager
def _tracking_to(uri: str) -> Iterator[None]:
    """MLflow logs models by a setting of the whole process, which is put back."""
    import mlflow

    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    level = logging.getLogger("mlflow").level
    mlflow.set_tracking_uri(uri)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    try:
        with redirect_stderr(io.StringIO()):  # it tells of every model and version, as if somebody had asked
            yield
    finally:
        mlflow.set_tracking_uri(before)
        logging.getLogger("mlflow").setLevel(level)
